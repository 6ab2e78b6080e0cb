//! One file a format.

mod films;
mod json;
mod npz;
mod table;
mod tree;

pub(crate) use films::{Entry, FilmWriter, Format, Target};
pub(crate) use table::{Align, Table, fit, number, size, width, wrap};
pub(crate) use tree::{Node, tree};
