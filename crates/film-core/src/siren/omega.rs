//! The frequencies of the positional embedding: the one thing in which the kernel types differ.
//!
//! | type | [`Omega`] | embedding |
//! |---|---|---|
//! | plain | `Fixed` | sin(W x + b), W ~ U(±2π·ω₀/D) |
//! | multi-ω | `Multi` | the same, row k with ω_k |
//! | block-diagonal multi-ω | `Blocks` | the same, ω constant over blocks of rows; block-diagonal start |
//! | learnable ω | `Learnable` | sin(2π·ω₀ · s ⊙ (W x + b)), W ~ U(±1/D), s = 1 |
//! | block-diagonal learnable ω | `LearnableBlocks` | the same, s = ω_block/ω₀; block-diagonal start |

use std::f64::consts::TAU;

use crate::error::{Error, Result};
use crate::json::{at_least_1, positive};

/// Which frequencies a kernel starts with, and whether they are learned.
#[derive(Debug, Clone, PartialEq)]
pub enum Omega {
    /// One frequency.
    Fixed {
        /// ω₀.
        omega_0: f64,
    },
    /// One frequency for each row of the embedding.
    Multi {
        /// ω_k, `embedding_dim` of them.
        omegas: Vec<f64>,
    },
    /// One frequency for each block of rows.
    Blocks(Blocks),
    /// One frequency, times a learned factor for each row.
    Learnable {
        /// ω₀.
        omega_0: f64,
        /// The factor.
        scale: Scale,
    },
    /// ω₀ = `omega_0_max`, times a learned factor for each row that starts at ω_block/ω₀.
    LearnableBlocks {
        /// The blocks.
        blocks: Blocks,
        /// The factor.
        scale: Scale,
    },
}

/// Equal groups of rows, each with a frequency of its own, and weights that start block-diagonal.
#[derive(Debug, Clone, PartialEq)]
pub struct Blocks {
    /// Number of groups. Default 8.
    pub num_blocks: usize,
    /// ω of the first group. Default 1.
    pub omega_0_min: f64,
    /// ω of the last group. Default 12.
    pub omega_0_max: f64,
    /// How the others lie between. Default linear.
    pub spacing: Spacing,
    /// Factor on the hidden and out weights outside the diagonal blocks, at init. Default 0.1.
    pub off_block_scale: f64,
}

/// How frequencies lie between the first and the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spacing {
    /// At equal differences.
    #[default]
    Linear,
    /// At equal ratios.
    Log,
}

/// The learned factor `omega_0_scale`.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    /// It is clamped to at least this. Default 0.01.
    pub min: f64,
    /// It is clamped to at most this. Default 2.
    pub max: f64,
    /// Whether the embedding's learning rate is divided by 2π·ω₀. Default false.
    pub scale_learning_rate: bool,
}

impl Default for Blocks {
    fn default() -> Self {
        Self {
            num_blocks: 8,
            omega_0_min: 1.0,
            omega_0_max: 12.0,
            spacing: Spacing::Linear,
            off_block_scale: 0.1,
        }
    }
}

impl Default for Scale {
    fn default() -> Self {
        Self { min: 0.01, max: 2.0, scale_learning_rate: false }
    }
}

impl Blocks {
    /// ω of each group.
    pub fn omegas(&self) -> Vec<f64> {
        let (first, last) = (self.omega_0_min, self.omega_0_max);
        let steps = (self.num_blocks.max(2) - 1) as f64;
        let between = |block: usize| match self.spacing {
            Spacing::Linear => first + (last - first) * block as f64 / steps,
            Spacing::Log => first * libm::pow(last / first, block as f64 / steps),
        };
        (0..self.num_blocks).map(between).collect()
    }

    /// ω of each of `rows` rows.
    fn rows(&self, rows: usize) -> Vec<f64> {
        let each = rows / self.num_blocks;
        self.omegas().into_iter().flat_map(|omega| std::iter::repeat_n(omega, each)).collect()
    }

