//! Dotted names as a tree, in which blocks that repeat are folded: `blocks.[0..11]`.

use film_core::checkpoint::{Digest, TensorInfo};

use super::natural::{Ordered, number, order};

/// Names with more segments than this keep their rest in one piece.
const MAX_DEPTH: usize = 48;

/// A tensor, and the hash of its bytes where they were asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leaf<'a> {
    pub(crate) tensor: &'a TensorInfo,
    pub(crate) hash: Option<Digest>,
}

/// A segment of a name, and those below it up to the next fork.
#[derive(Debug, Clone)]
pub(crate) struct Node<'a> {
    segment: String,
    /// What follows the segment on the same line, each with its dot.
    rest: String,
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

/// A name's segments, each as it is ordered, and the tensor of that name.
type Path<'a> = (Vec<Ordered<'a>>, Leaf<'a>);

/// The tree of `leaves`.
pub(crate) fn tree<'a>(leaves: &[Leaf<'a>]) -> Vec<Node<'a>> {
    let path = |leaf: &Leaf<'a>| {
        (leaf.tensor.name.splitn(MAX_DEPTH, '.').map(order).collect::<Vec<_>>(), *leaf)
    };
    let mut paths: Vec<Path> = leaves.iter().map(path).collect();
    paths.sort_by(|(a, _), (b, _)| a.cmp(b));
    level(&paths, 0)
}

/// The nodes at `depth` of paths that agree above it and reach that far.
fn level<'a>(paths: &[Path<'a>], depth: usize) -> Vec<Node<'a>> {
    let siblings = paths.chunk_by(|(a, _), (b, _)| a[depth] == b[depth]);
    fold(siblings.map(|paths| node(paths, depth)).collect())
}

/// The node of paths that agree down to `depth`.
fn node<'a>(paths: &[Path<'a>], depth: usize) -> Node<'a> {
    // The shortest path comes first: the one that ends here, if one does.
    let ends = paths[0].0.len() == depth + 1;
    let (tensor, deeper) = if ends { (Some(paths[0].1), &paths[1..]) } else { (None, paths) };
    let mut children = level(deeper, depth + 1);
    let total = |own: fn(&TensorInfo) -> u64, below: fn(&Node) -> u64| {
        let own = tensor.map_or(0, |leaf| own(leaf.tensor));
        own + children.iter().map(|child| child.repeats * below(child)).sum::<u64>()
    };
    let parameters = total(|tensor| tensor.count() as u64, |child| child.parameters);
    let bytes = total(|tensor| tensor.bytes, |child| child.bytes);
    let segment = paths[0].0[depth].2.to_string();
    // A path without forks is one line.
    if tensor.is_none() && children.len() == 1 {
        let mut only = children.remove(0);
        only.rest = format!(".{}{}", only.segment, only.rest);
        only.segment = segment;
        return only;
    }
    Node { segment, rest: String::new(), repeats: 1, tensor, children, parameters, bytes }
}

/// Folds runs of consecutively numbered siblings of the same structure.
fn fold(nodes: Vec<Node>) -> Vec<Node> {
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
            node.segment = format!("[{first}..{last}]");
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
