//! Every trainable variable, once, by how it is updated: (weight decay, learning-rate scale).

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use candle_core::{DType, Var};
use candle_nn::VarMap;

use crate::error::{Error, Result};
use crate::json::non_negative;
use crate::parameter::{Parameter, WeightDecay};

/// How a variable is updated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// How it decays.
    pub weight_decay: WeightDecay,
    /// Factor on the optimizer's learning rate.
    pub learning_rate_scale: f64,
}

impl Policy {
    /// Matrices and larger decay by default, vectors and scalars (biases, gains) do not.
    ///
    /// # Shapes
    /// variable `[*]`
    pub fn by_rank(_name: &str, variable: &Var) -> Self {
        match variable.rank() {
            0 | 1 => WeightDecay::None.into(),
            _ => WeightDecay::Default.into(),
        }
    }
}

impl From<WeightDecay> for Policy {
    /// With the optimizer's own learning rate.
    fn from(weight_decay: WeightDecay) -> Self {
        Self { weight_decay, learning_rate_scale: 1.0 }
    }
}

/// Variables that are updated alike.
#[derive(Debug, Clone)]
pub struct ParameterGroup {
    /// Their weight decay, 0 for none.
    pub weight_decay: f64,
    /// Factor on the optimizer's learning rate.
    pub learning_rate_scale: f64,
    /// Their full names and themselves, sorted by name.
    pub variables: Vec<(String, Var)>,
}

/// A variable of rank 0 or 1 that decays only because nobody said whether it should.
///
/// Biases, gains and the like seldom should. To say so, set the [`Parameter`]'s `weight_decay` to
/// [`WeightDecay::None`], or to [`WeightDecay::Value`] if it should.
#[derive(Debug, Clone, PartialEq)]
pub struct DecayWarning {
    /// The variable's full name.
    pub variable: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// What it decays by.
    pub weight_decay: f64,
}

impl fmt::Display for DecayWarning {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { variable, shape, weight_decay } = self;
        write!(
            f,
            "{variable}: of shape {shape:?}, decays by the default {weight_decay}; say with \
             WeightDecay::Value that it should, or with WeightDecay::None that it should not"
        )
    }
}

/// All variables of a [`VarMap`], each once: in a group, or frozen.
///
/// Groups are sorted by weight decay, then by learning-rate scale, their variables by name.
///
/// ```
/// use candle_core::{DType, Device};
/// use film_core::optim::{ParameterGroups, Policy};
/// use film_core::{KernelFilmConfig, KernelFilmGenerator, init};
///
/// let vars = candle_nn::VarMap::new();
/// let vb = init::var_builder(&vars, 0, DType::F32, &Device::Cpu);
/// let config = KernelFilmConfig::new(16, 8, 2);
/// let generator = KernelFilmGenerator::new(&config, vb.pp("generator"))?;
/// let head = candle_nn::linear(32, 10, vb.pp("head"))?;
///
/// let groups = ParameterGroups::assign(&vars, 0.1)? // what WeightDecay::Default means
///     .module("generator", config.parameters()?)? // what the modules here list
///     .layers("head", Policy::by_rank)? // the variables of any other layer
///     .finish()?;
/// let decays: Vec<f64> = groups.groups().iter().map(|group| group.weight_decay).collect();
/// assert_eq!(decays, [0.0, 0.1]);
/// assert!(groups.warnings().is_empty());
/// # Ok::<(), film_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ParameterGroups {
    groups: Vec<ParameterGroup>,
    frozen: Vec<(String, Var)>,
    warnings: Vec<DecayWarning>,
    named: bool,
}

impl ParameterGroups {
    /// Starts to assign the variables of `vars`; `weight_decay` is what [`WeightDecay::Default`] means.
    ///
    /// # Errors
    /// If the decay is negative or not finite, two names stand for one variable, or a variable cannot be
    /// trained: its dtype has no arithmetic, or its memory is not contiguous.
    pub fn assign(vars: &VarMap, weight_decay: f64) -> Result<Assignment> {
        Assignment::new(sorted(vars)?, weight_decay)
    }

    /// The groups.
    pub fn groups(&self) -> &[ParameterGroup] {
        &self.groups
    }

    /// The variables that are not trained, sorted by name: those said to be frozen, and those of integers.
    pub fn frozen(&self) -> &[(String, Var)] {
        &self.frozen
    }

