//! Finding what this crate can run by the names and shapes of a checkpoint's tensors.

mod agree;
mod conv;
mod encoder;
mod generator;
mod kernel;
mod module;
mod names;
mod settings;

use std::collections::HashMap;

use super::Checkpoint;
use crate::error::{Error, Result};
use crate::json::Object;
use crate::short::short;
use conv::conv;
use encoder::encoder;
use generator::{NAMES, generator};
use kernel::kernel;
use names::{parent, parent_of};

pub use conv::FoundConv;
pub use encoder::{Encoder, FoundEncoder};
pub use generator::FoundGenerator;
pub use kernel::{FoundKernel, FoundMask};
pub use module::Module;
pub use names::{is_below, join, strip_prefix};
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
    near_misses: Vec<NearMiss>,
    kernel_misses: Vec<NearMiss>,
    conv_misses: Vec<NearMiss>,
}

/// What looks like a generator or a kernel and is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearMiss {
    /// Where it stands.
    pub prefix: String,
    /// What keeps it from being one.
    pub why: String,
}

impl NearMiss {
    fn new(prefix: &str, why: String) -> Self {
        Self { prefix: prefix.into(), why }
    }
}

impl Discovery {
    /// `config` is the checkpoint's config.json.
    pub(super) fn new(checkpoint: &Checkpoint, config: &Object) -> Result<Self> {
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
                match generator(checkpoint, prefix, config)? {
                    Ok(generator) => found.generators.push(generator),
                    Err(why) => found.near_misses.push(NearMiss::new(prefix, why)),
                }
            } else if let Some(prefix) = parent(name, "mlp.2.weight") {
                let first = join(prefix, NAMES[0]);
                if checkpoint.get(&first).is_none() {
                    let why = format!("{first} is missing");
                    found.near_misses.push(NearMiss::new(prefix, why));
                }
            } else if let Some(prefix) = parent(name, "positional_embedding.linear.weight") {
                match kernel(checkpoint, prefix) {
                    Ok(kernel) => found.kernels.push(kernel),
                    Err(why) => found.kernel_misses.push(NearMiss::new(prefix, why)),
                }
            } else if let Some(prefix) = parent(name, "hidden_linears.0.weight") {
                let first = join(prefix, "positional_embedding.linear.weight");
                if checkpoint.get(&first).is_none()
                    && checkpoint.get(&join(prefix, "out_linear.weight")).is_some()
                {
                    let why = format!("{first} is missing");
                    found.kernel_misses.push(NearMiss::new(prefix, why));
                }
            } else if let Some(encoder) = encoder(tensor) {
                found.encoders.push(encoder);
            }
        }
        found.tie(checkpoint);
        found.add_convs(checkpoint);
        Ok(found)
    }

    /// Ties each kernel to its generator and to the register encoder that feeds it. One whose generator is
    /// broken is no kernel: it would be drawn as if nothing modulated it.
    fn tie(&mut self, checkpoint: &Checkpoint) {
        for (index, encoder) in self.encoders.iter().enumerate() {
            self.encoders_in.entry(parent_of(&encoder.prefix).into()).or_default().push(index);
        }
        let generators: HashMap<&str, &FoundGenerator> =
            self.generators.iter().map(|found| (found.prefix.as_str(), found)).collect();
        let (mut kernels, mut misses) = (vec![], vec![]);
        for mut kernel in self.kernels.clone() {
            let inside = join(&kernel.prefix, "film_generator");
            if let Some(generator) = generators.get(inside.as_str()) {
                kernel.adopt(generator);
                kernel.encoder = self.encoder_of(generator).ok().cloned();
            } else if checkpoint.starting_with(&join(&inside, "")).next().is_some() {
                let known = self.near_misses.iter().find(|miss| miss.prefix == inside);
                let missing = || format!("{} is missing", join(&inside, NAMES[0]));
                let why = known.map_or_else(missing, |miss| miss.why.clone());
                misses.push(NearMiss::new(&kernel.prefix, why));
                continue;
            }
            kernels.push(kernel);
        }
        self.kernels = kernels;
        self.kernel_misses.extend(misses);
    }

    /// Finds the convolutions around the kernels.
    fn add_convs(&mut self, checkpoint: &Checkpoint) {
        for kernel in &self.kernels {
            let Some(prefix) = parent(&kernel.prefix, "kernel") else { continue };
            match conv(checkpoint, prefix, kernel) {
                Ok(conv) => self.convs.push(conv),
                Err(why) => self.conv_misses.push(NearMiss::new(prefix, why)),
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
    pub fn near_misses(&self) -> &[NearMiss] {
        &self.near_misses
    }

    /// What looked like a SIREN kernel, each with what keeps it from being one.
    pub fn kernel_misses(&self) -> &[NearMiss] {
        &self.kernel_misses
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
    /// If there is none, or more than one, or a near miss beside the one; the error says which there are.
    pub fn generator(&self, prefix: Option<&str>) -> Result<&FoundGenerator> {
        let chosen = self.select(prefix)?;
        one(&chosen, |found| &found.prefix, prefix, "FiLM generator", &self.near_misses)
    }

    /// The one SIREN kernel at `prefix` or below it.
    ///
    /// # Errors
    /// If there is none, or more than one, or a near miss beside the one; the error says which there are.
    pub fn kernel(&self, prefix: Option<&str>) -> Result<&FoundKernel> {
        let noun = "SIREN kernel (positional_embedding.linear, hidden_linears.0 … and out_linear)";
        let kernels =
            select(&self.kernels, |found| &found.prefix, prefix, noun, &self.kernel_misses)?;
        one(&kernels, |found| &found.prefix, prefix, "SIREN kernel", &self.kernel_misses)
    }

    /// The one convolution at `prefix` or below it.
    ///
    /// # Errors
    /// If there is none, or more than one; the error says which there are.
    pub fn conv(&self, prefix: Option<&str>) -> Result<&FoundConv> {
        let noun = "convolution (shortcut, and a SIREN kernel below kernel)";
        let convs = select(&self.convs, |found| &found.prefix, prefix, noun, &self.conv_misses)?;
        one(&convs, |found| &found.prefix, prefix, "convolution", &self.conv_misses)
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
    misses: &[NearMiss],
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
    let brief = noun.split(" (").next().unwrap_or(noun);
    let place = wanted.filter(|wanted| !wanted.is_empty());
    Err(Error::Selection(match (nearest(misses, wanted), found, misses, place) {
        (Some(miss), _, _, Some(place)) => format!("holds no {brief} at {place}: {}", miss.why),
        (Some(miss), ..) | (None, [], [miss, ..], _) => format!("holds no {brief}: {}", miss.why),
        (None, [], [], _) => format!("holds no {noun}"),
        (None, found, ..) => format!(
            "no {brief} at {}; there are {}",
            place.unwrap_or_default(),
            list(found.iter().map(prefix))
        ),
    }))
}

/// The first near miss at `wanted` or below it.
fn nearest<'a>(misses: &'a [NearMiss], wanted: Option<&str>) -> Option<&'a NearMiss> {
    let wanted = wanted.map(|wanted| wanted.trim_matches('.')).unwrap_or_default();
    misses.iter().find(|miss| is_below(&miss.prefix, wanted))
}

/// The only one chosen. Where something beside it is nearly another one, nobody can tell which was meant.
fn one<'a, T>(
    chosen: &[&'a T],
    prefix: fn(&T) -> &String,
    wanted: Option<&str>,
    noun: &str,
    misses: &[NearMiss],
) -> Result<&'a T> {
    let names = || list(chosen.iter().map(|found| prefix(found)));
    let text = match (chosen, nearest(misses, wanted)) {
        ([one], None) => return Ok(one),
        ([one], Some(_)) if Some(prefix(one).as_str()) == wanted => return Ok(one),
        ([_], Some(miss)) => format!(
            "holds a {noun} at {} and a broken one ({}): choose one by its prefix",
            names(),
            miss.why
        ),
        (several, _) => {
            format!("holds {} {noun}s: choose one by its prefix: {}", several.len(), names())
        }
    };
    Err(Error::Selection(text))
}

/// Up to six prefixes.
fn list<'a>(prefixes: impl Iterator<Item = &'a String>) -> String {
    let name = |prefix: &'a String| if prefix.is_empty() { "(root)" } else { prefix.as_str() };
    let names: Vec<&str> = prefixes.map(name).collect();
    let more = names.len().saturating_sub(6);
    let shown: Vec<String> =
        names[..names.len() - more].iter().map(|name| short(name).to_string()).collect();
    let shown = shown.join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}
