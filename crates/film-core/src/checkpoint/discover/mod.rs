//! Finding what this crate can run by the names and shapes of a checkpoint's tensors.

mod conv;
mod encoder;
mod generator;
mod kernel;
mod names;
mod settings;

use std::collections::HashMap;

use super::Checkpoint;
use crate::error::{Error, Result};
use conv::conv;
use encoder::encoder;
use generator::{NAMES, generator};
use kernel::kernel;
use names::{join, parent, parent_of};

pub use conv::FoundConv;
pub use encoder::{Encoder, FoundEncoder};
pub use generator::FoundGenerator;
pub use kernel::{FoundKernel, FoundMask};
pub use names::is_below;
pub use settings::KernelSettings;

/// What a checkpoint holds that this crate can run.
#[derive(Debug, Clone)]
pub struct Discovery {
    generators: Vec<FoundGenerator>,
    kernels: Vec<FoundKernel>,
    convs: Vec<FoundConv>,
    encoders: Vec<FoundEncoder>,
    /// The encoders that stand right in a module, by the module's prefix.
    encoders_in: HashMap<String, Vec<usize>>,
    near_misses: Vec<String>,
    kernel_misses: Vec<String>,
    conv_misses: Vec<String>,
}

impl Discovery {
    pub(super) fn new(checkpoint: &Checkpoint) -> Result<Self> {
        let config = checkpoint.config()?.unwrap_or_default();
        let mut found = Self {
            generators: vec![],
            kernels: vec![],
            convs: vec![],
            encoders: vec![],
            encoders_in: HashMap::new(),
            near_misses: vec![],
            kernel_misses: vec![],
            conv_misses: vec![],
        };
        for tensor in checkpoint.tensors() {
            let name = tensor.name.as_str();
            if let Some(prefix) = parent(name, "mlp.0.weight") {
                match generator(checkpoint, prefix, &config)? {
                    Ok(generator) => found.generators.push(generator),
                    Err(why) => found.near_misses.push(why),
                }
            } else if let Some(prefix) = parent(name, "mlp.2.weight") {
                let first = join(prefix, NAMES[0]);
                if checkpoint.get(&first).is_none() {
                    found.near_misses.push(format!("{first} is missing"));
                }
            } else if let Some(prefix) = parent(name, "positional_embedding.linear.weight") {
                match kernel(checkpoint, prefix) {
                    Ok(kernel) => found.kernels.push(kernel),
                    Err(why) => found.kernel_misses.push(why),
                }
            } else if let Some(encoder) = encoder(tensor) {
                found.encoders.push(encoder);
            }
        }
        found.tie();
        found.add_convs(checkpoint);
        Ok(found)
    }

    /// Ties each kernel to its generator and to the register encoder that feeds it.
    fn tie(&mut self) {
        for (index, encoder) in self.encoders.iter().enumerate() {
            self.encoders_in.entry(parent_of(&encoder.prefix).into()).or_default().push(index);
        }
        let generators: HashMap<&str, &FoundGenerator> =
            self.generators.iter().map(|found| (found.prefix.as_str(), found)).collect();
        let mut kernels = std::mem::take(&mut self.kernels);
        for kernel in &mut kernels {
            let inside = join(&kernel.prefix, "film_generator");
            if let Some(generator) = generators.get(inside.as_str()) {
                kernel.adopt(generator);
                kernel.encoder = self.encoder_of(generator).ok().cloned();
            }
        }
        self.kernels = kernels;
    }

    /// Finds the convolutions around the kernels.
    fn add_convs(&mut self, checkpoint: &Checkpoint) {
        for kernel in &self.kernels {
            let Some(prefix) = parent(&kernel.prefix, "kernel") else { continue };
            match conv(checkpoint, prefix, kernel) {
                Ok(conv) => self.convs.push(conv),
                Err(why) => self.conv_misses.push(why),
            }
        }
    }

    /// The generators, sorted by prefix.
    pub fn generators(&self) -> &[FoundGenerator] {
        &self.generators
    }

    /// The SIREN kernels, sorted by prefix.
    pub fn kernels(&self) -> &[FoundKernel] {
        &self.kernels
    }

    /// The continuous-kernel convolutions, sorted by prefix.
    pub fn convs(&self) -> &[FoundConv] {
        &self.convs
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
        let noun = "FiLM generator (mlp.0 and mlp.2, each with weight and bias)";
        select(&self.generators, |found| &found.prefix, prefix, noun, &self.near_misses)
    }

