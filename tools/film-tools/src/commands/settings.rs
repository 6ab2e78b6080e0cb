//! What config.json says of a kernel, the flags over it, and who is to blame for a value that cannot be.

use anyhow::Result;
use film_core::Error;
use film_core::checkpoint::{Checkpoint, FoundKernel, KernelSettings};
use film_core::conv::Boundary;

use super::{Usage, selection};
use crate::args::{Padding, PaddingName, Settings};

impl Settings {
    /// These over what the checkpoint's config.json says.
    pub(super) fn over_config(
        &self,
        found: &FoundKernel,
        checkpoint: &Checkpoint,
    ) -> Result<KernelSettings> {
        if self.omega_0.is_some() && !found.learnable {
            let text =
                "--omega-0: the kernel's frequencies are fixed, its weights hold them already";
            return Err(Usage(text.into()).into());
        }
        let known = checkpoint.kernel_settings(found)?;
        let l_cache = self.l_cache.as_ref().map(|lengths| lengths.0.clone());
        Ok(KernelSettings {
            omega_0: self.omega_0.or(known.omega_0),
            l_cache: l_cache.or(known.l_cache),
            film_after_pos_embed: self.film_after_pos_embed.or(known.film_after_pos_embed),
            mask: known.mask.filter(|_| !self.no_mask),
            ..known
        })
    }

    /// An error about a setting names the flag or the config.json that gave it.
    pub(super) fn blame(&self, error: Error, checkpoint: &Checkpoint) -> anyhow::Error {
        let Error::Config { key, expected, found } = error.cause() else {
            return selection(error, checkpoint);
        };
        let flag = match key.as_str() {
            "L_cache" => self.l_cache.is_some().then_some("--l-cache"),
            "omega_0" => self.omega_0.is_some().then_some("--omega-0"),
            "film_after_pos_embed" => {
                self.film_after_pos_embed.is_some().then_some("--film-after-pos-embed")
            }
            "omega_0_scale_min" | "omega_0_scale_max" | "min_std" | "max_std" | "mask"
            | "fft_padding" | "is_causal" => None,
            _ => return selection(error, checkpoint),
        };
        match (flag, checkpoint.config_path()) {
            (Some(flag), _) => Usage(format!("{flag}: expected {expected}, found {found}")).into(),
            (None, Some(path)) => error.in_file(path).into(),
            (None, None) => selection(error, checkpoint),
        }
    }
}

impl Padding {
    /// Whether one of the flags is there.
    pub(super) fn given(&self) -> bool {
        self.causal || !self.padding.is_empty()
    }

    /// These over what `settings` say, of a kernel with that many axes. An L_cache that belongs to other paddings is
    /// halved for a ring; the other way it cannot be told.
    pub(super) fn over_config(
        &self,
        settings: KernelSettings,
        axes: usize,
    ) -> Result<KernelSettings> {
        let before = settings.boundaries.clone().unwrap_or_default();
        let mut settings = self.over(settings, axes)?;
        let all = |values: &[Boundary]| match values {
            [one] => vec![*one; axes],
            several => several.to_vec(),
        };
        let (before, now) = (all(&before), all(settings.boundaries.as_deref().unwrap_or_default()));
        let Some(lengths) = &mut settings.l_cache else { return Ok(settings) };
        for (axis, (before, now)) in before.iter().zip(now).enumerate() {
            match (*before == Boundary::Circular, now == Boundary::Circular) {
                (true, false) => {
                    let text = format!(
                        "--l-cache: expected with {now} padding on axis {axis}: the L_cache in config.json is that of \
                         a ring, about half of it"
                    );
                    return Err(Usage(text).into());
                }
                (false, true) => {
                    if let [one] = lengths.as_slice() {
                        *lengths = vec![*one; axes];
                    }
                    if let Some(length) = lengths.get_mut(axis) {
                        *length = length.div_ceil(2);
                    }
                }
                _ => {}
            }
        }
        Ok(settings)
    }

    /// These over what `settings` say, of a kernel with that many axes; L_cache stays.
    pub(super) fn over(&self, settings: KernelSettings, axes: usize) -> Result<KernelSettings> {
        let usage = |text: String| Err(Usage(text).into());
        if self.causal && self.padding.contains(&PaddingName::Circular) {
            return usage("--causal goes with zero padding, not with circular".into());
        }
        if self.causal && axes > 1 {
            return usage(format!("--causal: expected one axis, found {axes}"));
        }
        if self.padding.len() > 1 && self.padding.len() != axes {
            let found = self.padding.len();
            return usage(format!(
                "--padding: expected 1 or {axes}, one for each axis, found {found}"
            ));
        }
        let named = self.padding.iter().map(|padding| match padding {
            PaddingName::Zero if self.causal => Boundary::Causal,
            PaddingName::Zero => Boundary::Zero,
            PaddingName::Circular => Boundary::Circular,
        });
        let boundaries = match (self.padding.is_empty(), self.causal) {
            (false, _) => Some(named.collect()),
            (true, true) => Some(vec![Boundary::Causal]),
            (true, false) => settings.boundaries,
        };
        Ok(KernelSettings { boundaries, ..settings })
    }
}
