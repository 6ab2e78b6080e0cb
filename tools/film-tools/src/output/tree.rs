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
    /// In natural order; those of the siblings follow.
    leaves: &'a [Leaf<'a>],
    /// How many are its own.
    own: usize,
    /// Where the segment begins, in bytes.
    start: usize,
    /// How many segments stand before it.
    depth: usize,
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
    pub(crate) fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// Takes off the first leaves, which agree in their segment.
    fn pass(&mut self) -> Option<&'a [Leaf<'a>]> {
        let segment = |leaf: &Leaf<'a>| segment(leaf, self.start, self.depth);
        let first = self.leaves.chunk_by(|a, b| segment(a) == segment(b)).next()?;
        self.leaves = &self.leaves[first.len()..];
        Some(first)
    }
}

impl<'a> Iterator for Nodes<'a> {
    type Item = Node<'a>;

    /// The next node, which takes along the siblings behind it that are numbered consecutively and of the same structure.
    fn next(&mut self) -> Option<Node<'a>> {
        let Self { leaves: all, start, depth } = *self;
        let alone = |leaves, own| Node { leaves, own, start, depth };
        let own = self.pass()?.len();
        let mut node = alone(&all[..own], own);
        let first = number(node.segment());
        while let Some(first) = first {
            let mut behind = self.clone();
            let Some(leaves) = behind.pass() else { break };
            let other = alone(leaves, leaves.len());
            let follows = first.checked_add(node.siblings());
            if follows.is_none() || number(other.segment()) != follows || !node.is_like(&other) {
                break;
            }
            *self = behind;
            node.leaves = &all[..node.leaves.len() + leaves.len()];
        }
        Some(node)
    }
}

impl<'a> Node<'a> {
    /// Its tensors and its siblings'.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &'a TensorInfo> {
        self.leaves.iter().map(|leaf| leaf.tensor)
    }

    /// The branch that begins with it.
    pub(crate) fn branch(mut self) -> Branch<'a> {
        let (mut name, mut repeats) = (String::new(), 1);
        loop {
            name.push_str(&self.label());
            repeats *= self.siblings();
            let (leaves, end) = (self.own(), self.end());
            let first = leaves[0];
            let mut children = Nodes { leaves, start: end + 1, depth: self.depth + 1 };
            // The shortest name comes first: the one that ends here, if one does. A path without forks is one line.
            let ends = first.tensor.name.len() == end || leaves.len() == 1;
            if ends {
                name.push_str(&first.tensor.name[end..]);
                children.leaves = &leaves[1..];
            } else {
                let mut below = children.clone();
                if let (Some(only), None) = (below.next(), below.next()) {
                    name.push('.');
                    self = only;
                    continue;
                }
            }
            let tensor = ends.then_some(first);
            return Branch { name, repeats, leaves, tensor, children };
        }
    }

    /// How many nodes it stands for.
    fn siblings(&self) -> u64 {
        (self.leaves.len() / self.own) as u64
    }

    fn own(&self) -> &'a [Leaf<'a>] {
        &self.leaves[..self.own]
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
            Some(first) if self.siblings() > 1 => {
                format!("[{first}..{}]", first + (self.siblings() - 1)).into()
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
        self.own == other.own && self.own().iter().zip(other.own()).all(alike)
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