    /// The variables of rank 0 or 1 that decay by default, sorted by name.
    pub fn warnings(&self) -> &[DecayWarning] {
        &self.warnings
    }

    /// Whether the names are the variables' own, and not made of their places.
    pub(super) fn named(&self) -> bool {
        self.named
    }

    /// Each trained variable with its name and its group, group after group.
    pub(super) fn trained(&self) -> impl Iterator<Item = (&ParameterGroup, &str, &Var)> {
        self.groups.iter().flat_map(|group| {
            group.variables.iter().map(move |(name, var)| (group, name.as_str(), var))
        })
    }
}

/// What has been said of the variables so far; see [`ParameterGroups`].
///
/// Each method speaks of variables of which nothing has been said yet, so the particular comes first and the
/// general last.
#[derive(Debug)]
pub struct Assignment {
    weight_decay: f64,
    variables: BTreeMap<String, (Var, Option<Said>)>,
}

#[derive(Debug, Clone, Copy)]
enum Said {
    Trained(Policy),
    Frozen,
}

impl Assignment {
    fn new(vars: Vec<(String, Var)>, weight_decay: f64) -> Result<Self> {
        non_negative("weight_decay", weight_decay)?;
        let mut name_of = HashMap::new();
        let mut variables = BTreeMap::new();
        for (name, var) in vars {
            if let Some(other) = name_of.insert(var.id(), name.clone()) {
                let found = format!("the same one as {other}");
                return Err(Error::tensor(name, "a variable of its own", found));
            }
            let said = match var.dtype() {
                DType::F16 | DType::BF16 | DType::F32 | DType::F64 => None,
                dtype if dtype.is_float() => {
                    let expected = "a variable of f16, bf16, f32 or f64";
                    return Err(Error::tensor(name, expected, dtype.as_str()));
                }
                _ => Some(Said::Frozen),
            };
            if !var.is_contiguous() {
                return Err(Error::tensor(name, "a contiguous variable", "strides"));
            }
            variables.insert(name, (var, said));
        }
        Ok(Self { weight_decay, variables })
    }

    /// The parameters that a module lists, `prefix` being what it was built under (`vb.pp(prefix)`; "" for the
    /// root): of [`KernelFilmConfig`](crate::KernelFilmConfig), [`SirenConfig`](crate::siren::SirenConfig),
    /// [`CKConvConfig`](crate::CKConvConfig), [`MaskConfig`](crate::mask::MaskConfig) and the register encoders.
    ///
    /// # Errors
    /// If a parameter is not among the variables, has another shape, has been spoken of before, or has a decay
    /// or a scale that is negative or not finite.
    pub fn module(
        mut self,
        prefix: &str,
        parameters: impl IntoIterator<Item = Parameter>,
    ) -> Result<Self> {
        for parameter in parameters {
            let Parameter { name, shape, weight_decay, learning_rate_scale, .. } = parameter;
            let name = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            let Some((var, said)) = self.variables.get_mut(&name) else {
                return Err(Error::tensor(name, "a variable of that name", "none"));
            };
            if var.dims() != shape {
                let (expected, found) = (format!("shape {shape:?}"), format!("{:?}", var.dims()));
                return Err(Error::tensor(name, expected, found));
            }
            if said.is_some() {
                return Err(Error::tensor(name, "to be assigned once", "a second time"));
            }
            let policy = Policy { weight_decay, learning_rate_scale };
            check(&name, policy)?;
            *said = Some(Said::Trained(policy));
        }
        Ok(self)
    }

    /// The variables of any other layer: all that are named `prefix` or stand below it ("" for all that remain)
    /// and of which nothing has been said yet, each as `policy` says. [`Policy::by_rank`] is the usual one.
    ///
    /// # Errors
    /// If there is no such variable, or the policy has a decay or a scale that is negative or not finite.
    pub fn layers<P: Into<Policy>>(
        self,
        prefix: &str,
        policy: impl Fn(&str, &Var) -> P,
    ) -> Result<Self> {
        self.below(prefix, |name, var| {
            let policy = policy(name, var).into();
            check(name, policy)?;
            Ok(Said::Trained(policy))
        })
    }

