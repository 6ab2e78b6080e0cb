//! What the topics share: reference numbers, and small checkpoints written by hand.

use std::fmt::{Debug, Display};
use std::sync::Arc;

use candle_core::{DType, Device};
use film_core::checkpoint::Checkpoint;
use film_core::{KernelFilmConfig, KernelFilmGenerator, init};
use tempfile::TempDir;

pub(crate) use crate::reference::{
    cases, fixture, flat_truth, numbers, random, relative_error, tensor,
};

/// A JSON fixture.
pub(crate) fn json_fixture(name: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

/// A fresh generator, drawn from seed 0.
pub(crate) fn fresh(config: &KernelFilmConfig, dtype: DType) -> KernelFilmGenerator {
    let vb = init::var_builder(&candle_nn::VarMap::new(), 0, dtype, &Device::Cpu);
    KernelFilmGenerator::new(config, vb).unwrap()
}

/// The one line an error says.
pub(crate) fn message<T: Debug, E: Display>(result: Result<T, E>) -> String {
    let text = result.unwrap_err().to_string();
    assert!(!text.contains('\n'), "more than one line: {text}");
    text
}

/// All bytes that a reader of blocks hands over.
pub(crate) fn gathered(
    read: impl FnOnce(&mut dyn FnMut(&[u8]) -> film_core::Result<()>) -> film_core::Result<()>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let gather = &mut |block: &[u8]| {
        bytes.extend_from_slice(block);
        Ok(())
    };
    read(gather).unwrap();
    bytes
}

/// The bytes of a safetensors file with this header and these data.
pub(crate) fn safetensors_bytes(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A safetensors file of float32 tensors; tensor number i (from 0) is filled with i.
pub(crate) fn safetensors_of(tensors: &[(&str, &[usize])]) -> Vec<u8> {
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (index, (name, shape)) in tensors.iter().enumerate() {
        let start = data.len();
        let count = shape.iter().product();
        data.extend(std::iter::repeat_n((index as f32).to_le_bytes(), count).flatten());
        entries.push(format!(
            "{name:?}: {{\"dtype\": \"F32\", \"shape\": {shape:?}, \"data_offsets\": [{start}, {}]}}",
            data.len()
        ));
    }
    let header = format!("{{{}}}", entries.join(", "));
    // Padded, as the format's own writer does.
    let padding = header.len().next_multiple_of(8) - header.len();
    safetensors_bytes(&format!("{header}{}", " ".repeat(padding)), &data)
}

/// A folder of these files, which vanishes with the value.
pub(crate) fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

/// An opened checkpoint of float32 tensors, with a config.json where one is given.
pub(crate) fn small_checkpoint(
    tensors: &[(&str, &[usize])],
    config: Option<&str>,
) -> (TempDir, Arc<Checkpoint>) {
    let folder = folder(&[("model.safetensors", &safetensors_of(tensors))]);
    if let Some(config) = config {
        std::fs::write(folder.path().join("config.json"), config).unwrap();
    }
    let checkpoint = Arc::new(Checkpoint::open(folder.path()).unwrap());
    (folder, checkpoint)
}
