//! Finding FiLM generators and register encoders by the names and shapes of a checkpoint's tensors.

use serde_json::{Map, Value};

use super::{Checkpoint, TensorInfo};
use crate::config::{KernelFilmConfig, size};
use crate::error::{Error, Result};

/// The four tensors of a generator, relative to its prefix.
const NAMES: [&str; 4] = ["mlp.0.weight", "mlp.0.bias", "mlp.2.weight", "mlp.2.bias"];

/// What a checkpoint holds that this crate can run.
#[derive(Debug, Clone)]
pub struct Discovery {
    generators: Vec<FoundGenerator>,
    encoders: Vec<FoundEncoder>,
    near_misses: Vec<String>,
}

/// A generator's place and sizes. Shapes alone do not tell `kernel_hidden_dim` from `num_film_layers`;
/// what neither they, a neighbour nor config.json tells is `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundGenerator {
    /// What stands before `.mlp.0.weight`; empty at the root.
    pub prefix: String,
    /// Width of the conditioning.
    pub cond_dim: usize,
    /// Width of the generator's hidden layer.
    pub film_hidden_dim: usize,
    /// Rows of `mlp.2`: `num_film_layers · 2 · kernel_hidden_dim`.
    pub out_dim: usize,
    /// Width of γ and β, where known.
    pub kernel_hidden_dim: Option<usize>,
    /// Number of pairs, where known.
    pub num_film_layers: Option<usize>,
}

/// A register encoder's place and kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundEncoder {
    /// What stands before its parameter's name; empty at the root.
    pub prefix: String,
    /// Which encoder it is.
    pub kind: Encoder,
}

/// The kinds of register encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoder {
    /// [`RegisterPooling`](crate::RegisterPooling).
    Pooling {
        /// R.
        num_registers: usize,
    },
    /// [`RegisterCompressConcat`](crate::RegisterCompressConcat); R is `cond_dim / compressed_dim`.
    CompressConcat {
        /// Channels of a register.
        hidden_dim: usize,
        /// Channels it is compressed to.
        compressed_dim: usize,
    },
}

impl FoundGenerator {
    /// The generator's configuration, with the sizes that are known; `kernel_hidden_dim` overrides.
    ///
    /// # Errors
    /// If `kernel_hidden_dim` is known neither here nor there, or does not divide `mlp.2`'s rows.
    pub fn config(&self, kernel_hidden_dim: Option<usize>) -> Result<KernelFilmConfig> {
        let Some(width) = kernel_hidden_dim.or(self.kernel_hidden_dim) else {
            return Err(Error::Selection(format!(
                "{}: kernel_hidden_dim is unknown: the {} rows of mlp.2 are num_film_layers · 2 · \
                 kernel_hidden_dim, and neither a hidden_linears.0.weight beside the generator nor \
                 config.json tells which; give it",
                self.name(),
                self.out_dim
            )));
        };
        let hidden = [self.film_hidden_dim, self.cond_dim];
        let output = [self.out_dim, self.film_hidden_dim];
        KernelFilmConfig::from_shapes(&hidden, &output, width)
    }

    /// The prefix, or a name for none.
    pub fn name(&self) -> &str {
        if self.prefix.is_empty() { "(root)" } else { &self.prefix }
    }

    /// Number of trainable numbers.
    pub fn parameters(&self) -> u64 {
        let (hidden, out) = (self.film_hidden_dim as u64, self.out_dim as u64);
        hidden * (self.cond_dim as u64 + 1) + out * (hidden + 1)
    }
}