    fn validate(&self, widths: &[(&str, usize)]) -> Result<()> {
        at_least_1("num_blocks", self.num_blocks)?;
        positive("omega_0_min", self.omega_0_min)?;
        positive("omega_0_max", self.omega_0_max)?;
        if self.omega_0_max < self.omega_0_min {
            let expected = format!("at least omega_0_min, {}", self.omega_0_min);
            return Err(Error::config("omega_0_max", expected, self.omega_0_max));
        }
        if !self.off_block_scale.is_finite() {
            return Err(Error::config("off_block_scale", "a finite number", self.off_block_scale));
        }
        for (key, width) in widths {
            if !width.is_multiple_of(self.num_blocks) {
                let expected = format!("a multiple of num_blocks, {}", self.num_blocks);
                return Err(Error::config(*key, expected, width));
            }
        }
        Ok(())
    }
}

impl Omega {
    /// The blocks, of the block-diagonal types.
    pub fn blocks(&self) -> Option<&Blocks> {
        match self {
            Self::Blocks(blocks) | Self::LearnableBlocks { blocks, .. } => Some(blocks),
            _ => None,
        }
    }

    /// The learned factor, of the learnable types.
    pub fn scale(&self) -> Option<&Scale> {
        match self {
            Self::Learnable { scale, .. } | Self::LearnableBlocks { scale, .. } => Some(scale),
            _ => None,
        }
    }

    /// 2π·ω₀, by which the learnable types multiply in the forward pass.
    pub(super) fn learnable_factor(&self) -> Option<f64> {
        match self {
            Self::Learnable { omega_0, .. } => Some(TAU * omega_0),
            Self::LearnableBlocks { blocks, .. } => Some(TAU * blocks.omega_0_max),
            _ => None,
        }
    }

    /// The bound of each embedding row's uniform start.
    pub(super) fn row_bounds(&self, rows: usize, data_dim: usize) -> Vec<f64> {
        let axes = data_dim as f64;
        let bound = |omega: f64| TAU * omega / axes;
        match self {
            Self::Fixed { omega_0 } => vec![bound(*omega_0); rows],
            Self::Multi { omegas } => omegas.iter().map(|omega| bound(*omega)).collect(),
            Self::Blocks(blocks) => blocks.rows(rows).into_iter().map(bound).collect(),
            Self::Learnable { .. } | Self::LearnableBlocks { .. } => vec![1.0 / axes; rows],
        }
    }

    /// Where the learned factor starts, row by row.
    pub(super) fn scale_start(&self, rows: usize) -> Option<Vec<f64>> {
        match self {
            Self::Learnable { .. } => Some(vec![1.0; rows]),
            Self::LearnableBlocks { blocks, .. } => Some(
                blocks.rows(rows).into_iter().map(|omega| omega / blocks.omega_0_max).collect(),
            ),
            _ => None,
        }
    }

    /// `widths`: embedding_dim first, then the others that blocks must divide.
    pub(super) fn validate(&self, widths: &[(&str, usize)]) -> Result<()> {
        match self {
            Self::Fixed { omega_0 } | Self::Learnable { omega_0, .. } => {
                positive("omega_0", *omega_0)?;
            }
            Self::Multi { omegas } => {
                if omegas.len() != widths[0].1 {
                    let expected =
                        format!("{} of them, one for each row of the embedding", widths[0].1);
                    return Err(Error::config("omega_0", expected, omegas.len()));
                }
                omegas.iter().try_for_each(|omega| positive("omega_0", *omega).map(|_| ()))?;
            }
            Self::Blocks(_) | Self::LearnableBlocks { .. } => {}
        }
        if let Some(blocks) = self.blocks() {
            blocks.validate(widths)?;
        }
        if let Some(scale) = self.scale() {
            positive("omega_0_scale_min", scale.min)?;
            positive("omega_0_scale_max", scale.max)?;
            if scale.max < scale.min {
                let expected = format!("at least omega_0_scale_min, {}", scale.min);
                return Err(Error::config("omega_0_scale_max", expected, scale.max));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_lie_between_the_first_and_the_last() {
        let blocks =
            Blocks { num_blocks: 3, omega_0_min: 1.0, omega_0_max: 9.0, ..Blocks::default() };
        assert_eq!(blocks.omegas(), [1.0, 5.0, 9.0]);
        assert_eq!(Blocks { spacing: Spacing::Log, ..blocks.clone() }.omegas(), [1.0, 3.0, 9.0]);
        assert_eq!(Blocks { num_blocks: 1, ..blocks.clone() }.omegas(), [1.0]);
        assert_eq!(blocks.rows(6), [1.0, 1.0, 5.0, 5.0, 9.0, 9.0]);
    }
}
