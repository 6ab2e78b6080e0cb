//! Whether config.json says of a kernel what its tensors say.

use serde_json::Value;

use super::kernel::FoundKernel;
use super::names::join;
use super::settings::KernelSettings;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::json::{Object, flag, given, size};

impl Checkpoint {
    /// What config.json tells of a kernel that was found here; nothing where there is no config.json.
    ///
    /// # Errors
    /// If it cannot be read, has a value of the wrong kind or contradicts the kernel's tensors.
    pub fn kernel_settings(&self, found: &FoundKernel) -> Result<KernelSettings> {
        let Some(config) = self.config()? else { return Ok(KernelSettings::default()) };
        let settings = found.agrees(&config).and_then(|()| KernelSettings::from_json(&config));
        settings.map_err(|error| match self.config_path() {
            Some(path) => error.in_file(path),
            None => error,
        })
    }
}

/// An error where `section` says another size than the tensors have.
fn agree(section: &Object, sizes: &[(&str, usize)]) -> Result<()> {
    for &(key, found) in sizes {
        if let Some(said) = size(section, key)?
            && said != found
        {
            return Err(Error::config(key, format!("{found}, as the tensors have it"), said));
        }
    }
    Ok(())
}

impl FoundKernel {
    /// An error where `config` says another size than the tensors have.
    pub(crate) fn agrees(&self, config: &Object) -> Result<()> {
        let (channels, axes) = (self.out_dim, self.data_dim);
        // Where fft_padding stands, it is the convolution's sizes that stand beside it, not a network's.
        if given(config, "fft_padding") {
            agree(config, &[("hidden_dim", channels), ("data_dim", axes)])?;
        }
        if let Some(mask) = config.get("mask").and_then(Value::as_object) {
            agree(mask, &[("num_channels", channels), ("data_dim", axes)])?;
        }
        let Some(section) = self.section(config) else { return Ok(()) };
        let sizes = [
            ("out_dim", channels),
            ("data_dim", axes),
            ("embedding_dim", self.embedding_dim),
            ("mlp_hidden_dim", self.mlp_hidden_dim),
            ("num_layers", self.num_layers),
        ];
        agree(section, &sizes)?;
        self.agrees_on_frequencies(section)
    }

    /// The part of a config.json that speaks of the kernel. The whole of it may be a network's, whose
    /// `num_layers` is another thing.
    fn section<'a>(&self, config: &'a Object) -> Option<&'a Object> {
        match config.get("kernel").and_then(Value::as_object) {
            None if self.prefix.is_empty() || given(config, "mlp_hidden_dim") => Some(config),
            section => section,
        }
    }

    fn agrees_on_frequencies(&self, section: &Object) -> Result<()> {
        let scale = join(&self.prefix, "positional_embedding.omega_0_scale");
        let key = "learnable_omega_0";
        match flag(section, key)? {
            Some(false) if self.learnable => {
                return Err(Error::config(key, format!("true, as there is {scale}"), false));
            }
            Some(true) if !self.learnable => {
                return Err(Error::config(key, format!("false, as there is no {scale}"), true));
            }
            _ => {}
        }
        let bound = ["omega_0_scale_min", "omega_0_scale_max"];
        match bound.into_iter().find(|key| given(section, key)) {
            Some(key) if !self.learnable => {
                Err(Error::config(key, format!("a tensor {scale} that it bounds"), "none"))
            }
            _ => Ok(()),
        }
    }
}
