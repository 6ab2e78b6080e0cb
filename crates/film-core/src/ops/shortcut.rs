//! y + shortcut ⊙ x, channel by channel: in candle's operations, and in one pass on the CPU.

use candle_core::{CpuStorage, CustomOp3, Device, Layout, Shape, Tensor};

use super::{fused, slice, threads, with_slices, zeros};
use crate::error::Result;

/// Adds the signal, times a factor for each channel.
///
/// # Shapes
/// y and x `[*, C, *]` with the channels on axis `axis`, shortcut `[C]` → y's
pub(crate) fn add_shortcut(
    y: &Tensor,
    x: &Tensor,
    shortcut: &Tensor,
    axis: usize,
) -> Result<Tensor> {
    if !fused(y) {
        return plain(y, x, shortcut, axis);
    }
    let operation = Shortcut { inner: y.dims()[axis + 1..].iter().product() };
    let tensors = [y.contiguous()?, x.contiguous()?, shortcut.contiguous()?];
    if tensors.iter().any(Tensor::track_op) {
        let [y, x, shortcut] = &tensors;
        return Ok(y.apply_op3(x, shortcut, operation)?);
    }
    with_slices(&tensors, |slices| {
        let sum = operation.forward(slices[0], slices[1], slices[2]);
        Ok(Tensor::from_vec(sum, y.shape(), &Device::Cpu)?)
    })
}

fn plain(y: &Tensor, x: &Tensor, shortcut: &Tensor, axis: usize) -> Result<Tensor> {
    let mut shape = vec![1; y.rank()];
    shape[axis] = shortcut.elem_count();
    Ok((y + x.broadcast_mul(&shortcut.reshape(shape)?)?)?)
}

struct Shortcut {
    /// Numbers of a channel that stand beside each other.
    inner: usize,
}

/// Numbers that are a task of their own, about.
const TASK: usize = 1 << 15;

impl Shortcut {
    fn forward(&self, y: &[f32], x: &[f32], shortcut: &[f32]) -> Vec<f32> {
        let mut sum = zeros(y.len());
        if sum.is_empty() {
            return sum;
        }
        let channels = shortcut.len();
        // Rows with a number for each channel, or with those of one channel.
        let row = if self.inner == 1 { channels } else { self.inner };
        let rows = TASK.div_ceil(row);
        let inputs = y.chunks(rows * row).zip(x.chunks(rows * row));
        let tasks = sum.chunks_mut(rows * row).zip(inputs).enumerate().collect();
        threads::for_each(
            threads::PASS * y.len(),
            tasks,
            || (),
            |(), (task, (sum, (y, x)))| {
                let inputs = y.chunks_exact(row).zip(x.chunks_exact(row));
                for (index, (sum, (y, x))) in sum.chunks_exact_mut(row).zip(inputs).enumerate() {
                    let terms = sum.iter_mut().zip(y.iter().zip(x));
                    if self.inner == 1 {
                        terms.zip(shortcut).for_each(|((sum, (y, x)), s)| *sum = y + s * x);
                    } else {
                        let s = shortcut[(task * rows + index) % channels];
                        terms.for_each(|(sum, (y, x))| *sum = y + s * x);
                    }
                }
            },
        );
        sum
    }
}

impl CustomOp3 for Shortcut {
    fn name(&self) -> &'static str {
        "shortcut"
    }

    fn cpu_fwd(
        &self,
        y: &CpuStorage,
        y_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
        shortcut: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let [y, x] = [slice(y, y_layout)?, slice(x, x_layout)?];
        let sum = self.forward(y, x, slice(shortcut, layout)?);
        Ok((CpuStorage::F32(sum), y_layout.shape().clone()))
    }

    fn bwd(
        &self,
        _: &Tensor,
        x: &Tensor,
        shortcut: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let channels = shortcut.elem_count();
        let blocks = (x.elem_count() / (channels * self.inner).max(1), channels, self.inner);
        let factors = shortcut.reshape((1, channels, 1))?;
        let [x_blocks, g_blocks] = [x, gradient].map(|tensor| tensor.reshape(blocks));
        let (x_blocks, g_blocks) = (x_blocks?, g_blocks?);
        let in_x = match x.track_op() {
            true => Some(g_blocks.broadcast_mul(&factors)?.reshape(x.shape())?),
            false => None,
        };
        let in_shortcut = (x_blocks * g_blocks)?.sum((0, 2))?;
        Ok((Some(gradient.clone()), in_x, Some(in_shortcut)))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::testing::random_var;

    #[test]
    fn fused_and_plain_agree_in_values_and_gradients() {
        for (shape, axis) in [
            (vec![2, 5, 3], 2),
            (vec![2, 3, 5], 1),
            (vec![40, 15, 14, 33], 3),
            (vec![2, 3, 600], 2),
            (vec![3, 70, 200, 9], 1),
        ] {
            let vars = [("y", &shape[..]), ("x", &shape), ("shortcut", &[shape[axis]])]
                .map(|(name, shape)| random_var(name, shape, 1.7));
            let weights = random_var("weights", &shape, 1.7);
            let results = [plain, add_shortcut].map(|way| {
                let sum = way(&vars[0], &vars[1], &vars[2], axis).unwrap();
                let loss = (&sum * weights.as_tensor()).unwrap().sum_all().unwrap();
                let gradients = loss.backward().unwrap();
                let of = |var: &Var| gradients.get(var).unwrap().clone();
                [vec![sum], vars.iter().map(of).collect()].concat()
            });
            for (plain, fused) in results[0].iter().zip(&results[1]) {
                let gap = (plain - fused).unwrap().abs().unwrap().max_all().unwrap();
                let size = plain.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                assert!(gap.to_scalar::<f32>().unwrap() <= 2e-6 * size, "{shape:?}");
            }
        }
    }
}
