//! What each generator is run for.

use std::path::Path;
use std::rc::Rc;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::args::Rows;
use crate::chain::Chain;
use crate::input::Input;

/// The rows that the flags ask for.
pub(super) struct Given {
    rows: Rows,
    /// What all generators are run for; `None` where each has its own.
    shared: Option<Rc<Input>>,
}

/// What the generators were run for.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Described {
    Conditioning { source: String },
    Registers { source: String },
    Random { seed: u64 },
}

impl Given {
    pub(super) fn open(rows: Rows) -> Result<Self> {
        rows.seed()?;
        let shared = match rows.text() {
            Some(text) if !has_star(text) => Some(Rc::new(Input::open(text)?)),
            _ => None,
        };
        Ok(Self { rows, shared })
    }

    /// Whether they are registers.
    pub(super) fn registers(&self) -> bool {
        self.rows.registers.is_some()
    }

    /// What to run this generator for.
    pub(super) fn of(&self, chain: &Chain) -> Result<Rc<Input>> {
        if let Some(shared) = &self.shared {
            return Ok(Rc::clone(shared));
        }
        Ok(Rc::new(match self.rows.text() {
            Some(text) => Input::open(&for_generator(text, &chain.prefix)?)?,
            None => {
                let rows = self.rows.random.unwrap_or_default();
                Input::random(rows, chain.config.cond_dim, self.rows.seed()?)?
            }
        }))
    }

    pub(super) fn describe(&self) -> Described {
        let source = |text: &String| text.clone();
        match (&self.rows.conditioning, &self.rows.registers) {
            (Some(text), _) => Described::Conditioning { source: source(text) },
            (None, Some(text)) => Described::Registers { source: source(text) },
            (None, None) => Described::Random { seed: self.rows.seed.unwrap_or_default() },
        }
    }
}

/// Whether the tensor's name has a star.
fn has_star(text: &str) -> bool {
    let tensor = text.rsplit_once(':').map(|(_, tensor)| tensor);
    !Path::new(text).exists() && tensor.is_some_and(|tensor| tensor.contains('*'))
}

/// `FILE:TENSOR` with each star replaced by what the generator's prefix has in the first one's place.
fn for_generator(text: &str, prefix: &str) -> Result<String> {
    let (file, tensor) = text.rsplit_once(':').unwrap_or((text, ""));
    let (head, _) = tensor.split_once('*').unwrap_or((tensor, ""));
    let mut places = prefix.match_indices(head);
    let begins = |at: usize| at == 0 || prefix.as_bytes()[at - 1] == b'.';
    let Some((at, _)) = places.find(|(at, _)| begins(*at)) else {
        bail!("{text}: the * has no place in {prefix}, which has no {head} in it");
    };
    let segment = prefix[at + head.len()..].split('.').next().unwrap_or_default();
    Ok(format!("{file}:{}", tensor.replace('*', segment)))
}

#[cfg(test)]
mod tests {
    use super::{for_generator, has_star};

    #[test]
    fn a_star_is_what_the_generators_name_has_there() {
        let of = |text: &str, prefix: &str| for_generator(text, prefix).unwrap();
        let prefix = "network.blocks.11.kernel.film_generator";
        assert_eq!(of("io.st:blocks.*.registers", prefix), "io.st:blocks.11.registers");
        assert_eq!(of("io.st:blocks.*.a.*", "blocks.3"), "io.st:blocks.3.a.3");
        assert_eq!(of("io.st:*.input", "b7.film"), "io.st:b7.input");
        let error = for_generator("io.st:ocks.*.x", prefix).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("io.st:ocks.*.x: the * has no place in {prefix}, which has no ocks. in it")
        );
        assert!(has_star("a.safetensors:b.*") && !has_star("*.safetensors:b") && !has_star("-"));
    }
}
