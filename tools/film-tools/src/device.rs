//! `--device`: where to compute, if this build and this machine can.

use anyhow::{Context, Result};
use candle_core::Device;

use crate::args::DeviceName;

/// The device of that name; an error says what is missing for it.
pub(crate) fn open(name: DeviceName) -> Result<Device> {
    let device = match name {
        DeviceName::Cpu => Ok(Device::Cpu),
        DeviceName::Cuda(ordinal) => cuda(ordinal),
        DeviceName::Metal => metal(),
    };
    device.with_context(|| format!("--device {name}"))
}

#[cfg(feature = "cuda")]
fn cuda(ordinal: usize) -> Result<Device> {
    use anyhow::bail;
    use candle_core::cuda_backend::cudarc::driver::{CudaContext, sys::CUresult};

    // Asked first, as what candle would say is for people who know the driver's interface.
    match CudaContext::device_count() {
        Ok(count) if usize::try_from(count).is_ok_and(|count| ordinal < count) => {
            Ok(Device::new_cuda(ordinal)?)
        }
        Ok(count) => {
            bail!("this machine's CUDA devices are numbered from 0 on, and it has {count}")
        }
        Err(error) => match error.0 {
            CUresult::CUDA_ERROR_STUB_LIBRARY => bail!("this machine has no NVIDIA driver"),
            CUresult::CUDA_ERROR_NO_DEVICE => bail!("the NVIDIA driver finds no device"),
            _ => bail!("the NVIDIA driver does not start: {error}"),
        },
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<Device> {
    Err(not_built("CUDA", "cuda"))
}

#[cfg(feature = "metal")]
fn metal() -> Result<Device> {
    Ok(Device::new_metal(0)?)
}

#[cfg(not(feature = "metal"))]
fn metal() -> Result<Device> {
    Err(not_built("Metal", "metal"))
}

#[cfg(not(all(feature = "cuda", feature = "metal")))]
fn not_built(name: &str, feature: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "this build is without {name}; with it: cargo install --path tools/film-tools --features {feature}"
    )
}
