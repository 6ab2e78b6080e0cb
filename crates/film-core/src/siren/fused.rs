//! The network on a grid, tile by tile on the CPU in float32: its activations never leave the cache.
//!
//! A layer's input γ ⊙ h + β is folded into the layer's weight and bias, once a sample; the embedding is the same for
//! all samples, and computed once for as many points as fit into [`SLAB`].

use pulp::{Arch, Simd, WithSimd};

use super::network::{Network, Sizes};
use crate::ops::vector::{Aligned, Layer, Rows, TILE, Wave, lanes, wave};
use crate::ops::{threads, zeros};

/// Numbers of embedded points that are kept at a time, and of layers with (γ, β) folded in.
const SLAB: usize = 1 << 18;

/// Draws the kernels.
///
/// # Shapes
/// grid `[G, D]`, films `[B, num_film_layers · 2 · H]` → `[1 or B, G, out_dim]`
pub(super) fn forward(
    arch: Arch,
    sizes: &Sizes,
    network: &Network<&[f32]>,
    grid: &[f32],
    films: Option<&[f32]>,
) -> Vec<f32> {
    let (points, outputs) = (grid.len() / sizes.axes, sizes.outputs());
    let batch = films.map_or(1, |films| films.len() / sizes.film_numbers());
    let mut kernels = zeros(batch * points * outputs);
    if kernels.is_empty() {
        return kernels;
    }
    let embedding = Embedding::new(arch, sizes, network);
    let slab = (SLAB / embedding.layer.columns()).max(TILE) / TILE * TILE;
    let numbers = sizes.cost();
    let group = (SLAB / numbers).max(1);
    for start in (0..points).step_by(slab) {
        let end = points.min(start + slab);
        let embedded = embedding.points(arch, &grid[start * sizes.axes..end * sizes.axes]);
        let tiles = || embedded.as_ref().chunks(TILE * embedding.layer.columns());
        for first in (0..batch).step_by(group) {
            let samples: Vec<usize> = (first..batch.min(first + group)).collect();
            let packing = 16 * samples.len() * numbers;
            let layers = threads::map(packing, samples, |sample| {
                layers(arch, sizes, network, films.map(|films| sample_of(sizes, films, sample)))
            });
            let kernels = kernels.chunks_exact_mut(points * outputs).skip(first);
            let tasks: Vec<_> = kernels
                .zip(&layers)
                .flat_map(|(kernel, layers)| {
                    let parts = kernel[start * outputs..end * outputs].chunks_mut(TILE * outputs);
                    parts.zip(tiles()).map(move |(kernel, embedded)| (layers, embedded, kernel))
                })
                .collect();
            let cost = layers.len() * (end - start) * numbers;
            let columns = embedding.layer.columns();
            threads::for_each(
                cost,
                tasks,
                || scratch(&layers[0]),
                |scratch, task| {
                    let (layers, embedded, kernel) = task;
                    arch.dispatch(Tile { layers, embedded, columns, kernel, scratch });
                },
            );
        }
    }
    kernels
}

/// The numbers of one sample's (γ, β) pairs.
pub(super) fn sample_of<'a>(sizes: &Sizes, films: &'a [f32], sample: usize) -> &'a [f32] {
    &films[sample * sizes.film_numbers()..][..sizes.film_numbers()]
}

/// The layers behind the embedding, with a sample's (γ, β) folded in.
pub(super) fn layers(
    arch: Arch,
    sizes: &Sizes,
    network: &Network<&[f32]>,
    films: Option<&[f32]>,
) -> Vec<Layer> {
    let packed = |(index, &(weight, bias)): (usize, &(&[f32], Option<&[f32]>))| {
        let mut layer = Layer::new(sizes.widths[index], sizes.widths[index + 1], lanes(arch));
        match (films, sizes.film(index)) {
            (Some(films), Some([gamma, beta])) => {
                layer.pack_film(weight, bias, (&films[gamma], &films[beta]));
            }
            _ => layer.pack(weight, bias),
        }
        layer
    };
    network.layers.iter().enumerate().map(packed).collect()
}

