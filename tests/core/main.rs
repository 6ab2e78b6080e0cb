//! The library against reference numbers, properties and malformed files.
