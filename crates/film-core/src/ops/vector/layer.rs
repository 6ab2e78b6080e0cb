//! `x · weightᵀ + bias` for a tile of rows, out of weights packed for it.
//!
//! The outputs are vectors of neighbouring columns. A panel of a few of them is computed for a few rows at a time, so
//! that their sums stay in registers while the panel's weights stream from the cache.

use pulp::{Arch, Simd, WithSimd};

use super::aligned::Aligned;

/// Terms that are added one after the other. Longer sums are made of blocks, to keep float32's digits.
const BLOCK: usize = 32;

/// Rows that are computed together.
const ROWS: usize = 6;

/// A layer's weights in the order in which tiles read them.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    inputs: usize,
    outputs: usize,
    vectors: Vectors,
    /// For each panel, for each input, the weights of the panel's columns.
    weights: Aligned,
    bias: Aligned,
}

/// The rows of a matrix: the first numbers of every `stride` ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) stride: usize,
}

impl Rows<'_> {
    /// Number of rows; the last one may lack what follows its own numbers.
    pub(crate) fn count(&self) -> usize {
        self.values.len().div_ceil(self.stride)
    }

    /// Those behind the first `rows`.
    #[inline(always)]
    fn skip(self, rows: usize) -> Self {
        Self { values: &self.values[self.values.len().min(rows * self.stride)..], ..self }
    }
}

/// How layers are cut for a processor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vectors {
    /// float32 numbers of a vector.
    pub(crate) lanes: usize,
    /// Vectors of columns that are computed together.
    together: usize,
}

impl Vectors {
    pub(crate) fn of(arch: Arch) -> Self {
        struct Measure;
        impl WithSimd for Measure {
            type Output = Vectors;
            fn with_simd<S: Simd>(self, _: S) -> Vectors {
                // Their sums of ROWS rows, the weights and a factor leave a register free: where a single sum has to go to
                // memory and back, all take twice as long.
                let together = if Vectors::wide::<S>() { 4 } else { 2 };
                Vectors { lanes: S::F32_LANES, together }
            }
        }
        arch.dispatch(Measure)
    }

    /// Whether there are registers for panels of more than two vectors.
    const fn wide<S: Simd>() -> bool {
        S::REGISTER_COUNT >= 32
    }

    /// Columns that are computed together.
    fn panel(self) -> usize {
        self.lanes * self.together
    }
}

impl Layer {
    /// Room for a layer.
    pub(crate) fn new(inputs: usize, outputs: usize, vectors: Vectors) -> Self {
        let columns = outputs.next_multiple_of(vectors.lanes);
        let (weights, bias) = (Aligned::zeros(inputs * columns), Aligned::zeros(columns));
        Self { inputs, outputs, vectors, weights, bias }
    }

    /// Columns of a row of outputs in a tile: whole vectors.
    pub(crate) fn columns(&self) -> usize {
        self.bias.len()
    }

    /// Packs a weight and a bias.
    ///
    /// # Shapes
    /// weight `[outputs, inputs]`, bias `[outputs]`
    pub(crate) fn pack(&mut self, weight: &[f32], bias: Option<&[f32]>) {
        let inputs = self.inputs;
        self.pack_with(|row, input| weight[row * inputs + input]);
        if let Some(bias) = bias {
            self.bias.as_mut()[..self.outputs].copy_from_slice(bias);
        }
    }

    /// The packed layer as it acts on γ ⊙ x + β: its weight is W·diag(γ), its bias b + W β.
    ///
    /// # Shapes
    /// γ and β `[inputs]`
    pub(crate) fn modulated(&self, arch: Arch, (gamma, beta): (&[f32], &[f32])) -> Self {
        assert_eq!([gamma.len(), beta.len()], [self.inputs; 2], "a pair for each input");
        let mut modulated = Self::new(self.inputs, self.outputs, self.vectors);
        arch.dispatch(Modulate { layer: self, gamma, beta, modulated: &mut modulated });
        modulated
    }

