//! The state of a training run in one file, from which it goes on as if it had never stopped.

use std::collections::BTreeSet;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var, WithDType};

use super::adamw::GroupedAdamW;
use super::ema::Ema;
use crate::checkpoint::{Checkpoint, Dtype, save_tensors};
use crate::error::{Error, Result};
use crate::json::non_negative;

const STEPS: &str = "steps";
const LEARNING_RATE: &str = "learning_rate";
const GROUP: &str = "group.";
const UPDATES: &str = "updates.";
const AVERAGE: &str = "average.";

/// Writes the state of a run to one safetensors file, which appears whole or not at all. The same state gives
/// the same bytes.
///
/// | tensor | what |
/// |---|---|
/// | `weights.{name}` | every variable, frozen ones too |
/// | `first_moment.{name}`, `second_moment.{name}` | of every trained variable |
/// | `updates.{name}` | how many steps it has had a gradient in |
/// | `group.{name}` `[2]` | its weight decay and learning-rate scale |
/// | `average.{name}` | of every variable, if there is an `ema` |
/// | `learning_rate`, `steps` | as they are now |
///
/// What the program says itself is not in it: betas, eps, the norm to clip at, the decay of the average, the
/// schedule, and which data come next ([`GroupedAdamW::steps`] says how far it is).
///
/// # Errors
/// If `path` exists and `overwrite` is false, the optimizer's variables have no names, or the system cannot write;
/// then it does not change.
pub fn save_state(
    path: &Path,
    optimizer: &GroupedAdamW,
    ema: Option<&Ema>,
    overwrite: bool,
) -> Result<()> {
    check_named(optimizer)?;
    let variables = variables(optimizer, ema);
    let numbers = numbers(optimizer)?;
    let variables = variables.iter().map(|(name, var)| (name.as_str(), var.as_tensor()));
    let numbers = numbers.iter().map(|(name, tensor)| (name.as_str(), tensor));
    save_tensors(path, variables.chain(numbers), overwrite)
}

/// Takes up the state that [`save_state`] wrote: the variables of `optimizer` get their values, and it and `ema`
/// go on as if the run had never stopped, to the bit on the same machine.
///
/// # Errors
/// If the optimizer's variables have no names, or the file is no such state, or one of other variables, shapes,
/// dtypes or groups, or holds averages where there is no `ema` or none where there is; the error names the file and
/// the tensor. Then nothing has changed.
pub fn load_state(path: &Path, optimizer: &mut GroupedAdamW, ema: Option<&mut Ema>) -> Result<()> {
    check_named(optimizer)?;
    let mut state = State::open(path)?;
    let loaded = state.check(optimizer, ema.as_deref()).map_err(|error| error.in_file(path))?;
    for ((_, var), value) in variables(optimizer, ema.as_deref()).iter().zip(&loaded.values) {
        var.set(value)?;
    }
    for (moments, count) in optimizer.moments.iter_mut().zip(loaded.counts) {
        moments.count = count;
    }
    optimizer.config.learning_rate = loaded.learning_rate;
    optimizer.steps = loaded.steps;
    Ok(())
}

/// The order in which [`VarMap::all_vars`](candle_nn::VarMap::all_vars) gives variables is another in each process: by
/// their places, values would come to others of the same shape.
fn check_named(optimizer: &GroupedAdamW) -> Result<()> {
    match optimizer.groups.named() {
        true => Ok(()),
        false => Err(Error::config(
            "optimizer",
            "variables with names, as GroupedAdamW::with_groups takes them",
            "variables without, as Optimizer::new takes them",
        )),
    }
}

/// Every variable of the state, by its name there.
fn variables<'a>(optimizer: &'a GroupedAdamW, ema: Option<&'a Ema>) -> Vec<(String, &'a Var)> {
    let groups = &optimizer.groups;
    let trained = groups.trained().map(|(_, name, var)| (name, var));
    let frozen = groups.frozen().iter().map(|(name, var)| (name.as_str(), var));
    let weights = trained.chain(frozen).map(|(name, var)| (format!("weights.{name}"), var));
    let moments = groups.trained().zip(&optimizer.moments).flat_map(|((_, name, _), moments)| {
        [
            (format!("first_moment.{name}"), &moments.first),
            (format!("second_moment.{name}"), &moments.second),
        ]
    });
    let averages = ema.into_iter().flat_map(Ema::averages);
    weights
        .chain(moments)
        .chain(averages.map(|(name, average)| (format!("{AVERAGE}{name}"), average)))
        .collect()
}

