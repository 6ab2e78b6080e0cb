//! The gradients of linear → GELU → linear, fused: the hidden activations are computed again, tile by tile.

use pulp::{Simd, WithSimd};

use super::mlp::{Fused, Packed, Sizes};
use super::vector::{Aligned, Layer, Rows, TILE, Vectors, add_outer, add_rows, gelu, gelu_slope};
use super::{threads, zeros};

/// Rows whose sums are taken one after the other: fixed, so that threads change no bit.
const CHUNK: usize = 256;
/// Chunks whose sums are kept at a time.
const KEPT: usize = 16;

/// The gradients of a loss in x, where it is wanted, and in the four tensors, one after the other.
///
/// # Shapes
/// x `[N, in]`, gradient `[N, out]`
pub(super) fn gradients(
    operation: &Fused,
    (x, wanted): (&[f32], bool),
    tensors: &[&[f32]],
    gradient: &[f32],
) -> (Option<Vec<f32>>, Vec<f32>) {
    let (sizes, arch) = (operation.sizes, operation.arch);
    let Sizes { inputs, hidden, outputs } = sizes;
    let packed = operation.packed(tensors);
    let to_inputs = wanted.then(|| {
        let mut layer = Layer::new(hidden, inputs, Vectors::of(arch));
        layer.pack_transposed(tensors[0], None);
        layer
    });
    let mut to_hidden = Layer::new(outputs, hidden, Vectors::of(arch));
    to_hidden.pack_transposed(tensors[2], None);
    let mut in_x = wanted.then(|| zeros(x.len()));
    let mut total = Sums::new(sizes, Vectors::of(arch).lanes);
    let chunks = x.chunks(CHUNK * inputs).zip(gradient.chunks(CHUNK * outputs));
    let mut in_chunks = in_x.iter_mut().flat_map(|in_x| in_x.chunks_mut(CHUNK * inputs));
    let mut chunks: Vec<_> =
        chunks.map(|(x, gradient)| (x, gradient, in_chunks.next().unwrap_or_default())).collect();
    for chunks in chunks.chunks_mut(KEPT) {
        let rows: usize = chunks.iter().map(|(_, gradient, _)| gradient.len() / outputs).sum();
        let cost = 3 * rows * (inputs + outputs) * hidden;
        let tasks = chunks.iter_mut().collect();
        let sums = threads::map(cost, tasks, |(x, gradient, in_x)| {
            let mut sums = Sums::new(sizes, Vectors::of(arch).lanes);
            arch.dispatch(Chunk {
                sizes,
                packed: &packed,
                to_inputs: to_inputs.as_ref(),
                to_hidden: &to_hidden,
                x,
                gradient,
                in_x,
                sums: &mut sums,
            });
            sums
        });
        sums.iter().for_each(|sums| total.add(sums));
    }
    (in_x, total.joint(sizes))
}

/// Sums of the gradients in weight, bias, weight and bias; the weights' in rows of whole vectors.
struct Sums([Vec<f32>; 4]);

impl Sums {
    fn new(Sizes { inputs, hidden, outputs }: Sizes, lanes: usize) -> Self {
        let weight = |rows: usize, columns: usize| rows * columns.next_multiple_of(lanes);
        let lengths = [weight(hidden, inputs), hidden, weight(outputs, hidden), outputs];
        Self(lengths.map(|len| vec![0.0; len]))
    }

    fn add(&mut self, sums: &Self) {
        for (total, sums) in self.0.iter_mut().zip(&sums.0) {
            total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
    }

    /// One after the other, without what the rows are filled up with.
    fn joint(self, Sizes { inputs, hidden, outputs }: Sizes) -> Vec<f32> {
        let widths = [(hidden, inputs), (1, hidden), (outputs, hidden), (1, outputs)];
        let mut joint = Vec::with_capacity(widths.iter().map(|(rows, width)| rows * width).sum());
        for (sums, (rows, width)) in self.0.iter().zip(widths) {
            for row in sums.chunks_exact(sums.len() / rows) {
                joint.extend_from_slice(&row[..width]);
            }
        }
        joint
    }
}

/// Some rows.
struct Chunk<'a> {
    sizes: Sizes,
    packed: &'a Packed,
    to_inputs: Option<&'a Layer>,
    to_hidden: &'a Layer,
    x: &'a [f32],
    gradient: &'a [f32],
    in_x: &'a mut [f32],
    sums: &'a mut Sums,
}

impl WithSimd for Chunk<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Sizes { inputs, hidden: units, outputs } = self.sizes;
        let Sums([weight, bias, out_weight, out_bias]) = self.sums;
        let width = self.packed.first.columns();
        let columns = weight.len() / units;
        let mut padded = Aligned::zeros(TILE * columns);
        let [mut phases, mut hidden, mut back] = [(); 3].map(|()| Aligned::zeros(TILE * width));
        let tiles = self.x.chunks(TILE * inputs).zip(self.gradient.chunks(TILE * outputs));
        let mut in_x = self.in_x.chunks_mut(TILE * inputs);
        for (x, gradient) in tiles {
            let count = x.len() / inputs;
            let padded = &mut padded.as_mut()[..count * columns];
            for (padded, x) in padded.chunks_exact_mut(columns).zip(x.chunks_exact(inputs)) {
                padded[..inputs].copy_from_slice(x);
            }
            let x = Rows::new(padded, columns);
            let [phases, hidden, back] = [&mut phases, &mut hidden, &mut back]
                .map(|rows| &mut rows.as_mut()[..count * width]);
            self.packed.first.apply(simd, x, phases.chunks_exact_mut(width));
            hidden.copy_from_slice(phases);
            gelu(simd, hidden);
            let left = Rows::new(gradient, outputs);
            add_outer(simd, left, Rows::new(hidden, width), out_weight);
            add_rows(left, out_bias);
            self.to_hidden.apply(simd, left, back.chunks_exact_mut(width));
            gelu_slope(simd, phases);
            back.iter_mut().zip(phases).for_each(|(back, slope)| *back *= *slope);
            let left = Rows::new(back, width);
            add_outer(simd, left, x, weight);
            add_rows(left, bias);
            if let Some((layer, in_x)) = self.to_inputs.zip(in_x.next()) {
                layer.apply(simd, left, in_x.chunks_exact_mut(inputs));
            }
        }
    }
}