impl Discovery {
    pub(super) fn new(checkpoint: &Checkpoint) -> Result<Self> {
        let config = checkpoint.config()?.unwrap_or_default();
        let mut found = Self { generators: vec![], encoders: vec![], near_misses: vec![] };
        for tensor in checkpoint.tensors() {
            let name = tensor.name.as_str();
            if let Some(prefix) = parent(name, "mlp.0.weight") {
                match shapes(checkpoint, prefix) {
                    Ok([hidden, output]) => {
                        let mut generator = FoundGenerator {
                            prefix: prefix.into(),
                            cond_dim: hidden.shape[1],
                            film_hidden_dim: hidden.shape[0],
                            out_dim: output.shape[0],
                            kernel_hidden_dim: None,
                            num_film_layers: None,
                        };
                        let fit = resolve(checkpoint, &mut generator, &config);
                        fit.map_err(|error| match checkpoint.config_path() {
                            Some(path) => error.in_file(path),
                            None => error,
                        })?;
                        found.generators.push(generator);
                    }
                    Err(why) => found.near_misses.push(why),
                }
            } else if let Some(prefix) = parent(name, "mlp.2.weight") {
                let first = join(prefix, NAMES[0]);
                if checkpoint.get(&first).is_none() {
                    found.near_misses.push(format!("{first} is missing"));
                }
            } else if let Some(encoder) = encoder(tensor) {
                found.encoders.push(encoder);
            }
        }
        Ok(found)
    }

    /// The generators, sorted by prefix.
    pub fn generators(&self) -> &[FoundGenerator] {
        &self.generators
    }

    /// The register encoders, sorted by prefix.
    pub fn encoders(&self) -> &[FoundEncoder] {
        &self.encoders
    }

    /// What looked like a generator, each with what keeps it from being one.
    pub fn near_misses(&self) -> &[String] {
        &self.near_misses
    }

    /// The generators at `prefix` or below it; all of them without one. The wrappers' names
    /// `network.` in front and `_orig_mod.` anywhere may be left out.
    ///
    /// # Errors
    /// If there is none; the error says what there is.
    pub fn select(&self, prefix: Option<&str>) -> Result<Vec<&FoundGenerator>> {
        let wanted = prefix.map(|prefix| prefix.trim_matches('.'));
        let exact = self.generators.iter().filter(|found| Some(found.prefix.as_str()) == wanted);
        let mut chosen: Vec<_> = exact.collect();
        if chosen.is_empty() {
            let inside =
                |found: &&FoundGenerator| is_below(&found.prefix, wanted.unwrap_or_default());
            chosen = self.generators.iter().filter(inside).collect();
        }
        if !chosen.is_empty() {
            return Ok(chosen);
        }
        Err(Error::Selection(match (self.generators.as_slice(), self.near_misses.as_slice()) {
            ([], []) => {
                "holds no FiLM generator (mlp.0 and mlp.2, each with weight and bias)".into()
            }
            ([], [why, ..]) => format!("holds no FiLM generator: {why}"),
            (found, _) => format!(
                "no FiLM generator at {}; there are {}",
                wanted.unwrap_or_default(),
                list(found)
            ),
        }))
    }

    /// The one generator at `prefix` or below it.
    ///
    /// # Errors
    /// If there is none, or more than one; the error says which there are.
    pub fn generator(&self, prefix: Option<&str>) -> Result<&FoundGenerator> {
        match self.select(prefix)?.as_slice() {
            [one] => Ok(one),
            several => {
                let names = list(several.iter().copied());
                Err(Error::Selection(format!(
                    "holds {} FiLM generators: choose one by its prefix: {names}",
                    several.len()
                )))
            }
        }
    }

    /// The register encoder that feeds `generator`: the one beside it or beside its nearest ancestor.
    ///
    /// # Errors
    /// If there is none.
    pub fn encoder_of(&self, generator: &FoundGenerator) -> Result<&FoundEncoder> {
        let path = segments(&generator.prefix);
        let scope = |encoder: &FoundEncoder| {
            let mut scope = segments(&encoder.prefix);
            scope.pop();
            path.starts_with(&scope).then_some(scope.len())
        };
        let feeding = self.encoders.iter().filter(|encoder| encoder.yields(generator.cond_dim));
        let nearest = feeding.filter_map(|encoder| Some((scope(encoder)?, encoder)));
        nearest.max_by_key(|(depth, _)| *depth).map(|(_, encoder)| encoder).ok_or_else(|| {
            let name = generator.name();
            Error::Selection(format!(
                "holds no register encoder (`logits` or `compress.weight`) for {name}"
            ))
        })
    }
}