    /// The one generator at `prefix` or below it.
    ///
    /// # Errors
    /// If there is none, or more than one; the error says which there are.
    pub fn generator(&self, prefix: Option<&str>) -> Result<&FoundGenerator> {
        one(&self.select(prefix)?, |found| &found.prefix, "FiLM generators")
    }

    /// The one SIREN kernel at `prefix` or below it.
    ///
    /// # Errors
    /// If there is none, or more than one; the error says which there are.
    pub fn kernel(&self, prefix: Option<&str>) -> Result<&FoundKernel> {
        let noun = "SIREN kernel (positional_embedding.linear, hidden_linears.0 … and out_linear)";
        let kernels =
            select(&self.kernels, |found| &found.prefix, prefix, noun, &self.kernel_misses)?;
        one(&kernels, |found| &found.prefix, "SIREN kernels")
    }

    /// The one convolution at `prefix` or below it.
    ///
    /// # Errors
    /// If there is none, or more than one; the error says which there are.
    pub fn conv(&self, prefix: Option<&str>) -> Result<&FoundConv> {
        let noun = "convolution (shortcut, and a SIREN kernel below kernel)";
        let convs = select(&self.convs, |found| &found.prefix, prefix, noun, &self.conv_misses)?;
        one(&convs, |found| &found.prefix, "convolutions")
    }

    /// The convolution that `kernel` stands in, if it does.
    pub fn conv_around(&self, kernel: &FoundKernel) -> Option<&FoundConv> {
        self.convs.iter().find(|found| found.kernel.prefix == kernel.prefix)
    }

    /// The register encoder that feeds `generator`: the one beside it or beside its nearest ancestor.
    ///
    /// # Errors
    /// If there is none.
    pub fn encoder_of(&self, generator: &FoundGenerator) -> Result<&FoundEncoder> {
        let feeds = |encoder: &&FoundEncoder| encoder.yields(generator.cond_dim);
        let mut scope = generator.prefix.as_str();
        loop {
            let inside = self.encoders_in.get(scope).into_iter().flatten();
            if let Some(encoder) = inside.map(|index| &self.encoders[*index]).find(feeds) {
                return Ok(encoder);
            }
            if scope.is_empty() {
                let name = generator.name();
                let what = "register encoder (`logits` or `compress.weight`)";
                return Err(Error::Selection(format!("holds no {what} for {name}")));
            }
            scope = parent_of(scope);
        }
    }
}

/// What stands at `wanted` or below it.
fn select<'a, T>(
    found: &'a [T],
    prefix: fn(&T) -> &String,
    wanted: Option<&str>,
    noun: &str,
    misses: &[String],
) -> Result<Vec<&'a T>> {
    let wanted = wanted.map(|wanted| wanted.trim_matches('.'));
    let exact = found.iter().filter(|found| Some(prefix(found).as_str()) == wanted);
    let mut chosen: Vec<_> = exact.collect();
    if chosen.is_empty() {
        let inside = |found: &&T| is_below(prefix(found), wanted.unwrap_or_default());
        chosen = found.iter().filter(inside).collect();
    }
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    let short = noun.split(" (").next().unwrap_or(noun);
    Err(Error::Selection(match (found, misses) {
        ([], []) => format!("holds no {noun}"),
        ([], [why, ..]) => format!("holds no {short}: {why}"),
        (found, _) => format!(
            "no {short} at {}; there are {}",
            wanted.unwrap_or_default(),
            list(found.iter().map(prefix))
        ),
    }))
}

/// The only one chosen.
fn one<'a, T>(chosen: &[&'a T], prefix: fn(&T) -> &String, nouns: &str) -> Result<&'a T> {
    match chosen {
        [one] => Ok(one),
        several => {
            let names = list(several.iter().map(|found| prefix(found)));
            Err(Error::Selection(format!(
                "holds {} {nouns}: choose one by its prefix: {names}",
                several.len()
            )))
        }
    }
}

/// Up to six prefixes.
fn list<'a>(prefixes: impl Iterator<Item = &'a String>) -> String {
    let name = |prefix: &'a String| if prefix.is_empty() { "(root)" } else { prefix.as_str() };
    let names: Vec<&str> = prefixes.map(name).collect();
    let more = names.len().saturating_sub(6);
    let shown = names[..names.len() - more].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}
