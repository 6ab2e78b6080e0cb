//! One file a format.

mod json;
mod natural;
mod npz;
mod progress;
mod table;
mod tensors;
mod tree;

pub(crate) use film_picture::text::{fit, magnitude, significant, width};
pub(crate) use natural::natural;
pub(crate) use progress::{CHUNK_BYTES, Progress};
pub(crate) use table::{Align, Table, number, size, wrap};
pub(crate) use tensors::{Entry, Format, Target, TensorWriter};
pub(crate) use tree::{Branch, Leaf, Node, Nodes, sort, tree};
