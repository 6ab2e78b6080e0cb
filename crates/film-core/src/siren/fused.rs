//! The network on a grid, tile by tile on the CPU in float32: its activations never leave the cache.
//!
//! A layer's input γ ⊙ h + β is folded into the layer's weight and bias, once a sample; the embedding is the same for
//! all samples, and computed once for as many points as fit into [`SLAB`].

use pulp::{Arch, Simd, WithSimd};

use super::network::{Network, Sizes};
use crate::ops::vector::{Aligned, Layer, Rows, TILE, Vectors, Wave, wave};
use crate::ops::{Piece, threads};

/// Numbers of embedded points that are kept at a time, and of layers with (γ, β) folded in.
const SLAB: usize = 1 << 18;

/// Draws the kernels.
///
/// # Shapes
/// grid `[G, D]`, films `[B, num_film_layers · 2 · H]` → kernels `[1 or B, G, out_dim]`
pub(super) fn forward(
    arch: Arch,
    sizes: &Sizes,
    network: &Network<&[f32]>,
    grid: &[f32],
    films: Option<&[f32]>,
    kernels: Piece<'_>,
) {
    let (points, outputs) = (grid.len() / sizes.axes, sizes.outputs());
    let batch = films.map_or(1, |films| films.len() / sizes.film_numbers());
    let sample = points * outputs;
    if kernels.len() == 0 {
        return;
    }
    // What is left of each sample's kernel.
    let mut rests: Vec<Piece> = kernels.chunks(sample).collect();
    let embedding = Embedding::new(arch, sizes, network);
    let packed = layers(arch, sizes, network);
    let slab = (SLAB / embedding.layer.columns()).max(TILE) / TILE * TILE;
    let numbers = sizes.cost();
    let group = (SLAB / numbers).max(1);
    for start in (0..points).step_by(slab) {
        let end = points.min(start + slab);
        let embedded = embedding.points(arch, &grid[start * sizes.axes..end * sizes.axes]);
        let tiles = || embedded.as_ref().chunks(TILE * embedding.layer.columns());
        for first in (0..batch).step_by(group) {
            let samples: Vec<usize> = (first..batch.min(first + group)).collect();
            let packing = threads::PASS * samples.len() * numbers;
            let layers = threads::map(packing, samples, |sample| {
                modulated(arch, sizes, &packed, films.map(|films| sample_of(sizes, films, sample)))
            });
            let tasks = rests[first..].iter_mut().zip(&layers).flat_map(|(rest, layers)| {
                let parts = rest.take((end - start) * outputs).chunks(TILE * outputs);
                parts.zip(tiles()).map(move |(kernel, embedded)| (layers, embedded, kernel))
            });
            let cost = layers.len() * (end - start) * numbers;
            let columns = embedding.layer.columns();
            threads::for_each(
                cost,
                tasks.collect(),
                || scratch(&layers[0]),
                |activations, (layers, embedded, kernel): (&Vec<Layer>, &[f32], Piece)| {
                    arch.dispatch(Tile { layers, embedded, columns, kernel, activations });
                },
            );
        }
    }
}

/// The numbers of one sample's (γ, β) pairs.
pub(super) fn sample_of<'a>(sizes: &Sizes, films: &'a [f32], sample: usize) -> &'a [f32] {
    &films[sample * sizes.film_numbers()..][..sizes.film_numbers()]
}

/// The layers behind the embedding, packed.
pub(super) fn layers(arch: Arch, sizes: &Sizes, network: &Network<&[f32]>) -> Vec<Layer> {
    let widths = sizes.widths.windows(2);
    let layers = widths.zip(&network.layers).map(|(widths, &(weight, bias))| {
        let mut layer = Layer::new(widths[0], widths[1], Vectors::of(arch));
        layer.pack(weight, bias);
        layer
    });
    layers.collect()
}

/// The layers with a sample's (γ, β) folded in.
pub(super) fn modulated(
    arch: Arch,
    sizes: &Sizes,
    layers: &[Layer],
    films: Option<&[f32]>,
) -> Vec<Layer> {
    let modulated = |(index, layer): (usize, &Layer)| match films.zip(sizes.film(index)) {
        Some((films, [gamma, beta])) => layer.modulated(arch, (&films[gamma], &films[beta])),
        None => layer.clone(),
    };
    layers.iter().enumerate().map(modulated).collect()
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
        let mut layer = Layer::new(sizes.axes, sizes.widths[0], Vectors::of(arch));
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
        let rows = out.chunks_exact_mut(self.layer.columns());
        self.layer.apply(simd, Rows::new(grid, self.axes), rows);
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
    kernel: Piece<'a>,
    /// Activations before and behind a layer.
    activations: &'a mut [Aligned; 2],
}

/// Room for a tile's activations before and behind a layer.
fn scratch(layers: &[Layer]) -> [Aligned; 2] {
    let hidden = layers.split_last().map_or(layers, |(_, hidden)| hidden);
    let widest = hidden.iter().map(Layer::columns).max().unwrap_or(0);
    [(); 2].map(|()| Aligned::zeros(TILE * widest))
}

impl WithSimd for Tile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Some((last, hidden)) = self.layers.split_last() else { return };
        let count = self.embedded.len() / self.columns;
        let [mut before, mut behind] = self.activations.each_mut().map(Aligned::as_mut);
        let mut x = Rows::new(self.embedded, self.columns);
        for layer in hidden {
            let columns = layer.columns();
            let out = &mut behind[..count * columns];
            layer.apply(simd, x, out.chunks_exact_mut(columns));
            wave(simd, Wave::Sine, out);
            std::mem::swap(&mut before, &mut behind);
            x = Rows::new(&before[..count * columns], columns);
        }
        let outputs = self.kernel.len() / count;
        last.apply(simd, x, self.kernel.chunks(outputs).map(Piece::writer));
    }
}
