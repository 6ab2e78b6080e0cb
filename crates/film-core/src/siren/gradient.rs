//! The gradients of the fused network: its activations are computed again, tile by tile, and followed backwards.
//!
//! With W' = W·diag(γ) and b' = b + W β, as the layers have them, the gradients of W, b, γ and β all follow from those
//! of W' and b', summed over the points of a sample.

use pulp::{Arch, Simd, WithSimd};

use super::fused::{Embedding, layers, modulated, sample_of};
use super::network::{Network, Sizes};
use crate::ops::threads;
use crate::ops::vector::{Aligned, Layer, Rows, TILE, Vectors, Wave, add_outer, add_rows, wave};

/// Points whose sums are taken one after the other: fixed, so that threads change no bit.
const CHUNK: usize = 1024;
/// Chunks whose sums are kept at a time.
const KEPT: usize = 32;

/// Of a loss, in the operation's two arguments.
pub(super) struct Gradients {
    /// In the tensors, one after the other.
    pub(super) joint: Vec<f32>,
    /// In the (γ, β) of all samples.
    pub(super) films: Vec<f32>,
}

/// # Shapes
/// grid `[G, D]`, films `[B, num_film_layers · 2 · H]`, gradient `[1 or B, G, out_dim]`
pub(super) fn backward(
    arch: Arch,
    sizes: &Sizes,
    network: &Network<&[f32]>,
    grid: &[f32],
    films: Option<&[f32]>,
    gradient: &[f32],
) -> Gradients {
    let outputs = sizes.outputs();
    let points = grid.len() / sizes.axes;
    let mut total = Sums::new(arch, sizes);
    let mut film_gradients = vec![0.0; films.map_or(0, <[f32]>::len)];
    let embedding = Embedding::new(arch, sizes, network);
    let packed = layers(arch, sizes, network);
    let pieces: Vec<(usize, usize)> = (0..gradient.len() / (points * outputs).max(1))
        .flat_map(|sample| (0..points).step_by(CHUNK).map(move |start| (sample, start)))
        .collect();
    for pieces in pieces.chunks(KEPT) {
        let cost = 3 * pieces.len() * points.min(CHUNK) * sizes.cost();
        let sums = threads::map(cost, pieces.to_vec(), |(sample, start)| {
            let count = CHUNK.min(points - start);
            let films = films.map(|films| sample_of(sizes, films, sample));
            let mut sums = Sums::new(arch, sizes);
            arch.dispatch(Chunk {
                sizes,
                embedding: &embedding,
                layers: &modulated(arch, sizes, &packed, films),
                backwards: &backwards(arch, sizes, network, films),
                grid: &grid[start * sizes.axes..][..count * sizes.axes],
                gradient: &gradient[(sample * points + start) * outputs..][..count * outputs],
                sums: &mut sums,
            });
            sums
        });
        for (&(sample, _), sums) in pieces.iter().zip(sums) {
            let range = sample * sizes.film_numbers()..(sample + 1) * sizes.film_numbers();
            let films = films.map(|films| (&films[range.clone()], &mut film_gradients[range]));
            total.add(sizes, network, &sums, films);
        }
    }
    Gradients { joint: total.joint(sizes), films: film_gradients }
}

/// The layers that take gradients back through the layers.
fn backwards(
    arch: Arch,
    sizes: &Sizes,
    network: &Network<&[f32]>,
    films: Option<&[f32]>,
) -> Vec<Layer> {
    let packed = |(index, &(weight, _)): (usize, &(&[f32], Option<&[f32]>))| {
        let mut layer = Layer::new(sizes.widths[index + 1], sizes.widths[index], Vectors::of(arch));
        let gamma = films.zip(sizes.film(index)).map(|(films, [gamma, _])| &films[gamma]);
        layer.pack_transposed(weight, gamma);
        layer
    };
    network.layers.iter().enumerate().map(packed).collect()
}

/// Sums of gradients over points.
struct Sums {
    /// Of each layer's weight, in rows of whole vectors, and of its bias.
    layers: Vec<(Vec<f32>, Vec<f32>)>,
    /// Of the embedding's weight `[embedding_dim, D]`, its bias and its scale.
    embedding: [Vec<f32>; 3],
}

impl Sums {
    fn new(arch: Arch, sizes: &Sizes) -> Self {
        let layer = |pair: &[usize]| {
            let columns = pair[0].next_multiple_of(Vectors::of(arch).lanes);
            (vec![0.0; pair[1] * columns], vec![0.0; pair[1]])
        };
        let width = sizes.widths[0];
        Self {
            layers: sizes.widths.windows(2).map(layer).collect(),
            embedding: [sizes.axes * width, width, width].map(|len| vec![0.0; len]),
        }
    }

