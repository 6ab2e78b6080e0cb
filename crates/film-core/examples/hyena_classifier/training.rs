//! One training step of the classifier.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::loss::cross_entropy;
use candle_nn::{VarBuilder, VarMap};
use film_core::Result;
use film_core::checkpoint::Checkpoint;
use film_core::optim::{AdamWConfig, GroupedAdamW, ParameterGroups, Policy};

use super::model::{Classifier, Config};

/// A classifier whose weights are variables, in groups by weight decay.
pub(crate) struct Training {
    pub(crate) classifier: Classifier,
    pub(crate) optimizer: GroupedAdamW,
}

impl Training {
    /// Takes the weights of a checkpoint.
    pub(crate) fn new(checkpoint: &Arc<Checkpoint>, config: &Config) -> Result<Self> {
        let device = Device::Cpu;
        let vars = VarMap::new();
        for info in checkpoint.tensors() {
            let value = checkpoint.load(info, &device)?.to_dtype(DType::F32)?;
            let mut vars = vars.data().lock().map_err(candle_core::Error::msg)?;
            vars.insert(info.name.clone(), Var::from_tensor(&value)?);
        }
        let classifier =
            Classifier::new(config, VarBuilder::from_varmap(&vars, DType::F32, &device))?;
        let mut groups = ParameterGroups::assign(&vars, 0.1)?;
        for (prefix, parameters) in config.modules()? {
            groups = groups.module(&prefix, parameters)?;
        }
        // Of all else matrices decay, gains do not.
        let groups = groups.layers("", Policy::by_rank)?.finish()?;
        let optimizer = GroupedAdamW::with_groups(groups, AdamWConfig::default())?;
        Ok(Self { classifier, optimizer })
    }

    /// image `[B, S, S, 3]`, classes `[B]` of u32 → the cross-entropy before the step
    pub(crate) fn step(&mut self, image: &Tensor, classes: &Tensor) -> Result<f32> {
        let loss = cross_entropy(&self.classifier.forward(image)?, classes)?;
        self.optimizer.update(&loss.backward()?)?;
        Ok(loss.to_scalar()?)
    }
}
