//! Dotted names as a tree, in which blocks that repeat are folded: `blocks.[0..11]`.
//!
//! The names are sorted once. A node is where its names stand among them, and what is below it is looked for when it is
//! asked for: the tree of a million names takes no more than the names.

use std::borrow::Cow;

use film_core::checkpoint::{Digest, TensorInfo};

use super::natural::{natural, number};

/// Names with more segments than this keep their rest in one piece.
const MAX_DEPTH: usize = 48;

/// A tensor, and the hash of its bytes where they were asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leaf<'a> {
    pub(crate) tensor: &'a TensorInfo,
    pub(crate) hash: Option<&'a Digest>,
}

/// The names that agree up to the end of a segment, and how many siblings of the same structure they stand for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node<'a> {
    /// In natural order.
    leaves: &'a [Leaf<'a>],
    /// Where the segment begins, in bytes.
    start: usize,
    /// How many segments stand before it.
    depth: usize,
    siblings: u64,
}

/// The nodes of one depth below names that agree up to there, in natural order.
#[derive(Debug, Clone)]
pub(crate) struct Nodes<'a> {
    leaves: &'a [Leaf<'a>],
    start: usize,
    depth: usize,
}

/// A node with those below it up to the next fork: what one line tells of.
#[derive(Debug)]
pub(crate) struct Branch<'a> {
    /// The segments, with the dots between them.
    pub(crate) name: String,
    /// How many branches of the same structure this one stands for.
    pub(crate) repeats: u64,
    /// The tensors of one of them.
    pub(crate) leaves: &'a [Leaf<'a>],
    /// The tensor of exactly this name (the first of the repeated ones).
    pub(crate) tensor: Option<Leaf<'a>>,
    pub(crate) children: Nodes<'a>,
}

/// Puts leaves in the order that [`tree`] takes them in.
pub(crate) fn sort(leaves: &mut [Leaf]) {
    leaves.sort_by(|a, b| natural(&a.tensor.name, &b.tensor.name));
}

/// The roots of the tree of [sorted](sort) leaves.
pub(crate) fn tree<'a>(leaves: &'a [Leaf<'a>]) -> Nodes<'a> {
    Nodes { leaves, start: 0, depth: 0 }
}

impl<'a> Nodes<'a> {
    /// The first leaves, which agree in their segment.
    fn siblings(&self) -> &'a [Leaf<'a>] {
        let segment = |leaf: &Leaf<'a>| segment(leaf, self.start, self.depth);
        self.leaves.chunk_by(|a, b| segment(a) == segment(b)).next().unwrap_or_default()
    }

    fn pass(&mut self, leaves: &[Leaf]) {
        self.leaves = &self.leaves[leaves.len()..];
    }
}

impl<'a> Iterator for Nodes<'a> {
    type Item = Node<'a>;

    /// The next node, which takes along the siblings behind it that are numbered consecutively and of the same structure.
    fn next(&mut self) -> Option<Node<'a>> {
        let leaves = self.siblings();
        if leaves.is_empty() {
            return None;
        }
        self.pass(leaves);
        let mut node = Node { leaves, start: self.start, depth: self.depth, siblings: 1 };
        let Some(number_of_first) = number(node.segment()) else { return Some(node) };
        loop {
            let others = self.siblings();
            if others.is_empty() {
                return Some(node);
            }
            let other = Node { leaves: others, ..node };
            let follows = number_of_first.checked_add(node.siblings);
            if follows.is_none() || number(other.segment()) != follows || !node.is_like(&other) {
                return Some(node);
            }
            self.pass(others);
            node.siblings += 1;
        }
    }
}

impl<'a> Node<'a> {
    /// Its tensors, those of all its siblings not among them.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &'a TensorInfo> {
        self.leaves.iter().map(|leaf| leaf.tensor)
    }

    /// The bytes of its tensors and its siblings'.
    pub(crate) fn bytes(&self) -> u64 {
        self.siblings * self.tensors().map(|tensor| tensor.bytes).sum::<u64>()
    }

    /// The branch that begins with it.
    pub(crate) fn branch(mut self) -> Branch<'a> {
        let (mut name, mut repeats) = (String::new(), 1);
        loop {
            name.push_str(&self.label());
            repeats *= self.siblings;
            let (first, end) = (self.leaves[0], self.end());
            let mut children = Nodes { leaves: self.leaves, start: end + 1, depth: self.depth + 1 };
            // The shortest name comes first: the one that ends here, if one does. A path without forks is one line.
            let ends = first.tensor.name.len() == end || self.leaves.len() == 1;
            if ends {
                name.push_str(&first.tensor.name[end..]);
                children.leaves = &self.leaves[1..];
            } else {
                let mut below = children.clone();
                if let (Some(only), None) = (below.next(), below.next()) {
                    name.push('.');
                    self = only;
                    continue;
                }
            }
            let tensor = ends.then_some(first);
            return Branch { name, repeats, leaves: self.leaves, tensor, children };
        }
    }

    fn segment(&self) -> &'a str {
        segment(&self.leaves[0], self.start, self.depth)
    }

    /// Where the segment ends.
    fn end(&self) -> usize {
        self.start + self.segment().len()
    }

    /// The segment as it is shown.
    fn label(&self) -> Cow<'a, str> {
        match number(self.segment()) {
            Some(first) if self.siblings > 1 => {
                format!("[{first}..{}]", first + (self.siblings - 1)).into()
            }
            _ => self.segment().into(),
        }
    }

    /// Whether another node differs in nothing but its segment: names, dtypes, shapes, and bytes where they are hashed.
    fn is_like(&self, other: &Self) -> bool {
        let (end, other_end) = (self.end(), other.end());
        let alike = |(a, b): (&Leaf, &Leaf)| {
            a.tensor.name[end..] == b.tensor.name[other_end..]
                && (a.tensor.dtype, &a.tensor.shape, a.hash)
                    == (b.tensor.dtype, &b.tensor.shape, b.hash)
        };
        self.leaves.len() == other.leaves.len() && self.leaves.iter().zip(other.leaves).all(alike)
    }
}

/// The segment at `depth`, which begins at byte `start` of the name.
fn segment<'a>(leaf: &Leaf<'a>, start: usize, depth: usize) -> &'a str {
    let rest = &leaf.tensor.name[start..];
    match rest.bytes().position(|byte| byte == b'.') {
        Some(dot) if depth + 1 < MAX_DEPTH => &rest[..dot],
        _ => rest,
    }
}
