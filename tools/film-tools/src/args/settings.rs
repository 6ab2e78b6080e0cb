//! Flags that tell of kernels and convolutions what shapes do not.
#![allow(rustdoc::broken_intra_doc_links, reason = "these comments are the help's text")]

use clap::{Args, ValueEnum};

use super::{Lengths, lengths, positive};

// What shapes do not tell of a kernel.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// ω₀ of a kernel with learned frequencies
    #[arg(long, value_name = "W", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) omega_0: Option<f64>,
    /// Length for which an axis of the kernel spans [-1, 1], for all or each; on a circular one about half the signal's
    #[arg(long, value_name = "N[xN]", value_parser = lengths)]
    pub(crate) l_cache: Option<Lengths>,
    /// Whether the first (γ, β) modulates the embedding: true or false
    #[arg(long, value_name = "BOOL")]
    pub(crate) film_after_pos_embed: Option<bool>,
    /// Leave out the mask
    #[arg(long)]
    pub(crate) no_mask: bool,
}

// What a convolution's axes take beyond their ends.
#[derive(Debug, Args)]
pub(crate) struct Padding {
    /// Beyond the ends: zero or circular, for all axes or each: zero,circular
    #[arg(long, value_name = "P[,P]", value_delimiter = ',', hide_possible_values = true)]
    pub(crate) padding: Vec<PaddingName>,
    /// Outputs see no later input; one axis with zero padding
    #[arg(long)]
    pub(crate) causal: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PaddingName {
    Zero,
    Circular,
}