impl FoundEncoder {
    /// Whether it can yield conditioning of that width. A pooling keeps the registers' width, whatever it is.
    fn yields(&self, cond_dim: usize) -> bool {
        match self.kind {
            Encoder::Pooling { .. } => true,
            Encoder::CompressConcat { compressed_dim, .. } => {
                cond_dim.is_multiple_of(compressed_dim)
            }
        }
    }
}

/// The weights of `mlp.0` and `mlp.2` below `prefix`, or why they are no generator.
fn shapes<'a>(
    checkpoint: &'a Checkpoint,
    prefix: &str,
) -> std::result::Result<[&'a TensorInfo; 2], String> {
    let mut tensors = Vec::with_capacity(4);
    for name in NAMES {
        let name = join(prefix, name);
        tensors.push(checkpoint.get(&name).ok_or_else(|| format!("{name} is missing"))?);
    }
    let mlp = join(prefix, "mlp.");
    if let Some(other) = checkpoint
        .starting_with(&mlp)
        .find(|tensor| !NAMES.iter().any(|name| tensor.name == join(prefix, name)))
    {
        return Err(format!("{} belongs to another kind of MLP", other.name));
    }
    let (&[hidden, cond], &[out, _]) = (tensors[0].shape.as_slice(), tensors[2].shape.as_slice())
    else {
        return Err(format!("{} and {} are not both matrices", tensors[0].name, tensors[2].name));
    };
    let expected: [&[usize]; 4] = [&[hidden, cond], &[hidden], &[out, hidden], &[out]];
    for (tensor, expected) in tensors.iter().zip(expected) {
        if tensor.shape != expected {
            return Err(format!(
                "{}: expected shape {expected:?}, found {:?}",
                tensor.name, tensor.shape
            ));
        }
    }
    if cond == 0 || hidden == 0 || out == 0 || !out.is_multiple_of(2) {
        let (name, shape) = (&tensors[2].name, &tensors[2].shape);
        return Err(format!(
            "{name}: expected an even number of rows and no empty axis, found shape {shape:?}"
        ));
    }
    Ok([tensors[0], tensors[2]])
}

/// Settles `kernel_hidden_dim` and `num_film_layers` by a neighbour, else by config.json.
fn resolve(
    checkpoint: &Checkpoint,
    generator: &mut FoundGenerator,
    config: &Map<String, Value>,
) -> Result<()> {
    let beside = join(parent_of(&generator.prefix), "hidden_linears.0.weight");
    if !generator.prefix.is_empty()
        && let Some(width) = checkpoint.get(&beside).and_then(|tensor| tensor.shape.first())
    {
        generator.kernel_hidden_dim = Some(*width);
        generator.num_film_layers = divide(generator.out_dim, *width);
        return Ok(());
    }
    let Some(section) = film_section(config) else { return Ok(()) };
    let (cond, hidden) = (size(section, "cond_dim")?, size(section, "film_hidden_dim")?);
    let (width, layers) = (size(section, "kernel_hidden_dim")?, size(section, "num_film_layers")?);
    let check = |key: &str, said: Option<usize>, found: usize| match said {
        Some(said) if said != found => {
            Err(Error::config(key, format!("{found}, as the weights have it"), said))
        }
        _ => Ok(()),
    };
    let agrees = check("cond_dim", cond, generator.cond_dim)
        .and_then(|()| check("film_hidden_dim", hidden, generator.film_hidden_dim))
        .and_then(|()| match (width, layers) {
            (Some(width), Some(layers)) => {
                let rows = layers.saturating_mul(2).saturating_mul(width);
                check("num_film_layers · 2 · kernel_hidden_dim", Some(rows), generator.out_dim)
            }
            _ => Ok(()),
        });
    match agrees {
        // At the root there is but one generator that config.json can mean.
        Err(error) if generator.prefix.is_empty() => return Err(error),
        Err(_) => return Ok(()),
        Ok(()) => {}
    }
    generator.kernel_hidden_dim = width.or_else(|| divide(generator.out_dim, layers?));
    generator.num_film_layers = layers.or_else(|| divide(generator.out_dim, width?));
    Ok(())
}

