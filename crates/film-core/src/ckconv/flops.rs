//! What a convolution costs.

use super::config::CKConvConfig;
use crate::conv::Boundary;
use crate::error::{Error, Result};
use crate::flops::{Flops, Item};
use crate::siren::Phase;

impl CKConvConfig {
    /// What convolving one signal of `spatial` points costs by transforms, the kernel's drawing included; [`Flops`]
    /// states the convention. A transform of P points of C channels is 5·C·P·log₂P FLOPs, rounded down in the sum of
    /// them all: signal, kernel and back. Their product is 6 a point, the shortcut 1.
    ///
    /// At inference a kernel without a generator is a constant: neither its drawing nor its transform is counted. The
    /// mask is not counted, as in the original.
    ///
    /// # Errors
    /// As [`validate`](Self::validate), if the lengths do not fit the axes, or if a count overflows.
    pub fn flops(&self, spatial: &[usize], phase: Phase) -> Result<Flops> {
        self.validate()?;
        let lengths = self.grid_lengths(spatial)?;
        let mut items: Vec<Item> = self.kernel.flops(&lengths, phase)?.under("kernel").collect();
        let channels = ("channels", self.kernel.out_dim);
        let padded: Vec<usize> = spatial
            .iter()
            .zip(&self.boundaries)
            .map(|(&length, boundary)| match boundary {
                // min(N + (K + 1)/2, 2N) of K = 2N − 1, and min(N + K, 2N) of a causal K = N.
                Boundary::Zero | Boundary::Causal => length.saturating_mul(2),
                Boundary::Circular => length,
            })
            .collect();
        let product = |lengths: &[usize]| {
            lengths.iter().try_fold(1usize, |all, &length| all.checked_mul(length)).ok_or_else(
                || Error::Overflow { what: "the signal".into(), detail: format!("{spatial:?}") },
            )
        };
        let points = ("padded points", product(&padded)?);
        let constant = self.kernel.film_generator.is_none() && phase == Phase::Inference;
        let transforms = ("transforms", if constant { 2 } else { 3 });
        items.push(Item::transforms("conv.transforms", transforms, channels, &padded, points)?);
        items.push(Item::elementwise("conv.product", 6, &[channels, points])?);
        let signal = ("points", product(spatial)?);
        let shortcut = Item::elementwise("shortcut", 1, &[channels, signal])?;
        items.push(shortcut.with_parameters(&[&self.shortcut()]));
        Flops::new(items)
    }
}
