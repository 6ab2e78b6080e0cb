//! Strided elements of a file → row-major bytes, block by block.
//!
//! Any order of axes, gaps and repeated axes (strides of 0) are one case: a box of the tensor is read at once, gaps
//! and all, where it lies close together, and else along its smallest stride, in runs as long as there are; then it is
//! put in order in memory. A contiguous tensor is the box that needs no putting in order.

use crate::checkpoint::read::Source;
use crate::error::Result;

/// Bytes handed over at once, and what reading takes beside them.
const BLOCK: usize = 4 << 20;
/// Bytes of a run with gaps that are read at once.
const SPAN: usize = 64 * 1024;

/// Elements of a file.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// Where the first one is.
    pub(super) offset: u64,
    /// Bytes an element.
    pub(super) size: usize,
    /// Bytes whose order is to be reversed; 1 for none.
    pub(super) swapped: usize,
    /// Size and stride of each axis, in elements.
    pub(super) axes: Vec<(usize, usize)>,
}

/// Hands all elements to `each`, in row-major order and little-endian.
pub(super) fn blocks(
    source: &Source,
    view: &View,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    blocks_of(BLOCK, source, view, each)
}

/// The same in blocks of at most so many bytes.
fn blocks_of(
    most: usize,
    source: &Source,
    view: &View,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    if view.axes.iter().any(|&(size, _)| size == 0) {
        return Ok(());
    }
    let axes = merged(&view.axes);
    // A block is part of one axis, all of those behind it, and one index of those before it.
    let most = most / view.size;
    let (mut split, mut inner) = (axes.len() - 1, 1);
    while split > 0 && inner * axes[split].0 <= most {
        inner *= axes[split].0;
        split -= 1;
    }
    let (length, stride) = axes[split];
    let step = (most / inner).clamp(1, length);
    let mut block = Block { most, ..Block::default() };
    let mut outer = Odometer::new(&axes[..split]);
    while let Some(at) = outer.next() {
        for start in (0..length).step_by(step) {
            let mut part = axes[split..].to_vec();
            part[0].0 = step.min(length - start);
            let first = at + start as u64 * stride as u64;
            let bytes = block.read(source, view, first, &part)?;
            swap(bytes, view.swapped);
            each(bytes)?;
        }
    }
    Ok(())
}

/// Axes without those of size 1, and with those that are one axis in truth made one; at least one.
fn merged(axes: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut merged: Vec<(usize, usize)> = Vec::with_capacity(axes.len());
    for &(size, stride) in axes.iter().filter(|(size, _)| *size != 1) {
        match merged.last_mut() {
            Some(last) if Some(last.1) == stride.checked_mul(size) => {
                *last = (last.0 * size, stride);
            }
            _ => merged.push((size, stride)),
        }
    }
    if merged.is_empty() {
        merged.push((1, 1));
    }
    merged
}

/// Counts through the indices of axes; each position is in elements from the first.
struct Odometer<'a> {
    axes: &'a [(usize, usize)],
    index: Vec<usize>,
    next: Option<u64>,
}

impl<'a> Odometer<'a> {
    fn new(axes: &'a [(usize, usize)]) -> Self {
        Self { axes, index: vec![0; axes.len()], next: Some(0) }
    }

    fn next(&mut self) -> Option<u64> {
        let at = self.next?;
        self.next = None;
        let mut position = at;
        for (index, &(size, stride)) in self.index.iter_mut().zip(self.axes).rev() {
            *index += 1;
            position += stride as u64;
            if *index < size {
                self.next = Some(position);
                break;
            }
            position -= size as u64 * stride as u64;
            *index = 0;
        }
        Some(at)
    }
}

/// The memory that reading a block takes.
#[derive(Default)]
struct Block {
    /// The most elements.
    most: usize,
    stored: Vec<u8>,
    ordered: Vec<u8>,
    span: Vec<u8>,
}

