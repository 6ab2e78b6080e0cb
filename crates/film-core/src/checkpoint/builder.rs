//! A `VarBuilder` that loads from a checkpoint.

use std::sync::Arc;

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;

use super::{Checkpoint, TensorInfo};
use crate::error::{Error, Result};

impl Checkpoint {
    /// A builder whose tensors are read from this checkpoint, each when it is asked for, and
    /// converted to `dtype`.
    ///
    /// ```no_run
    /// use std::sync::Arc;
    /// use candle_core::{DType, Device};
    /// use film_core::{KernelFilmGenerator, checkpoint::Checkpoint};
    /// let checkpoint = Arc::new(Checkpoint::open("model.safetensors")?);
    /// let found = checkpoint.discover()?;
    /// let found = found.generator(Some("blocks.0"))?;
    /// let vb = checkpoint.var_builder(DType::F32, &Device::Cpu);
    /// let generator = KernelFilmGenerator::new(&found.config(None)?, vb.pp(&found.prefix))?;
    /// # Ok::<(), film_core::Error>(())
    /// ```
    pub fn var_builder(self: &Arc<Self>, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(Loader(self.clone())), dtype, device.clone())
    }
}

struct Loader(Arc<Checkpoint>);

impl Loader {
    fn find(&self, name: &str) -> Result<&TensorInfo> {
        // A module at the root of a checkpoint has an empty prefix: `pp("")` leaves a dot.
        let name = name.strip_prefix('.').unwrap_or(name);
        let missing = || Error::MissingTensor { tensor: name.into() }.in_file(self.0.path());
        self.0.get(name).ok_or_else(missing)
    }

    fn load(&self, tensor: &TensorInfo, dtype: DType, device: &Device) -> Result<Tensor> {
        Ok(self.0.load(tensor, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?)
    }
}

impl SimpleBackend for Loader {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let tensor = self.find(name)?;
        if tensor.shape != shape.dims() {
            let expected = format!("shape {:?}", shape.dims());
            let error = Error::tensor(&tensor.name, expected, format!("{:?}", tensor.shape));
            Err(error.in_file(self.0.file_of(tensor).path()))?;
        }
        Ok(self.load(tensor, dtype, device)?)
    }

    fn get_unchecked(
        &self,
        name: &str,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        Ok(self.load(self.find(name)?, dtype, device)?)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }
}
