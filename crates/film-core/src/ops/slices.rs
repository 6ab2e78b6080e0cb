//! The numbers of float32 tensors on the CPU, for operations that are computed on them directly.

use candle_core::{CpuStorage, Layout, Storage, Tensor};

use crate::error::{Error, Result};

/// Whether the fused operations can compute on this tensor; if not, the plain ones do.
pub(crate) fn fused(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == candle_core::DType::F32
}

/// Whether a backward pass may follow.
pub(crate) fn tracked(tensors: &[Tensor]) -> bool {
    tensors.iter().any(Tensor::track_op)
}

/// Calls `work` with the numbers of each tensor, row-major.
///
/// # Errors
/// If a tensor is not contiguous, not float32 or not on the CPU.
pub(crate) fn with_slices<T>(
    tensors: &[Tensor],
    work: impl FnOnce(&[&[f32]]) -> Result<T>,
) -> Result<T> {
    let guards: Vec<_> = tensors.iter().map(Tensor::storage_and_layout).collect();
    let slices = guards.iter().map(|(storage, layout)| match &**storage {
        Storage::Cpu(storage) => slice(storage, layout),
        _ => Err(Error::from(candle_core::Error::Msg("a tensor off the CPU".into()))),
    });
    work(&slices.collect::<Result<Vec<_>>>()?)
}

/// The numbers of a contiguous storage, row-major.
///
/// # Errors
/// If it is not contiguous, or not float32.
pub(crate) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        return Err(candle_core::Error::RequiresContiguous { op: "a fused operation" }.into());
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}
