//! The generator's configuration: plain data, the original's names as JSON keys.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::json::{at_least_1, non_negative, required_size, size};

/// How the generator's output layer starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InitType {
    /// Zero weight: γ = 1 and β = 0 exactly, whatever the conditioning.
    #[default]
    Identity,
    /// Weight ~ N(0, `init_std`²): γ ≈ 1 and β ≈ 0, already depending on the conditioning.
    SmallRandom,
}

/// What `no_weight_decay` says of the generator's two weights. Biases never decay.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum NoWeightDecay {
    /// `false`: the optimizer's default decay; `true`: none.
    Flag(bool),
    /// A number: that decay. 0.0 is a number.
    Value(f64),
}

impl Default for NoWeightDecay {
    fn default() -> Self {
        Self::Flag(false)
    }
}

/// The arguments of a [`KernelFilmGenerator`](crate::KernelFilmGenerator), with the defaults of
/// the PyTorch original.
///
/// Three ways to get one: [`new`](Self::new) and the `with_` methods, JSON ([`from_json`](Self::from_json)
/// or serde), and the shapes in a checkpoint ([`FoundGenerator::config`](crate::checkpoint::FoundGenerator::config)).
///
/// ```
/// use film_core::KernelFilmConfig;
/// let config = KernelFilmConfig::new(384, 32, 3).with_init_std(1e-3);
/// assert_eq!(config.out_dim()?, 3 * 2 * 32);
/// # Ok::<(), film_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelFilmConfig {
    /// Width of the conditioning vector.
    pub cond_dim: usize,
    /// Width of the hidden layers that γ and β modulate.
    pub kernel_hidden_dim: usize,
    /// Number of (γ, β) pairs.
    pub num_film_layers: usize,
    /// Width of the generator's own hidden layer. Default 64.
    pub film_hidden_dim: usize,
    /// Weight decay of the two weights. Default `false`.
    pub no_weight_decay: NoWeightDecay,
    /// Start of the output layer. Default "identity".
    pub init_type: InitType,
    /// Standard deviation for "small_random". Default 1e-4.
    pub init_std: f64,
}

impl KernelFilmConfig {
    /// The default `film_hidden_dim`.
    pub const FILM_HIDDEN_DIM: usize = 64;
    /// The default `init_std`.
    pub const INIT_STD: f64 = 1e-4;

    /// A configuration with the original's defaults. Nothing is checked before
    /// [`validate`](Self::validate), which every use of it calls.
    pub fn new(cond_dim: usize, kernel_hidden_dim: usize, num_film_layers: usize) -> Self {
        Self {
            cond_dim,
            kernel_hidden_dim,
            num_film_layers,
            film_hidden_dim: Self::FILM_HIDDEN_DIM,
            no_weight_decay: NoWeightDecay::default(),
            init_type: InitType::default(),
            init_std: Self::INIT_STD,
        }
    }

    /// Sets the width of the generator's hidden layer.
    #[must_use]
    pub fn with_film_hidden_dim(self, film_hidden_dim: usize) -> Self {
        Self { film_hidden_dim, ..self }
    }

    /// Sets the weight decay of the two weights.
    #[must_use]
    pub fn with_no_weight_decay(self, no_weight_decay: NoWeightDecay) -> Self {
        Self { no_weight_decay, ..self }
    }

    /// Sets the start of the output layer.
    #[must_use]
    pub fn with_init_type(self, init_type: InitType) -> Self {
        Self { init_type, ..self }
    }

    /// Sets the standard deviation that "small_random" starts with.
    #[must_use]
    pub fn with_init_std(self, init_std: f64) -> Self {
        Self { init_std, ..self }
    }

    /// Reads a JSON object. Keys it does not know are left alone.
    ///
    /// # Errors
    /// A missing required key, a value of the wrong kind, or one that [`validate`](Self::validate)
    /// refuses; the error names the key and the value.
    pub fn from_json(json: &Map<String, Value>) -> Result<Self> {
        let config = Self {
            cond_dim: required_size(json, "cond_dim")?,
            kernel_hidden_dim: required_size(json, "kernel_hidden_dim")?,
            num_film_layers: required_size(json, "num_film_layers")?,
            film_hidden_dim: size(json, "film_hidden_dim")?.unwrap_or(Self::FILM_HIDDEN_DIM),
            no_weight_decay: no_weight_decay(json)?,
            init_type: init_type(json)?,
            init_std: init_std(json)?,
        };
        config.validate()?;
        Ok(config)
    }

    /// The number of outputs, `num_film_layers · 2 · kernel_hidden_dim`.
    ///
    /// # Errors
    /// If it overflows.
    pub fn out_dim(&self) -> Result<usize> {
        self.num_film_layers
            .checked_mul(2)
            .and_then(|pairs| pairs.checked_mul(self.kernel_hidden_dim))
            .ok_or_else(|| Error::Overflow {
                what: "num_film_layers · 2 · kernel_hidden_dim".into(),
                detail: format!("{} · 2 · {}", self.num_film_layers, self.kernel_hidden_dim),
            })
    }

    /// Checks that such a generator can exist.
    ///
    /// # Errors
    /// A zero size, an `init_std` or decay that is negative or not finite, or sizes so large that
    /// a weight's bytes do not fit into the address space; each names the key and the value.
    pub fn validate(&self) -> Result<()> {
        for (key, value) in [
            ("cond_dim", self.cond_dim),
            ("kernel_hidden_dim", self.kernel_hidden_dim),
            ("num_film_layers", self.num_film_layers),
            ("film_hidden_dim", self.film_hidden_dim),
        ] {
            at_least_1(key, value)?;
        }
        non_negative("init_std", self.init_std)?;
        if let NoWeightDecay::Value(decay) = self.no_weight_decay {
            non_negative("no_weight_decay", decay)?;
        }
        let out_dim = self.out_dim()?;
        addressable("film_hidden_dim · cond_dim", self.film_hidden_dim, self.cond_dim)?;
        addressable(
            "num_film_layers · 2 · kernel_hidden_dim · film_hidden_dim",
            out_dim,
            self.film_hidden_dim,
        )
    }
}