    /// Packs the transpose of a weight times diag(γ), without a bias: what takes gradients of its outputs to those of its
    /// inputs.
    ///
    /// # Shapes
    /// weight `[inputs, outputs]`, γ `[outputs]`
    pub(crate) fn pack_transposed(&mut self, weight: &[f32], gamma: Option<&[f32]>) {
        let outputs = self.outputs;
        match gamma {
            Some(gamma) => self.pack_with(|row, input| weight[input * outputs + row] * gamma[row]),
            None => self.pack_with(|row, input| weight[input * outputs + row]),
        }
    }

    /// Packs the weight `weight(output, input)`.
    fn pack_with(&mut self, weight: impl Fn(usize, usize) -> f32) {
        let panel = self.vectors.panel();
        let columns = self.columns();
        for first in (0..columns).step_by(panel) {
            let width = panel.min(columns - first);
            let packed = &mut self.weights.as_mut()[first * self.inputs..][..width * self.inputs];
            let outputs = width.min(self.outputs - first);
            for start in (0..outputs).step_by(GROUP) {
                let group = GROUP.min(outputs - start);
                for (input, packed) in packed.chunks_exact_mut(width).enumerate() {
                    for (place, packed) in packed[start..start + group].iter_mut().enumerate() {
                        *packed = weight(first + start + place, input);
                    }
                }
            }
        }
    }

    /// Computes the outputs of each row of `x` into rows of `row` numbers: [`columns`](Self::columns), or the
    /// number of outputs where they are to stand close together.
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(&self, simd: S, x: Rows<'_>, out: &mut [f32], row: usize) {
        let Vectors { lanes, together } = self.vectors;
        let vectors = self.columns() / lanes;
        let weights = S::as_simd_f32s(self.weights.as_ref()).0;
        let bias = S::as_simd_f32s(self.bias.as_ref()).0;
        for first in (0..vectors).step_by(together) {
            let count = together.min(vectors - first);
            let panel = Panel {
                weights: &weights[first * self.inputs..][..count * self.inputs],
                bias: &bias[first..first + count],
                columns: first * lanes..row.min((first + count) * lanes),
                row,
            };
            // Wider panels are compiled only where there are such.
            match count {
                1 => panel.apply::<S, 1>(simd, x, out),
                3 if Vectors::wide::<S>() => panel.apply::<S, 3>(simd, x, out),
                4 if Vectors::wide::<S>() => panel.apply::<S, 4>(simd, x, out),
                _ => panel.apply::<S, 2>(simd, x, out),
            }
        }
    }
}

/// A layer that is to act on γ ⊙ x + β.
struct Modulate<'a> {
    layer: &'a Layer,
    gamma: &'a [f32],
    beta: &'a [f32],
    modulated: &'a mut Layer,
}

impl WithSimd for Modulate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { layer, gamma, beta, modulated } = self;
        let panel = layer.vectors.panel();
        let weights = layer.weights.as_ref().chunks(panel * layer.inputs);
        let packed = modulated.weights.as_mut().chunks_mut(panel * layer.inputs);
        let biases =
            layer.bias.as_ref().chunks(panel).zip(modulated.bias.as_mut().chunks_mut(panel));
        for ((weights, packed), (bias, modulated)) in weights.zip(packed).zip(biases) {
            // W β may be a small difference of large terms.
            let mut shift = [0.0f64; MOST_COLUMNS];
            let shift = &mut shift[..bias.len()];
            let columns = weights.chunks_exact(bias.len()).zip(packed.chunks_exact_mut(bias.len()));
            for ((weights, packed), (&gamma, &beta)) in columns.zip(gamma.iter().zip(beta)) {
                for ((packed, &weight), shift) in packed.iter_mut().zip(weights).zip(&mut *shift) {
                    *packed = weight * gamma;
                    *shift += f64::from(weight) * f64::from(beta);
                }
            }
            for ((modulated, &bias), &shift) in modulated.iter_mut().zip(bias).zip(&*shift) {
                *modulated = (f64::from(bias) + shift) as f32;
            }
        }
    }
}