    /// Adds the sums of some points of one sample, whose layers have its (γ, β) folded in, to sums in which they are not,
    /// and to the gradients of its (γ, β).
    fn add(
        &mut self,
        sizes: &Sizes,
        network: &Network<&[f32]>,
        sums: &Self,
        mut films: Option<(&[f32], &mut [f32])>,
    ) {
        for (index, (total, sums)) in self.layers.iter_mut().zip(&sums.layers).enumerate() {
            add(&mut total.1, &sums.1);
            let width = sizes.widths[index];
            let Some(((films, gradients), [gamma, beta])) = films.as_mut().zip(sizes.film(index))
            else {
                add(&mut total.0, &sums.0);
                continue;
            };
            let columns = sums.0.len() / sums.1.len();
            let weights = network.layers[index].0.chunks_exact(width);
            let rows = total.0.chunks_exact_mut(columns).zip(sums.0.chunks_exact(columns));
            for (((total, sums), &bias), weights) in rows.zip(&sums.1).zip(weights) {
                for k in 0..width {
                    total[k] += sums[k] * films[gamma.start + k] + bias * films[beta.start + k];
                    gradients[gamma.start + k] += sums[k] * weights[k];
                    gradients[beta.start + k] += bias * weights[k];
                }
            }
        }
        for (total, sums) in self.embedding.iter_mut().zip(&sums.embedding) {
            add(total, sums);
        }
    }

    /// All of them, in the order of [`Network::tensors`].
    fn joint(self, sizes: &Sizes) -> Vec<f32> {
        let [weight, bias, scale] = self.embedding;
        let mut joint = weight;
        if sizes.biases {
            joint.extend(bias);
        }
        if sizes.scale {
            joint.extend(scale);
        }
        for ((weight, bias), width) in self.layers.into_iter().zip(&sizes.widths) {
            let columns = weight.len() / bias.len();
            weight.chunks_exact(columns).for_each(|row| joint.extend_from_slice(&row[..*width]));
            if sizes.biases {
                joint.extend(bias);
            }
        }
        joint
    }
}

fn add(total: &mut [f32], sums: &[f32]) {
    total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
}

/// Some points of one sample.
struct Chunk<'a> {
    sizes: &'a Sizes,
    embedding: &'a Embedding,
    layers: &'a [Layer],
    backwards: &'a [Layer],
    grid: &'a [f32],
    gradient: &'a [f32],
    sums: &'a mut Sums,
}

impl WithSimd for Chunk<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sizes, embedding, layers, backwards, sums, .. } = self;
        let width = embedding.layer.columns();
        let columns = || [width].into_iter().chain(layers.iter().map(Layer::columns));
        // The embedding's phase, and the phases of the hidden layers; what their sines are.
        let mut phases: Vec<Aligned> =
            columns().map(|columns| Aligned::zeros(TILE * columns)).collect();
        let mut activations = phases.clone();
        let mut linear = Aligned::zeros(TILE * width);
        let widest = columns().max().unwrap_or(0);
        let [mut now, mut next] = [Aligned::zeros(TILE * widest), Aligned::zeros(TILE * widest)];
        let last = layers.len() - 1;
        let tiles = self.grid.chunks(TILE * sizes.axes);
        for (grid, gradient) in tiles.zip(self.gradient.chunks(TILE * sizes.outputs())) {
            let count = grid.len() / sizes.axes;
            embedding.linear(simd, grid, &mut linear.as_mut()[..count * width]);
            phases[0].as_mut().copy_from_slice(linear.as_ref());
            embedding.rescale(phases[0].as_mut());
            for index in 0..=last {
                let stride = phases[index].len() / TILE;
                activations[index].as_mut().copy_from_slice(phases[index].as_ref());
                wave(simd, Wave::Sine, &mut activations[index].as_mut()[..count * stride]);
                if index < last {
                    let x = Rows::new(&activations[index].as_ref()[..count * stride], stride);
                    let columns = layers[index].columns();
                    layers[index].apply(
                        simd,
                        x,
                        phases[index + 1].as_mut()[..count * columns].chunks_exact_mut(columns),
                    );
                }
            }
            let mut left = Rows::new(gradient, sizes.outputs());
            for index in (0..=last).rev() {
                let stride = phases[index].len() / TILE;
                let right = Rows::new(&activations[index].as_ref()[..count * stride], stride);
                let (weight, bias) = &mut sums.layers[index];
                add_outer(simd, left, right, weight);
                add_rows(left, bias);
                let back = &mut next.as_mut()[..count * stride];
                backwards[index].apply(simd, left, back.chunks_exact_mut(stride));
                let phases = &mut phases[index].as_mut()[..count * stride];
                wave(simd, Wave::Cosine, phases);
                back.iter_mut().zip(phases).for_each(|(back, cosine)| *back *= *cosine);
                std::mem::swap(&mut now, &mut next);
                left = Rows::new(&now.as_ref()[..count * stride], stride);
            }
            sums.add_embedding(sizes, left, linear.as_ref(), grid, embedding.scale.as_ref());
        }
    }
}

impl Sums {
    /// Adds what the gradients of the embedding's phases, `left`, give.
    #[inline(always)]
    fn add_embedding(
        &mut self,
        sizes: &Sizes,
        left: Rows<'_>,
        linear: &[f32],
        grid: &[f32],
        scale: Option<&Aligned>,
    ) {
        let [weight, bias, scales] = &mut self.embedding;
        let points = grid.chunks_exact(sizes.axes);
        let rows = left.values.chunks_exact(left.stride).zip(linear.chunks_exact(left.stride));
        for ((row, linear), point) in rows.zip(points) {
            for output in 0..sizes.widths[0] {
                scales[output] += row[output] * linear[output];
                let gradient = row[output] * scale.map_or(1.0, |scale| scale.as_ref()[output]);
                bias[output] += gradient;
                for (axis, coordinate) in point.iter().enumerate() {
                    weight[output * sizes.axes + axis] += gradient * coordinate;
                }
            }
        }
    }
}