impl Block {
    /// The elements of a box, row-major; the first is number `first` of the view.
    fn read(
        &mut self,
        source: &Source,
        view: &View,
        first: u64,
        axes: &[(usize, usize)],
    ) -> Result<&mut [u8]> {
        let size = view.size;
        let extent = 1 + axes.iter().map(|(size, stride)| (size - 1) * stride).sum::<usize>();
        if extent <= self.most {
            self.stored.resize(extent * size, 0);
            source.read_at(&mut self.stored, view.offset + first * size as u64)?;
            if matches!(axes, [(_, 1)]) {
                return Ok(&mut self.stored);
            }
            return Ok(self.put_in_order(size, axes));
        }
        // In the order in which they are stored, each once.
        let mut order: Vec<usize> = (0..axes.len()).filter(|&axis| axes[axis].1 > 0).collect();
        order.sort_by_key(|&axis| std::cmp::Reverse(axes[axis].1));
        let sorted: Vec<(usize, usize)> = order.iter().map(|&axis| axes[axis]).collect();
        let runs = merged(&sorted);
        let (&(length, stride), outer) = (runs.last().unwrap_or(&(1, 1)), &runs[..runs.len() - 1]);
        let count: usize = runs.iter().map(|(size, _)| size).product();
        self.stored.resize(count * size, 0);
        let mut rest = self.stored.as_mut_slice();
        let mut outer = Odometer::new(outer);
        while let Some(at) = outer.next() {
            let (run, behind) = rest.split_at_mut(length * size);
            let offset = view.offset + (first + at) * size as u64;
            read_run(source, offset, stride, size, run, &mut self.span)?;
            rest = behind;
        }
        if order.iter().copied().eq(0..axes.len()) {
            return Ok(&mut self.stored);
        }
        // Where an axis of the box goes among the stored elements.
        let mut steps = vec![0; axes.len()];
        let mut step = 1;
        for &axis in order.iter().rev() {
            steps[axis] = step;
            step *= axes[axis].0;
        }
        let stored: Vec<(usize, usize)> =
            axes.iter().zip(steps).map(|(&(size, _), step)| (size, step)).collect();
        Ok(self.put_in_order(size, &stored))
    }

    /// The stored elements of `size` bytes at these sizes and strides, row-major.
    fn put_in_order(&mut self, size: usize, axes: &[(usize, usize)]) -> &mut [u8] {
        self.ordered.clear();
        match size {
            1 => put_in_order::<1>(&self.stored, axes, &mut self.ordered),
            2 => put_in_order::<2>(&self.stored, axes, &mut self.ordered),
            4 => put_in_order::<4>(&self.stored, axes, &mut self.ordered),
            _ => put_in_order::<8>(&self.stored, axes, &mut self.ordered),
        }
        &mut self.ordered
    }
}

/// Reads elements that are `stride` apart.
fn read_run(
    source: &Source,
    mut offset: u64,
    stride: usize,
    size: usize,
    run: &mut [u8],
    span: &mut Vec<u8>,
) -> Result<()> {
    if stride == 1 {
        return source.read_at(run, offset);
    }
    let gap = stride * size;
    for part in run.chunks_mut((SPAN / gap).max(1) * size) {
        let count = part.len() / size;
        span.resize((count - 1) * gap + size, 0);
        source.read_at(span, offset)?;
        for (element, stored) in part.chunks_exact_mut(size).zip(span.chunks(gap)) {
            element.copy_from_slice(&stored[..size]);
        }
        offset += (count * gap) as u64;
    }
    Ok(())
}

/// Appends the elements that stand at these sizes and strides, row-major.
fn put_in_order<const N: usize>(stored: &[u8], axes: &[(usize, usize)], ordered: &mut Vec<u8>) {
    let (elements, _) = stored.as_chunks::<N>();
    let Some((&(length, stride), outer)) = axes.split_last() else { return };
    let mut outer = Odometer::new(outer);
    while let Some(at) = outer.next() {
        let at = at as usize;
        ordered.extend((0..length).flat_map(|index| elements[at + index * stride]));
    }
}

/// Reverses the bytes of each number.
fn swap(bytes: &mut [u8], word: usize) {
    if word > 1 {
        bytes.chunks_exact_mut(word).for_each(<[u8]>::reverse);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::init::Stream;

    /// The elements one by one.
    fn expected(bytes: &[u8], view: &View) -> Vec<u8> {
        let mut odometer = Odometer::new(&view.axes);
        let mut elements = vec![];
        while let Some(at) = odometer.next() {
            let start = view.offset as usize + at as usize * view.size;
            elements.extend_from_slice(&bytes[start..start + view.size]);
        }
        elements
    }

    #[test]
    fn any_strides_give_the_elements_in_order() {
        let mut stream = Stream::new(7, "strides");
        let mut draw = |least: usize, end: usize| stream.uniform(least as f64, end as f64) as usize;
        for _ in 0..400 {
            let size = [1, 2, 4, 8][draw(0, 4)];
            let axes: Vec<_> =
                (0..draw(0, 5)).map(|_| (draw(1, 6), [0, 1, 3, 7, 20][draw(0, 5)])).collect();
            let extent = 1 + axes.iter().map(|(size, stride)| (size - 1) * stride).sum::<usize>();
            let offset = draw(0, 9);
            let bytes: Vec<u8> = (0..offset + extent * size).map(|_| draw(0, 256) as u8).collect();
            let view = View { offset: offset as u64, size, swapped: 1, axes };
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&bytes).unwrap();
            let source = Source::open(file.path()).unwrap();
            // Small blocks are read run by run, large ones at once.
            for most in [8, 40, 200, BLOCK] {
                let mut gathered = vec![];
                let each = &mut |block: &[u8]| {
                    gathered.extend_from_slice(block);
                    Ok(())
                };
                blocks_of(most, &source, &view, each).unwrap();
                assert_eq!(gathered, expected(&bytes, &view), "{view:?} in blocks of {most}");
            }
        }
    }
}