/// Columns of the widest panel: four vectors of 512 bits.
const MOST_COLUMNS: usize = 64;

/// Rows of a weight that are packed side by side.
const GROUP: usize = 16;

/// The part of a layer that gives some neighbouring columns.
struct Panel<'a, V> {
    weights: &'a [V],
    bias: &'a [V],
    columns: std::ops::Range<usize>,
    /// Columns of a row of outputs, all panels'.
    row: usize,
}

impl<V: Copy> Panel<'_, V> {
    #[inline(always)]
    fn apply<S: Simd<f32s = V>, const N: usize>(&self, simd: S, x: Rows<'_>, out: &mut [f32]) {
        let (x, out) = self.in_groups::<S, N, ROWS>(simd, x, out);
        let (x, out) = self.in_groups::<S, N, 2>(simd, x, out);
        self.in_groups::<S, N, 1>(simd, x, out);
    }

    /// M rows at a time; gives those that are left.
    #[inline(always)]
    fn in_groups<'x, 'out, S: Simd<f32s = V>, const N: usize, const M: usize>(
        &self,
        simd: S,
        x: Rows<'x>,
        out: &'out mut [f32],
    ) -> (Rows<'x>, &'out mut [f32]) {
        let whole = out.len() / self.row / M * M;
        let (many, few) = out.split_at_mut(whole * self.row);
        for (index, out) in many.chunks_exact_mut(M * self.row).enumerate() {
            self.group::<S, N, M>(simd, x.skip(index * M), out);
        }
        (x.skip(whole), few)
    }

    #[inline(always)]
    fn group<S: Simd<f32s = V>, const N: usize, const M: usize>(
        &self,
        simd: S,
        x: Rows<'_>,
        out: &mut [f32],
    ) {
        let blocks = self.weights.len().div_ceil(BLOCK * N);
        for (block, weights) in self.weights.chunks(BLOCK * N).enumerate() {
            let x: [&[f32]; M] = std::array::from_fn(|m| &x.values[m * x.stride + block * BLOCK..]);
            let sums = sums::<S, N, M>(simd, x, weights);
            for (sums, out) in sums.iter().zip(out.chunks_exact_mut(self.row)) {
                let (whole, rest) = S::as_mut_simd_f32s(&mut out[self.columns.clone()]);
                for (out, (sum, bias)) in whole.iter_mut().zip(sums.iter().zip(self.bias)) {
                    let sum = if block == 0 { *sum } else { simd.add_f32s(*out, *sum) };
                    *out = if block + 1 == blocks { simd.add_f32s(sum, *bias) } else { sum };
                }
                if !rest.is_empty() {
                    let (sum, bias) = (sums[whole.len()], self.bias[whole.len()]);
                    let before = simd.partial_load_f32s(rest);
                    let sum = if block == 0 { sum } else { simd.add_f32s(before, sum) };
                    let sum = if block + 1 == blocks { simd.add_f32s(sum, bias) } else { sum };
                    simd.partial_store_f32s(rest, sum);
                }
            }
        }
    }
}

/// N vectors of outputs of M rows: Σ x · weights.
#[inline(always)]
fn sums<S: Simd, const N: usize, const M: usize>(
    simd: S,
    x: [&[f32]; M],
    weights: &[S::f32s],
) -> [[S::f32s; N]; M] {
    let inputs = weights.len() / N;
    let x: [&[f32]; M] = std::array::from_fn(|m| &x[m][..inputs]);
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    for (k, weights) in weights.chunks_exact(N).enumerate() {
        for (x, sums) in x.iter().zip(&mut sums) {
            let factor = simd.splat_f32s(x[k]);
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum = simd.mul_add_e_f32s(factor, *weight, *sum);
            }
        }
    }
    sums
}
