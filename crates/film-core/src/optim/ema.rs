//! An exponential moving average of the weights.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use candle_nn::VarMap;

use super::groups::sorted;
use super::update::{Lerp, wide};
use crate::error::{Error, Result};

/// ā ← decay·ā + (1 − decay)·θ of every variable θ of a [`VarMap`], starting at the variables as they are
/// (Polyak & Juditsky 1992; with a constant decay as in Tarvainen & Valpola 2017, arXiv:1703.01780).
///
/// Averages are kept in float32 at least: in half precision, small steps towards θ would be lost. Variables of
/// integers are not averaged. What does not change, such as a frozen variable, is kept to the bit.
///
/// ```
/// use candle_core::{DType, Device};
/// use film_core::optim::Ema;
/// use film_core::{KernelFilmConfig, KernelFilmGenerator, checkpoint, init};
/// # let directory = tempfile::tempdir().unwrap();
/// # let directory = directory.path();
/// let vars = candle_nn::VarMap::new();
/// let config = KernelFilmConfig::new(16, 8, 2);
/// let vb = init::var_builder(&vars, 0, DType::F32, &Device::Cpu);
/// let generator = KernelFilmGenerator::new(&config, vb)?;
/// let mut ema = Ema::new(&vars, 0.999)?;
/// // … after each step of the optimizer:
/// ema.update()?;
/// // A checkpoint of its own:
/// let averages = ema.tensors()?;
/// let averages = averages.iter().map(|(name, average)| (name.as_str(), average));
/// checkpoint::save(directory, &config, averages, false)?;
/// # Ok::<(), film_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Ema {
    decay: f64,
    averages: BTreeMap<String, Average>,
}

/// A variable and its average, which one of integers has not.
#[derive(Debug)]
struct Average {
    var: Var,
    average: Option<Var>,
}

impl Ema {
    /// The average of all of `vars`, starting at what they are now.
    ///
    /// # Errors
    /// If `decay` is not from 0 to below 1, or there is no memory for the averages.
    pub fn new(vars: &VarMap, decay: f64) -> Result<Self> {
        if !(0.0..1.0).contains(&decay) {
            return Err(Error::config("decay", "a number from 0 to below 1", decay));
        }
        let start = |var: &Var| -> Result<Option<Var>> {
            if !var.dtype().is_float() {
                return Ok(None);
            }
            let value = var.as_detached_tensor().to_dtype(wide(var.dtype()))?;
            Ok(Some(Var::from_tensor(&value.force_contiguous()?)?))
        };
        let averages = sorted(vars)?
            .into_iter()
            .map(|(name, var)| Ok((name, Average { average: start(&var)?, var })))
            .collect::<Result<_>>()?;
        Ok(Self { decay, averages })
    }

    /// Takes the variables as they are now into the average: to be called after each step.
    ///
    /// # Errors
    /// If the device fails.
    pub fn update(&mut self) -> Result<()> {
        let towards = Lerp { weight: 1.0 - self.decay, factor: 1.0 };
        for Average { var, average } in self.averages.values() {
            if let Some(average) = average {
                towards.apply(average, &var.as_detached_tensor().to_dtype(average.dtype())?)?;
            }
        }
        Ok(())
    }

    /// The averages by the variables' names and in their dtypes, as a checkpoint of the model holds them.
    ///
    /// # Shapes
    /// → as the variables, copied: later updates do not change them
    ///
    /// # Errors
    /// If there is no memory for the copies.
    pub fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        let copy = |each: &Average| {
            let tensor = each.average.as_ref().unwrap_or(&each.var).as_detached_tensor();
            tensor.to_dtype(each.var.dtype())?.force_contiguous()
        };
        self.averages.iter().map(|(name, each)| Ok((name.clone(), copy(each)?))).collect()
    }

    /// The averages as they are kept, sorted by name.
    pub(super) fn averages(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.averages
            .iter()
            .filter_map(|(name, each)| Some((name.as_str(), each.average.as_ref()?)))
    }
}