    /// Variables that stay as they are: all that are named `prefix` or stand below it and of which nothing has
    /// been said yet.
    ///
    /// # Errors
    /// If there is no such variable.
    pub fn frozen(self, prefix: &str) -> Result<Self> {
        self.below(prefix, |_, _| Ok(Said::Frozen))
    }

    fn below(mut self, prefix: &str, say: impl Fn(&str, &Var) -> Result<Said>) -> Result<Self> {
        let is_below = |name: &str| match name.strip_prefix(prefix) {
            Some(rest) => prefix.is_empty() || rest.is_empty() || rest.starts_with('.'),
            None => false,
        };
        let mut any = false;
        for (name, (var, said)) in &mut self.variables {
            if said.is_none() && is_below(name) {
                *said = Some(say(name, var)?);
                any = true;
            }
        }
        if any {
            return Ok(self);
        }
        let expected = "variables of that name or below it that are not assigned yet";
        Err(Error::tensor(format!("{prefix:?}"), expected, "none"))
    }

    /// The groups.
    ///
    /// # Errors
    /// If a variable has not been spoken of.
    pub fn finish(self) -> Result<ParameterGroups> {
        let mut silent = self.variables.iter().filter(|(_, (_, said))| said.is_none());
        if let Some((name, _)) = silent.next() {
            let found = match silent.count() {
                0 => "none".into(),
                others => format!("none, nor for {others} more"),
            };
            return Err(Error::tensor(name, "a module or layer it is assigned by", found));
        }
        let (mut groups, mut frozen, mut warnings) = (vec![], vec![], vec![]);
        for (name, (var, said)) in self.variables {
            let Some(Said::Trained(policy)) = said else {
                frozen.push((name, var));
                continue;
            };
            let weight_decay = match policy.weight_decay {
                WeightDecay::Default => self.weight_decay,
                WeightDecay::None => 0.0,
                WeightDecay::Value(value) => value,
            };
            if policy.weight_decay == WeightDecay::Default && weight_decay > 0.0 && var.rank() <= 1
            {
                let (variable, shape) = (name.clone(), var.dims().to_vec());
                warnings.push(DecayWarning { variable, shape, weight_decay });
            }
            push(&mut groups, weight_decay, policy.learning_rate_scale, (name, var));
        }
        groups.sort_by(|a, b| key(a).0.total_cmp(&key(b).0).then(key(a).1.total_cmp(&key(b).1)));
        Ok(ParameterGroups { groups, frozen, warnings, named: true })
    }
}

fn key(group: &ParameterGroup) -> (f64, f64) {
    (group.weight_decay, group.learning_rate_scale)
}

fn push(groups: &mut Vec<ParameterGroup>, weight_decay: f64, scale: f64, variable: (String, Var)) {
    match groups.iter_mut().find(|group| key(group) == (weight_decay, scale)) {
        Some(group) => group.variables.push(variable),
        None => groups.push(ParameterGroup {
            weight_decay,
            learning_rate_scale: scale,
            variables: vec![variable],
        }),
    }
}

fn check(name: &str, policy: Policy) -> Result<()> {
    if let WeightDecay::Value(value) = policy.weight_decay {
        non_negative(&format!("{name}: weight_decay"), value)?;
    }
    non_negative(&format!("{name}: learning_rate_scale"), policy.learning_rate_scale)?;
    Ok(())
}

/// The variables of a map, sorted by name.
pub(super) fn sorted(vars: &VarMap) -> Result<Vec<(String, Var)>> {
    let vars = vars.data().lock().map_err(candle_core::Error::msg)?;
    let mut vars: Vec<_> = vars.iter().map(|(name, var)| (name.clone(), var.clone())).collect();
    vars.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(vars)
}

/// All of `vars` in one group, named by their places.
pub(super) fn unnamed(vars: Vec<Var>, weight_decay: f64) -> Result<ParameterGroups> {
    let named = vars.into_iter().enumerate().map(|(index, var)| (format!("vars.{index}"), var));
    let mut assignment = Assignment::new(named.collect(), weight_decay)?;
    for (_, said) in assignment.variables.values_mut().filter(|(_, said)| said.is_none()) {
        *said = Some(Said::Trained(WeightDecay::Value(weight_decay).into()));
    }
    Ok(ParameterGroups { named: false, ..assignment.finish()? })
}