/// `rows / (2 · by)`, where that is a whole number.
fn divide(rows: usize, by: usize) -> Option<usize> {
    let pair = by.checked_mul(2).filter(|pair| *pair > 0)?;
    rows.is_multiple_of(pair).then(|| rows / pair)
}

/// The part of a config.json that speaks of the generator.
fn film_section(config: &Map<String, Value>) -> Option<&Map<String, Value>> {
    let kernel = config.get("kernel").and_then(Value::as_object);
    let film = |object: &'_ Map<String, Value>| {
        object.contains_key("num_film_layers") || object.contains_key("kernel_hidden_dim")
    };
    [
        config.get("film_generator").and_then(Value::as_object),
        kernel.and_then(|kernel| kernel.get("film_generator")).and_then(Value::as_object),
        kernel,
        Some(config),
    ]
    .into_iter()
    .flatten()
    .find(|object| film(object))
}

/// The encoder that `tensor` is the parameter of, if it is.
fn encoder(tensor: &TensorInfo) -> Option<FoundEncoder> {
    let named = |prefix: &str| {
        prefix.is_empty() || segments(prefix).last().is_some_and(|last| last.contains("register"))
    };
    let (prefix, kind) = match *tensor.shape {
        [num_registers] if num_registers > 0 => {
            (parent(&tensor.name, "logits")?, Encoder::Pooling { num_registers })
        }
        [compressed_dim, hidden_dim] if compressed_dim > 0 && hidden_dim > 0 => (
            parent(&tensor.name, "compress.weight")?,
            Encoder::CompressConcat { hidden_dim, compressed_dim },
        ),
        _ => return None,
    };
    named(prefix).then(|| FoundEncoder { prefix: prefix.into(), kind })
}

/// What stands before `suffix` and its dot, if `name` ends in it.
fn parent<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let prefix = name.strip_suffix(suffix)?;
    if prefix.is_empty() { Some("") } else { prefix.strip_suffix('.') }
}

fn parent_of(prefix: &str) -> &str {
    prefix.rsplit_once('.').map_or("", |(parent, _)| parent)
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.into() } else { format!("{prefix}.{name}") }
}

fn segments(prefix: &str) -> Vec<&str> {
    prefix.split('.').filter(|segment| !segment.is_empty()).collect()
}

/// Whether the tensor or module `name` is `prefix` or stands below it. The wrappers' names `network.`
/// in front and `_orig_mod.` anywhere may be left out.
pub fn is_below(name: &str, prefix: &str) -> bool {
    unwrapped(name).starts_with(&unwrapped(prefix)) || segments(name).starts_with(&segments(prefix))
}

/// The path without what Lightning (`network` in front) and `torch.compile` (`_orig_mod`) add.
fn unwrapped(prefix: &str) -> Vec<&str> {
    let mut path = segments(prefix);
    path.retain(|segment| *segment != "_orig_mod");
    if path.first() == Some(&"network") {
        path.remove(0);
    }
    path
}

/// Up to six prefixes.
fn list<'a>(found: impl IntoIterator<Item = &'a FoundGenerator>) -> String {
    let names: Vec<&str> = found.into_iter().map(FoundGenerator::name).collect();
    let more = names.len().saturating_sub(6);
    let shown = names[..names.len() - more].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}
