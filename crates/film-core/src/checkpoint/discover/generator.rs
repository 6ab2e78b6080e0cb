//! FiLM generators, by the names and shapes of their four tensors.

use serde_json::{Map, Value};

use super::names::{join, parent_of};
use crate::checkpoint::{Checkpoint, TensorInfo};
use crate::config::KernelFilmConfig;
use crate::error::{Error, Result};
use crate::json::{given, size};

/// The four tensors of a generator, relative to its prefix.
pub(super) const NAMES: [&str; 4] = ["mlp.0.weight", "mlp.0.bias", "mlp.2.weight", "mlp.2.bias"];

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

impl FoundGenerator {
    /// The generator's configuration. `kernel_hidden_dim` is needed where the checkpoint does not tell it.
    ///
    /// # Errors
    /// If `kernel_hidden_dim` is known neither here nor there, is known to be another, or does not divide
    /// `mlp.2`'s rows.
    pub fn config(&self, kernel_hidden_dim: Option<usize>) -> Result<KernelFilmConfig> {
        if let (Some(told), Some(said)) = (self.kernel_hidden_dim, kernel_hidden_dim)
            && told != said
        {
            let expected = format!("{told}, as the checkpoint tells");
            return Err(Error::config("kernel_hidden_dim", expected, said));
        }
        let Some(width) = kernel_hidden_dim.or(self.kernel_hidden_dim) else {
            return Err(Error::Selection(format!(
                "{}: kernel_hidden_dim is unknown: the {} rows of mlp.2 are num_film_layers · 2 · \
                 kernel_hidden_dim, and neither a hidden_linears.0.weight beside the generator nor \
                 config.json tells which",
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

/// The generator at `prefix`, or why there is none.
///
/// # Errors
/// If config.json contradicts the shapes.
pub(super) fn generator(
    checkpoint: &Checkpoint,
    prefix: &str,
    config: &Map<String, Value>,
) -> Result<std::result::Result<FoundGenerator, String>> {
    let [hidden, output] = match shapes(checkpoint, prefix) {
        Ok(weights) => weights,
        Err(why) => return Ok(Err(why)),
    };
    let mut generator = FoundGenerator {
        prefix: prefix.into(),
        cond_dim: hidden.shape[1],
        film_hidden_dim: hidden.shape[0],
        out_dim: output.shape[0],
        kernel_hidden_dim: None,
        num_film_layers: None,
    };
    let settled = settle(checkpoint, &mut generator, config);
    settled.map_err(|error| match checkpoint.config_path() {
        Some(path) => error.in_file(path),
        None => error,
    })?;
    Ok(Ok(generator))
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
fn settle(
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
    let rows = generator.out_dim;
    let whole = |key: &str, said: usize| match divide(rows, said) {
        Some(_) => Ok(()),
        None => {
            let expected = format!("a number whose double divides the {rows} rows of mlp.2");
            Err(Error::config(key, expected, said))
        }
    };
    let agrees = check("cond_dim", cond, generator.cond_dim)
        .and_then(|()| check("film_hidden_dim", hidden, generator.film_hidden_dim))
        .and_then(|()| match (width, layers) {
            (Some(width), Some(layers)) => {
                let rows = layers.saturating_mul(2).saturating_mul(width);
                check("num_film_layers · 2 · kernel_hidden_dim", Some(rows), generator.out_dim)
            }
            (Some(width), None) => whole("kernel_hidden_dim", width),
            (None, Some(layers)) => whole("num_film_layers", layers),
            (None, None) => Ok(()),
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
        given(object, "num_film_layers") || given(object, "kernel_hidden_dim")
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