/// A weight of `rows` × `columns` float64 numbers must be addressable.
fn addressable(what: &str, rows: usize, columns: usize) -> Result<()> {
    let bytes = rows.checked_mul(columns).and_then(|count| count.checked_mul(8));
    match bytes {
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(()),
        _ => Err(Error::Overflow { what: what.into(), detail: format!("{rows} · {columns}") }),
    }
}

fn init_std(json: &Map<String, Value>) -> Result<f64> {
    match json.get("init_std") {
        None => Ok(KernelFilmConfig::INIT_STD),
        Some(value) => match value.as_f64() {
            Some(std) => non_negative("init_std", std),
            None => Err(Error::config("init_std", "a finite number of at least 0", value)),
        },
    }
}

fn init_type(json: &Map<String, Value>) -> Result<InitType> {
    match json.get("init_type") {
        None => Ok(InitType::default()),
        Some(Value::String(name)) if name == "identity" => Ok(InitType::Identity),
        Some(Value::String(name)) if name == "small_random" => Ok(InitType::SmallRandom),
        Some(value) => Err(Error::config("init_type", "\"identity\" or \"small_random\"", value)),
    }
}

fn no_weight_decay(json: &Map<String, Value>) -> Result<NoWeightDecay> {
    match json.get("no_weight_decay") {
        None => Ok(NoWeightDecay::default()),
        Some(Value::Bool(flag)) => Ok(NoWeightDecay::Flag(*flag)),
        Some(value) => match value.as_f64() {
            Some(decay) => non_negative("no_weight_decay", decay).map(NoWeightDecay::Value),
            None => Err(Error::config(
                "no_weight_decay",
                "false, true or a finite number of at least 0",
                value,
            )),
        },
    }
}

impl<'de> Deserialize<'de> for KernelFilmConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let json = Map::deserialize(deserializer)?;
        Self::from_json(&json).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> std::result::Result<KernelFilmConfig, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_the_originals() {
        let config =
            parse(r#"{"cond_dim": 8, "kernel_hidden_dim": 4, "num_film_layers": 2}"#).unwrap();
        assert_eq!(config, KernelFilmConfig::new(8, 4, 2));
        assert_eq!((config.film_hidden_dim, config.init_std), (64, 1e-4));
        assert_eq!(config.no_weight_decay, NoWeightDecay::Flag(false));
        assert_eq!(config.init_type, InitType::Identity);
    }

    #[test]
    fn json_round_trips_with_the_originals_names() {
        let config = KernelFilmConfig::new(8, 4, 2)
            .with_film_hidden_dim(6)
            .with_no_weight_decay(NoWeightDecay::Value(0.005))
            .with_init_type(InitType::SmallRandom)
            .with_init_std(0.05);
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(
            text,
            "{\"cond_dim\":8,\"kernel_hidden_dim\":4,\"num_film_layers\":2,\"film_hidden_dim\":6,\
             \"no_weight_decay\":0.005,\"init_type\":\"small_random\",\"init_std\":0.05}"
        );
        assert_eq!(parse(&text).unwrap(), config);
    }

    #[test]
    fn unknown_keys_are_left_alone() {
        let text = r#"{"architectures": ["X"], "cond_dim": 8, "kernel_hidden_dim": 4, "num_film_layers": 2}"#;
        assert!(parse(text).is_ok());
    }

    #[test]
    fn errors_name_the_key_and_the_value() {
        for (change, expected) in [
            (r#""cond_dim": 0"#, "cond_dim: expected an integer of at least 1, found 0"),
            (r#""cond_dim": -3"#, "cond_dim: expected an integer of at least 1, found -3"),
            (r#""cond_dim": 2.5"#, "cond_dim: expected an integer of at least 1, found 2.5"),
            (r#""cond_dim": "8""#, "cond_dim: expected an integer of at least 1, found \"8\""),
            (r#""init_std": -1.0"#, "init_std: expected a finite number of at least 0, found -1"),
            (r#""init_std": null"#, "init_std: expected a finite number of at least 0, found null"),
            (
                r#""init_type": "zero""#,
                "init_type: expected \"identity\" or \"small_random\", found \"zero\"",
            ),
            (
                r#""no_weight_decay": "x""#,
                "no_weight_decay: expected false, true or a finite number of at least 0, found \"x\"",
            ),
            (
                r#""num_film_layers": 9223372036854775807"#,
                "num_film_layers · 2 · kernel_hidden_dim overflows: 9223372036854775807 · 2 · 4",
            ),
            (
                r#""cond_dim": 288230376151711744"#,
                "film_hidden_dim · cond_dim overflows: 64 · 288230376151711744",
            ),
        ] {
            let text = format!(
                r#"{{"cond_dim": 8, "kernel_hidden_dim": 4, "num_film_layers": 2, {change}}}"#
            );
            assert_eq!(parse(&text).unwrap_err(), expected);
        }
        let missing = parse(r#"{"cond_dim": 8, "num_film_layers": 2}"#).unwrap_err();
        assert_eq!(
            missing,
            "kernel_hidden_dim: expected an integer of at least 1, found nothing: the key is missing"
        );
        assert!(KernelFilmConfig::new(1, 1, 1).with_init_std(f64::NAN).validate().is_err());
    }
}
