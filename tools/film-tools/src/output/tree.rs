//! Dotted names as a tree, in which blocks that repeat are folded: `blocks.[0..11]`.

use film_core::checkpoint::TensorInfo;

/// Names with more segments than this keep their rest in one piece.
const MAX_DEPTH: usize = 48;

/// A segment of a name, or several that could be joined.
#[derive(Debug, Clone)]
pub(crate) struct Node<'a> {
    pub(crate) name: String,
    /// How many siblings of the same structure this one stands for.
    pub(crate) repeats: u64,
    /// The tensor of exactly this name (the first of the repeated ones).
    pub(crate) tensor: Option<&'a TensorInfo>,
    pub(crate) children: Vec<Node<'a>>,
    /// Numbers in one repeat.
    pub(crate) parameters: u64,
}

/// The tree of `tensors`, which are sorted by name.
pub(crate) fn tree<'a>(tensors: &[&'a TensorInfo]) -> Vec<Node<'a>> {
    let paths: Vec<_> = tensors
        .iter()
        .map(|tensor| (tensor.name.splitn(MAX_DEPTH, '.').collect(), *tensor))
        .collect();
    level(&paths, 0)
}

/// The nodes at `depth` of paths that agree above it.
fn level<'a>(paths: &[(Vec<&'a str>, &'a TensorInfo)], depth: usize) -> Vec<Node<'a>> {
    // Sorting by name puts "a-b" between "a" and "a.c": gather by segment, not by run.
    let mut groups: Vec<(&str, Vec<(Vec<&str>, &TensorInfo)>)> = Vec::new();
    let mut index = std::collections::HashMap::new();
    for path in paths {
        let segment = path.0[depth];
        let at = *index.entry(segment).or_insert_with(|| {
            groups.push((segment, Vec::new()));
            groups.len() - 1
        });
        groups[at].1.push(path.clone());
    }
    groups.sort_by_key(|(segment, _)| (number(segment).is_none(), number(segment)));
    fold(groups.into_iter().map(|(segment, paths)| node(segment, &paths, depth)).collect())
}

fn node<'a>(segment: &str, paths: &[(Vec<&'a str>, &'a TensorInfo)], depth: usize) -> Node<'a> {
    let ends = |path: &(Vec<&str>, &TensorInfo)| path.0.len() == depth + 1;
    let tensor = paths.iter().find(|path| ends(path)).map(|path| path.1);
    let deeper: Vec<_> = paths.iter().filter(|path| !ends(path)).cloned().collect();
    let mut children = level(&deeper, depth + 1);
    let own = tensor.map_or(0, |tensor| tensor.count() as u64);
    let parameters =
        own + children.iter().map(|child| child.repeats * child.parameters).sum::<u64>();
    // A path without forks is one line.
    if tensor.is_none() && children.len() == 1 {
        let mut only = children.remove(0);
        only.name = format!("{segment}.{}", only.name);
        return only;
    }
    Node { name: segment.into(), repeats: 1, tensor, children, parameters }
}

/// Folds runs of consecutively numbered siblings of the same structure.
fn fold(nodes: Vec<Node>) -> Vec<Node> {
    let mut folded: Vec<(Node, Option<(u64, u64)>)> = Vec::new();
    for node in nodes {
        let own = number(&node.name);
        if let (Some(own), Some((first, Some((_, last))))) = (own, folded.last_mut())
            && last.checked_add(1) == Some(own)
            && same(first, &node)
        {
            *last = own;
            first.repeats += 1;
            continue;
        }
        folded.push((node, own.map(|own| (own, own))));
    }
    for (node, run) in &mut folded {
        if let Some((first, last)) = run.filter(|(first, last)| first < last) {
            node.name = format!("[{first}..{last}]");
        }
    }
    folded.into_iter().map(|(node, _)| node).collect()
}

/// Whether two nodes differ in nothing but their own name.
fn same(a: &Node, b: &Node) -> bool {
    let kind = |node: &Node| node.tensor.map(|tensor| (tensor.dtype, tensor.shape.clone()));
    let child = |(a, b): (&Node, &Node)| a.name == b.name && a.repeats == b.repeats && same(a, b);
    kind(a) == kind(b)
        && a.children.len() == b.children.len()
        && a.children.iter().zip(&b.children).all(child)
}

/// The number that a segment is, written the usual way.
fn number(segment: &str) -> Option<u64> {
    segment.parse().ok().filter(|number: &u64| number.to_string() == segment)
}
