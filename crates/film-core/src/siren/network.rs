//! The network behind the kernel: its tensors in one order, and which (γ, β) stands before which layer.

use candle_core::Tensor;

use crate::error::Result;

/// Weight `[out, in]` and bias `[out]`.
pub(super) type Linear<T> = (T, Option<T>);

/// sin(scale ⊙ (W x + b)), then the layers: the hidden ones, each with a sine behind it, and the last.
#[derive(Debug, Clone)]
pub(super) struct Network<T> {
    pub(super) embedding: Linear<T>,
    /// What the embedding's phase is multiplied by, `[embedding_dim]`.
    pub(super) scale: Option<T>,
    pub(super) layers: Vec<Linear<T>>,
}

/// Sizes, and what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Number of grid axes.
    pub(super) axes: usize,
    /// Inputs of each layer, from the first behind the embedding on, and outputs of the last.
    pub(super) widths: Vec<usize>,
    pub(super) biases: bool,
    pub(super) scale: bool,
    /// Whether the first (γ, β) stands before the first layer, or before the second.
    pub(super) film_after_pos_embed: bool,
}

impl Network<Tensor> {
    /// Its tensors in the order of [`Sizes::lengths`].
    pub(super) fn tensors(&self) -> Vec<Tensor> {
        let linear = |(weight, bias): &Linear<Tensor>| [Some(weight.clone()), bias.clone()];
        let first = linear(&self.embedding).into_iter().chain([self.scale.clone()]);
        first.chain(self.layers.iter().flat_map(linear)).flatten().collect()
    }

    pub(super) fn sizes(&self, film_after_pos_embed: bool) -> Result<Sizes> {
        let (embedding, axes) = self.embedding.0.dims2()?;
        let mut widths = vec![embedding];
        for (weight, _) in &self.layers {
            widths.push(weight.dim(0)?);
        }
        let (biases, scale) = (self.embedding.1.is_some(), self.scale.is_some());
        Ok(Sizes { axes, widths, biases, scale, film_after_pos_embed })
    }
}

impl Sizes {
    /// Width of the kernel.
    pub(super) fn outputs(&self) -> usize {
        self.widths[self.layers()]
    }

    /// Number of layers.
    pub(super) fn layers(&self) -> usize {
        self.widths.len() - 1
    }

    /// Multiply-adds of one point.
    pub(super) fn cost(&self) -> usize {
        let layers: usize = self.widths.windows(2).map(|pair| pair[0] * pair[1]).sum();
        self.axes * self.widths[0] + layers
    }

    /// Numbers of each tensor, in the order of [`Network::tensors`].
    pub(super) fn lengths(&self) -> Vec<usize> {
        let linear = |inputs: usize, outputs: usize| {
            [Some(inputs * outputs), self.biases.then_some(outputs)]
        };
        let embedding = linear(self.axes, self.widths[0]);
        let scale = [self.scale.then_some(self.widths[0])];
        let layers = self.widths.windows(2).flat_map(|pair| linear(pair[0], pair[1]));
        embedding.into_iter().chain(scale).chain(layers).flatten().collect()
    }

    /// The network of tensors in that order.
    pub(super) fn network<'a>(
        &self,
        mut tensors: impl Iterator<Item = &'a [f32]>,
    ) -> Network<&'a [f32]> {
        let mut next = |there: bool| if there { tensors.next() } else { None };
        let mut linear = || (next(true).unwrap_or_default(), next(self.biases));
        let embedding = linear();
        let scale = next(self.scale);
        let mut linear = || (next(true).unwrap_or_default(), next(self.biases));
        Network { embedding, scale, layers: (0..self.layers()).map(|_| linear()).collect() }
    }

    /// Number of (γ, β) pairs of a sample.
    fn films(&self) -> usize {
        self.layers() - usize::from(!self.film_after_pos_embed)
    }

    /// Numbers of a sample's (γ, β) pairs.
    pub(super) fn film_numbers(&self) -> usize {
        2 * self.films() * self.widths[self.layers() - 1]
    }

    /// Where γ and β of the input of layer `index` stand among a sample's numbers, if it is modulated.
    pub(super) fn film(&self, index: usize) -> Option<[std::ops::Range<usize>; 2]> {
        let film = (index + usize::from(self.film_after_pos_embed)).checked_sub(1)?;
        let width = self.widths[index];
        let start = 2 * film * width;
        Some([start..start + width, start + width..start + 2 * width])
    }
}
