//! Dotted names as a tree, in which blocks that repeat are folded: `blocks.[0..11]`.

use std::borrow::Cow;

use film_core::checkpoint::{Digest, TensorInfo};

use super::natural::{natural, number};

/// Names with more segments than this keep their rest in one piece.
const MAX_DEPTH: usize = 48;

/// A tensor, and the hash of its bytes where they were asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leaf<'a> {
    pub(crate) tensor: &'a TensorInfo,
    pub(crate) hash: Option<Digest>,
}

/// A segment of a name, and those below it up to the next fork.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node<'a> {
    segment: Cow<'a, str>,
    /// What follows the segment on the same line, each with its dot.
    rest: Cow<'a, str>,
    /// How many siblings of the same structure this one stands for.
    pub(crate) repeats: u64,
    /// The tensor of exactly this name (the first of the repeated ones).
    pub(crate) tensor: Option<Leaf<'a>>,
    pub(crate) children: Vec<Node<'a>>,
    /// Numbers in one repeat.
    pub(crate) parameters: u64,
    /// Bytes in one repeat.
    pub(crate) bytes: u64,
}

impl<'a> Node<'a> {
    /// The tensors of one repeat: its own, and those of the nodes below, each as many times as it is repeated.
    pub(crate) fn tensors(&self) -> Vec<(u64, &'a TensorInfo)> {
        let mut tensors: Vec<_> = self.tensor.iter().map(|leaf| (1, leaf.tensor)).collect();
        for child in &self.children {
            let below = child.tensors().into_iter();
            tensors.extend(below.map(|(count, tensor)| (count * child.repeats, tensor)));
        }
        tensors
    }

    /// The segments on this node's line.
    pub(crate) fn name(&self) -> String {
        format!("{}{}", self.segment, self.rest)
    }
}

/// The tree of `leaves`.
pub(crate) fn tree<'a>(leaves: &[Leaf<'a>]) -> Vec<Node<'a>> {
    let mut leaves: Vec<&Leaf> = leaves.iter().collect();
    leaves.sort_by(|a, b| natural(&a.tensor.name, &b.tensor.name));
    level(&leaves, 0, 0)
}

/// The nodes at `depth` of names that agree in front of byte `start`, where that depth begins.
fn level<'a>(leaves: &[&Leaf<'a>], start: usize, depth: usize) -> Vec<Node<'a>> {
    let segment = |leaf: &&Leaf<'a>| segment(&leaf.tensor.name[start..], depth);
    let siblings = leaves.chunk_by(|a, b| segment(a) == segment(b));
    fold(siblings.map(|leaves| node(leaves, start, depth)))
}

/// The segment at `depth`, with which `rest` begins.
fn segment(rest: &str, depth: usize) -> &str {
    match rest.bytes().position(|byte| byte == b'.') {
        Some(dot) if depth + 1 < MAX_DEPTH => &rest[..dot],
        _ => rest,
    }
}

/// The node of names that agree from byte `start` to the end of the segment at `depth`.
fn node<'a>(leaves: &[&Leaf<'a>], start: usize, depth: usize) -> Node<'a> {
    let name = leaves[0].tensor.name.as_str();
    let segment = segment(&name[start..], depth);
    let end = start + segment.len();
    let mut node = Node { segment: segment.into(), repeats: 1, ..Node::default() };
    // The shortest name comes first: the one that ends here, if one does. A path without forks is one line.
    let ends = name.len() == end || leaves.len() == 1;
    if ends {
        node.rest = name[end..].into();
        node.tensor = Some(*leaves[0]);
        node.parameters = leaves[0].tensor.count() as u64;
        node.bytes = leaves[0].tensor.bytes;
    }
    let mut children = level(&leaves[usize::from(ends)..], end + 1, depth + 1);
    if !ends && let [only] = children.as_mut_slice() {
        let only = std::mem::take(only);
        let rest = match (&only.segment, &only.rest) {
            (Cow::Borrowed(first), Cow::Borrowed(rest)) => {
                name[end..=end + first.len() + rest.len()].into()
            }
            (first, rest) => format!(".{first}{rest}").into(),
        };
        return Node { segment: node.segment, rest, ..only };
    }
    node.parameters += children.iter().map(|child| child.repeats * child.parameters).sum::<u64>();
    node.bytes += children.iter().map(|child| child.repeats * child.bytes).sum::<u64>();
    node.children = children;
    node
}

/// Folds runs of consecutively numbered siblings of the same structure.
fn fold<'a>(nodes: impl Iterator<Item = Node<'a>>) -> Vec<Node<'a>> {
    let mut folded: Vec<(Node, Option<(u64, u64)>)> = Vec::new();
    for node in nodes {
        let own = number(&node.segment);
        if let (Some(own), Some((first, Some((_, last))))) = (own, folded.last_mut())
            && last.checked_add(1) == Some(own)
            && same(first, &node)
        {
            *last = own;
            continue;
        }
        folded.push((node, own.map(|own| (own, own))));
    }
    for (node, run) in &mut folded {
        if let Some((first, last)) = run.filter(|(first, last)| first < last) {
            node.segment = format!("[{first}..{last}]").into();
            node.repeats *= last - first + 1;
        }
    }
    folded.into_iter().map(|(node, _)| node).collect()
}

/// Whether two nodes differ in nothing but their own segment: names, dtypes, shapes, and bytes where they are hashed.
fn same(a: &Node, b: &Node) -> bool {
    let child = |(a, b): (&Node, &Node)| a.segment == b.segment && same(a, b);
    let alike = match (a.tensor, b.tensor) {
        (Some(a), Some(b)) => {
            (a.tensor.dtype, &a.tensor.shape, a.hash) == (b.tensor.dtype, &b.tensor.shape, b.hash)
        }
        (a, b) => a.is_none() && b.is_none(),
    };
    alike
        && a.rest == b.rest
        && a.repeats == b.repeats
        && a.children.len() == b.children.len()
        && a.children.iter().zip(&b.children).all(child)
}
