//! A tensor's bytes → their SHA-256.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::parallel::{self, BLOCK};
use super::{Checkpoint, TensorInfo};
use crate::error::Result;

/// The SHA-256 of a tensor's stored bytes (FIPS 180-4); as text, 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Checkpoint {
    /// The SHA-256 of each tensor's bytes as they are stored, whatever their place in the file. Dtype and shape do not
    /// take part.
    ///
    /// # Errors
    /// If a file changed under us.
    pub fn sha256(&self, tensors: &[&TensorInfo]) -> Result<Vec<Digest>> {
        let hash = |buffer: &mut Vec<u8>, tensor: &&TensorInfo| {
            let mut hash = Sha256::new();
            self.for_blocks(tensor, buffer, |block| {
                hash.update(block);
                Ok(())
            })?;
            Ok(Digest(hash.finalize().into()))
        };
        parallel::map(tensors, || vec![0; BLOCK], hash).collect()
    }
}
