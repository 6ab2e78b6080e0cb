//! The one part that a prefix means: the largest that stands there.

use super::{Discovery, FoundConv, FoundGenerator, FoundKernel, is_below};
use crate::error::{Error, Result};

/// A part of a checkpoint that stands on its own.
#[derive(Debug, Clone, Copy)]
pub enum Module<'a> {
    /// A FiLM generator.
    Generator(&'a FoundGenerator),
    /// A SIREN kernel, with its generator and mask if it has them.
    Kernel(&'a FoundKernel),
    /// A convolution, with its kernel.
    Conv(&'a FoundConv),
}

impl Module<'_> {
    /// Where it stands; empty at the root.
    pub fn prefix(&self) -> &str {
        match self {
            Self::Generator(found) => &found.prefix,
            Self::Kernel(found) => &found.prefix,
            Self::Conv(found) => &found.prefix,
        }
    }

    /// What it is called.
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Generator(_) => "FiLM generator",
            Self::Kernel(_) => "SIREN kernel",
            Self::Conv(_) => "convolution",
        }
    }

    /// Its kernel, if it has one.
    pub fn kernel(&self) -> Option<&FoundKernel> {
        match self {
            Self::Generator(_) => None,
            Self::Kernel(found) => Some(found),
            Self::Conv(found) => Some(&found.kernel),
        }
    }

    /// Its generator, if it has one.
    pub fn generator(&self) -> Option<&FoundGenerator> {
        match self {
            Self::Generator(found) => Some(found),
            _ => self.kernel().and_then(|kernel| kernel.generator.as_ref()),
        }
    }
}

impl Discovery {
    /// The one convolution at `prefix` or below it; where there is none, the one kernel; where there is none either,
    /// the one generator.
    ///
    /// # Errors
    /// If there is none of them, or more than one, or one beside another that is no part of it; the error says which
    /// there are.
    pub fn module(&self, prefix: &str) -> Result<Module<'_>> {
        let prefix = prefix.trim_matches('.');
        let below = |name: &str| is_below(name, prefix);
        let has_conv = self.convs.iter().any(|found| below(&found.prefix));
        let has_kernel = self.kernels.iter().any(|found| below(&found.prefix))
            || self.kernel_misses.iter().any(|miss| below(&miss.prefix));
        let module = match (has_conv, has_kernel) {
            (true, _) => Module::Conv(self.conv(Some(prefix))?),
            (false, true) => Module::Kernel(self.kernel(Some(prefix))?),
            (false, false) => Module::Generator(self.generator(Some(prefix))?),
        };
        let own = |name: &&String| is_below(name, module.prefix());
        let kernels = self.kernels.iter().map(|found| &found.prefix);
        let generators = self.generators.iter().map(|found| &found.prefix);
        match kernels.chain(generators).filter(|name| below(name)).find(|name| !own(name)) {
            Some(other) => Err(Error::Selection(format!(
                "holds a {} at {} and another part at {other}: choose one by its prefix",
                module.noun(),
                module.prefix()
            ))),
            None => Ok(module),
        }
    }
}