/// The numbers of the state, by their names there.
fn numbers(optimizer: &GroupedAdamW) -> Result<Vec<(String, Tensor)>> {
    let scalar = |number: f64| Tensor::new(number, &Device::Cpu);
    let count = |count: u64| Tensor::new(count as i64, &Device::Cpu);
    let mut numbers = vec![
        (LEARNING_RATE.into(), scalar(optimizer.config.learning_rate)?),
        (STEPS.into(), count(optimizer.steps)?),
    ];
    for ((group, name, _), moments) in optimizer.groups.trained().zip(&optimizer.moments) {
        let group = [group.weight_decay, group.learning_rate_scale];
        numbers.push((format!("{GROUP}{name}"), Tensor::new(&group, &Device::Cpu)?));
        numbers.push((format!("{UPDATES}{name}"), count(moments.count)?));
    }
    Ok(numbers)
}

/// A state's file, and which of its tensors have not been asked for.
struct State {
    checkpoint: Checkpoint,
    unread: BTreeSet<String>,
}

/// What a state's file holds, found to fit.
struct Loaded {
    /// In the order of [`variables`].
    values: Vec<Tensor>,
    /// In the order of the optimizer's moments.
    counts: Vec<u64>,
    learning_rate: f64,
    steps: u64,
}

impl State {
    fn open(path: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        let unread = checkpoint.tensors().iter().map(|tensor| tensor.name.clone()).collect();
        Ok(Self { checkpoint, unread })
    }

    /// Reads everything, and sees that it fits.
    fn check(&mut self, optimizer: &GroupedAdamW, ema: Option<&Ema>) -> Result<Loaded> {
        if self.checkpoint.get(STEPS).is_none() {
            let text = format!("not the state of a training run: it holds no tensor {STEPS:?}");
            return Err(Error::Format(text));
        }
        let averages = self.checkpoint.starting_with(AVERAGE).next().is_some();
        match (averages, ema.is_some()) {
            (true, false) => {
                return Err(Error::Format(
                    "holds an average of the weights, but none is kept".into(),
                ));
            }
            (false, true) => {
                return Err(Error::Format(
                    "holds no average of the weights, but one is kept".into(),
                ));
            }
            _ => {}
        }
        let learning_rate = self.read::<f64>(LEARNING_RATE, &[])?[0];
        non_negative(LEARNING_RATE, learning_rate)?;
        let steps = self.count(STEPS)?;
        let mut counts = vec![];
        for (group, name, _) in optimizer.groups.trained() {
            let expected = [group.weight_decay, group.learning_rate_scale];
            let tensor = format!("{GROUP}{name}");
            let found = self.read::<f64>(&tensor, &[2])?;
            if found != expected {
                let [expected, found] = [&expected[..], &found].map(|group| {
                    format!("weight decay {} and learning-rate scale {}", group[0], group[1])
                });
                return Err(Error::tensor(tensor, expected, found));
            }
            counts.push(self.count(&format!("{UPDATES}{name}"))?);
        }
        let values = variables(optimizer, ema)
            .into_iter()
            .map(|(name, var)| self.tensor(&name, var.dtype(), var.dims(), var.device()))
            .collect::<Result<_>>()?;
        match self.unread.first() {
            Some(name) => Err(Error::tensor(name, "no such tensor", "one: it is of another run")),
            None => Ok(Loaded { values, counts, learning_rate, steps }),
        }
    }

    fn tensor(
        &mut self,
        name: &str,
        dtype: DType,
        shape: &[usize],
        device: &Device,
    ) -> Result<Tensor> {
        let missing = || Error::MissingTensor { tensor: name.into() };
        let info = self.checkpoint.get(name).ok_or_else(missing)?;
        self.unread.remove(name);
        if info.dtype != dtype.into() || info.shape != shape {
            let expected = format!("{} {shape:?}", Dtype::from(dtype));
            return Err(Error::tensor(name, expected, format!("{} {:?}", info.dtype, info.shape)));
        }
        self.checkpoint.load(info, device)
    }

    fn read<T: WithDType>(&mut self, name: &str, shape: &[usize]) -> Result<Vec<T>> {
        Ok(self.tensor(name, T::DTYPE, shape, &Device::Cpu)?.flatten_all()?.to_vec1()?)
    }

    fn count(&mut self, name: &str) -> Result<u64> {
        let count = self.read::<i64>(name, &[])?[0];
        count
            .try_into()
            .map_err(|_| Error::tensor(name, "a count of at least 0", count.to_string()))
    }
}
