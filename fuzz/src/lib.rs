//! What the fuzz targets share: a folder for the files that the library opens, and what is done with a checkpoint.
//!
//! The library reads files and nothing else, so that is what the targets give it. `TMPDIR=/dev/shm` keeps them in
//! memory.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use candle_core::{DType, Device};
use film_core::checkpoint::{Checkpoint, FoundKernel, KernelSettings};
use film_core::conv::Boundary;
use film_core::{CKConvNd, ConditionalKernel, KernelFilmGenerator};
use tempfile::TempDir;

/// A folder of this process.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::Builder::new().prefix("film-fuzz-").tempdir().unwrap()).path()
}

/// Writes a file of the folder.
pub fn write(name: &str, bytes: &[u8]) {
    std::fs::write(folder().join(name), bytes).unwrap();
}

/// The bytes of a safetensors file with this header, without its data.
pub fn headed(header: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header].concat()
}

/// An error is one line for a person.
pub fn check<T>(result: film_core::Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

/// Numbers that are read or computed at most.
const SMALL: usize = 1 << 12;

/// Looks for modules in a checkpoint, and builds those that are small.
pub fn examine(checkpoint: Checkpoint) {
    let checkpoint = Arc::new(checkpoint);
    let names: Vec<_> = checkpoint.tensors().iter().map(|tensor| &tensor.name).collect();
    assert!(names.is_sorted() && names.windows(2).all(|pair| pair[0] != pair[1]));
    for tensor in checkpoint.tensors().iter().filter(|tensor| tensor.count() <= SMALL).take(64) {
        assert_eq!(checkpoint.get(&tensor.name), Some(tensor));
        if let Some(loaded) = check(checkpoint.load(tensor, &Device::Cpu)) {
            assert_eq!(loaded.dims(), tensor.shape);
        }
    }
    let Some(discovery) = check(checkpoint.discover()) else { return };
    let vb = checkpoint.var_builder(DType::F32, &Device::Cpu);
    for found in discovery.generators() {
        let _ = check(discovery.generator(Some(&found.prefix)));
        let Some(config) = check(found.config(None)) else { continue };
        let _ = check(config.flops());
        if found.parameters() <= SMALL as u64 {
            // What was found can be built.
            KernelFilmGenerator::new(&config, vb.pp(&found.prefix)).unwrap();
        }
    }
    for found in discovery.kernels() {
        let _ = check(discovery.kernel(Some(&found.prefix)));
        let Some(settings) = settings(&checkpoint, found) else { continue };
        let _ = check(found.config(&settings));
        if found.parameters <= SMALL as u64 && found.data_dim <= 3 {
            let (dtype, device) = (DType::F32, Device::Cpu);
            let loaded = ConditionalKernel::load(&checkpoint, found, &settings, dtype, &device);
            if let Some(kernel) = check(loaded) {
                kernel.draw(&vec![2; found.data_dim], film_core::Condition::None).unwrap();
            }
        }
    }
    for found in discovery.convs().iter().filter(|found| found.kernel.parameters <= SMALL as u64) {
        let Some(settings) = settings(&checkpoint, &found.kernel) else { continue };
        let (dtype, device) = (DType::F32, Device::Cpu);
        let _ = check(CKConvNd::load(&checkpoint, found, &settings, dtype, &device));
    }
}

/// What config.json says of a kernel, and something for what it does not say.
fn settings(checkpoint: &Checkpoint, found: &FoundKernel) -> Option<KernelSettings> {
    let told = check(checkpoint.kernel_settings(found))?;
    Some(KernelSettings {
        omega_0: told.omega_0.or(Some(1.0)),
        l_cache: told.l_cache.or(Some(vec![3])),
        film_after_pos_embed: told.film_after_pos_embed.or(Some(false)),
        boundaries: told.boundaries.or(Some(vec![Boundary::Zero])),
        ..told
    })
}