/// The positional embedding, packed.
pub(super) struct Embedding {
    axes: usize,
    pub(super) layer: Layer,
    /// What the phase is multiplied by, in whole vectors.
    pub(super) scale: Option<Aligned>,
}

impl Embedding {
    pub(super) fn new(arch: Arch, sizes: &Sizes, network: &Network<&[f32]>) -> Self {
        let mut layer = Layer::new(sizes.axes, sizes.widths[0], lanes(arch));
        layer.pack(network.embedding.0, network.embedding.1);
        let scale = network.scale.map(|scale| {
            let mut padded = Aligned::zeros(layer.columns());
            padded.as_mut()[..scale.len()].copy_from_slice(scale);
            padded
        });
        Self { axes: sizes.axes, layer, scale }
    }

    /// # Shapes
    /// grid `[G, D]` → `[G, columns]`
    fn points(&self, arch: Arch, grid: &[f32]) -> Aligned {
        let columns = self.layer.columns();
        let points = grid.len() / self.axes;
        let mut embedded = Aligned::zeros(points * columns);
        let grid = grid.chunks(TILE * self.axes);
        let tasks = grid.zip(embedded.as_mut().chunks_mut(TILE * columns)).collect();
        // A sine takes about as long as 16 multiply-adds.
        let cost = points * columns * (self.axes + 16);
        threads::for_each(
            cost,
            tasks,
            || (),
            |(), (grid, embedded)| {
                arch.dispatch(Embed { embedding: self, grid, embedded });
            },
        );
        embedded
    }

    /// The phases before they are multiplied by the scale.
    ///
    /// # Shapes
    /// grid `[M, D]` → out `[M, columns]`
    #[inline(always)]
    pub(super) fn linear<S: Simd>(&self, simd: S, grid: &[f32], out: &mut [f32]) {
        self.layer.apply(simd, Rows { values: grid, stride: self.axes }, out, self.layer.columns());
    }

    /// Multiplies rows by the scale.
    #[inline(always)]
    pub(super) fn rescale(&self, rows: &mut [f32]) {
        let Some(scale) = &self.scale else { return };
        for row in rows.chunks_exact_mut(self.layer.columns()) {
            row.iter_mut().zip(scale.as_ref()).for_each(|(value, scale)| *value *= scale);
        }
    }
}

/// Some points, embedded.
struct Embed<'a> {
    embedding: &'a Embedding,
    grid: &'a [f32],
    embedded: &'a mut [f32],
}

impl WithSimd for Embed<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.embedding.linear(simd, self.grid, self.embedded);
        self.embedding.rescale(self.embedded);
        wave(simd, Wave::Sine, self.embedded);
    }
}

/// Some points of a sample's kernel.
struct Tile<'a> {
    layers: &'a [Layer],
    /// The points, embedded, and the length of a row.
    embedded: &'a [f32],
    columns: usize,
    kernel: &'a mut [f32],
    /// Activations before and behind a layer.
    scratch: &'a mut [Aligned; 2],
}

/// Room for a tile's activations before and behind a layer.
fn scratch(layers: &[Layer]) -> [Aligned; 2] {
    let widest = layers.iter().map(Layer::columns).max().unwrap_or(0);
    [Aligned::zeros(TILE * widest), Aligned::zeros(TILE * widest)]
}

impl WithSimd for Tile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Some((last, hidden)) = self.layers.split_last() else { return };
        let count = self.embedded.len() / self.columns;
        let [mut before, mut behind] = self.scratch.each_mut().map(Aligned::as_mut);
        let mut x = Rows { values: self.embedded, stride: self.columns };
        for layer in hidden {
            let columns = layer.columns();
            let out = &mut behind[..count * columns];
            layer.apply(simd, x, out, columns);
            wave(simd, Wave::Sine, out);
            std::mem::swap(&mut before, &mut behind);
            x = Rows { values: &before[..count * columns], stride: columns };
        }
        let outputs = self.kernel.len() / count;
        last.apply(simd, x, self.kernel, outputs);
    }
}
