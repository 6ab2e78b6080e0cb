//! A layer's weights, packed for tiles of rows: those of a panel of neighbouring outputs stand together.

use pulp::{Arch, Simd, WithSimd};

use super::aligned::Aligned;

/// A layer's weights in the order in which tiles read them.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(super) inputs: usize,
    outputs: usize,
    pub(super) vectors: Vectors,
    /// For each panel, for each input, the weights of the panel's columns.
    pub(super) weights: Aligned,
    pub(super) bias: Aligned,
}

/// How layers are cut for a processor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vectors {
    /// float32 numbers of a vector.
    pub(crate) lanes: usize,
    /// Vectors of columns that are computed together.
    pub(super) together: usize,
}

impl Vectors {
    pub(crate) fn of(arch: Arch) -> Self {
        struct Measure;
        impl WithSimd for Measure {
            type Output = Vectors;
            fn with_simd<S: Simd>(self, _: S) -> Vectors {
                // Their sums of the rows computed together, the weights and a factor leave a register free: where a single sum has to go to
                // memory and back, all take twice as long.
                let together = if Vectors::wide::<S>() { 4 } else { 2 };
                Vectors { lanes: S::F32_LANES, together }
            }
        }
        arch.dispatch(Measure)
    }

    /// Whether there are registers for panels of more than two vectors.
    pub(super) const fn wide<S: Simd>() -> bool {
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
