//! Continuous-kernel convolutions, by a `shortcut` beside a kernel of as many channels.

use super::kernel::FoundKernel;
use super::names::join;
use super::settings::KernelSettings;
use crate::checkpoint::Checkpoint;
use crate::ckconv::CKConvConfig;
use crate::error::{Error, Result};

/// A convolution's place and kernel. What shapes cannot tell is in [`KernelSettings`].
#[derive(Debug, Clone, PartialEq)]
pub struct FoundConv {
    /// What stands before `.shortcut`; empty at the root.
    pub prefix: String,
    /// Its kernel, with the parts that belong to it.
    pub kernel: FoundKernel,
}

/// The convolution at `prefix` with the kernel inside it, or why it is none.
pub(super) fn conv(
    checkpoint: &Checkpoint,
    prefix: &str,
    kernel: &FoundKernel,
) -> std::result::Result<FoundConv, String> {
    let name = join(prefix, "shortcut");
    match checkpoint.get(&name).map(|tensor| tensor.shape.as_slice()) {
        Some(&[channels]) if channels == kernel.out_dim => {
            Ok(FoundConv { prefix: prefix.into(), kernel: kernel.clone() })
        }
        Some(found) => Err(format!("{name}: expected shape [{}], found {found:?}", kernel.out_dim)),
        None => Err(format!("{name} is missing")),
    }
}

impl FoundConv {
    /// The prefix, or a name for none.
    pub fn name(&self) -> &str {
        if self.prefix.is_empty() { "(root)" } else { &self.prefix }
    }

    /// The convolution's configuration: the sizes found here, the rest from `settings`.
    ///
    /// # Errors
    /// If `settings` lacks something, or contradicts the shapes.
    pub fn config(&self, settings: &KernelSettings) -> Result<CKConvConfig> {
        let kernel = self.kernel.config(settings)?;
        let boundaries = match settings.boundaries.as_deref() {
            Some([one]) => vec![*one; kernel.data_dim],
            Some(several) => several.into(),
            None => {
                return Err(Error::Selection(format!(
                    "{}: the checkpoint does not tell fft_padding: give it in config.json or by flag",
                    self.name()
                )));
            }
        };
        let mask = self.kernel.mask_config(settings, &kernel.l_cache)?;
        let config = CKConvConfig { boundaries, kernel, mask };
        config.validate()?;
        Ok(config)
    }
}
