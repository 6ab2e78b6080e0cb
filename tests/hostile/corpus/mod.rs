//! Files that are no checkpoint, configuration or input, each with what the program has to say about it.
//!
//! They are made when they are tried, so that the large ones need not be kept.

mod config;
mod index;
mod json;
mod npy;
mod pickle;
mod safetensors;
mod special;

use std::path::Path;

use crate::support::{fixture, safetensors_bytes};

/// A hostile file.
pub(crate) struct Case {
    /// What is wrong with it.
    pub(crate) name: String,
    /// Makes it, and what stands beside it, in a folder.
    pub(crate) make: Box<dyn Fn(&Path)>,
    /// What the program is given to open.
    pub(crate) open: &'static str,
    /// Which file the line must name,
    pub(crate) file: &'static str,
    /// and what it must say.
    pub(crate) says: &'static str,
    /// How many bytes the program has to look at, for its memory's sake.
    pub(crate) bytes: u64,
}

impl Case {
    /// Whether it is a pickle, which `convert` reads.
    pub(crate) fn is_pickle(&self) -> bool {
        self.open == pickle::FILE
    }

    /// Whether it is a checkpoint that all commands read.
    pub(crate) fn is_checkpoint(&self) -> bool {
        !self.is_pickle() && !self.is_input()
    }

    /// Whether it is a config.json, which not every command reads.
    pub(crate) fn is_config(&self) -> bool {
        self.file.ends_with("config.json")
    }

    /// Whether it is conditioning, not a checkpoint.
    pub(crate) fn is_input(&self) -> bool {
        self.open == npy::FILE || self.open == json::FILE
    }
}

/// All of them.
pub(crate) fn cases() -> Vec<Case> {
    let checkpoints = [safetensors::cases(), index::cases(), config::cases(), pickle::cases()];
    let others = [npy::cases(), json::cases(), special::cases()];
    checkpoints.into_iter().chain(others).flatten().collect()
}

/// The bytes of a file among the fixtures.
fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap()
}

/// A case of one file of these bytes.
fn file(name: &str, path: &'static str, bytes: Vec<u8>, says: &'static str) -> Case {
    Case {
        name: name.into(),
        open: path,
        file: path,
        says,
        bytes: bytes.len() as u64,
        make: Box::new(move |folder| std::fs::write(folder.join(path), &bytes).unwrap()),
    }
}

/// A case of one file of many bytes, which are made when it is tried.
fn large(
    name: &str,
    path: &'static str,
    bytes: u64,
    make: fn() -> Vec<u8>,
    says: &'static str,
) -> Case {
    let make = move |folder: &Path| std::fs::write(folder.join(path), make()).unwrap();
    Case { make: Box::new(make), bytes, ..file(name, path, vec![], says) }
}

/// A character that takes one byte in JSON, and six in a message.
const DELETE: &str = "\u{7f}";

/// A small valid file of two tensors.
pub(crate) fn whole() -> Vec<u8> {
    let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}}"#;
    safetensors_bytes(header, &[1; 11])
}
