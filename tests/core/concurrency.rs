//! Modules in many threads, and checkpoints that are replaced while they are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device, Tensor};
use film_core::checkpoint::{AtomicFile, Checkpoint, Discovery, save_tensors};
use film_core::conv::Convolution;
use film_core::mask::Mask;
use film_core::optim::{Ema, GroupedAdamW, ParameterGroups};
use film_core::siren::SirenKernel;
use film_core::{
    CKConvNd, Condition, ConditionalKernel, Error, Film, KernelFilmGenerator,
    RegisterCompressConcat, RegisterEncoder, RegisterPooling,
};

use crate::support::{fixture, numbers, random, tensor};

/// Everything that is built or opened may be handed to other threads and shared among them.
#[test]
fn modules_are_send_and_sync() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<KernelFilmGenerator>();
    shared::<Film>();
    shared::<RegisterPooling>();
    shared::<RegisterCompressConcat>();
    shared::<RegisterEncoder>();
    shared::<SirenKernel>();
    shared::<Mask>();
    shared::<ConditionalKernel>();
    shared::<Convolution>();
    shared::<CKConvNd>();
    shared::<GroupedAdamW>();
    shared::<ParameterGroups>();
    shared::<Ema>();
    shared::<Checkpoint>();
    shared::<Discovery>();
    shared::<AtomicFile>();
    shared::<Error>();
}

/// Generator, SIREN, mask, convolution and shortcut, all at once in many threads.
#[test]
fn many_threads_get_the_same_bits_from_one_module() {
    let folder = fixture("ckconv/2d_zero_gaussian");
    let checkpoint = Arc::new(Checkpoint::open(&folder).unwrap());
    let discovery = checkpoint.discover().unwrap();
    let found = discovery.conv(None).unwrap();
    let settings = checkpoint.kernel_settings(&found.kernel).unwrap();
    let (dtype, device) = (DType::F32, Device::Cpu);
    let module = CKConvNd::load(&checkpoint, found, &settings, dtype, &device).unwrap();
    let io = Checkpoint::open(folder.join("io.safetensors")).unwrap();
    let signal = tensor(&io, "input", DType::F32);
    let conditioning = tensor(&io, "conditioning", DType::F32);
    let compute = || {
        let output = module.forward(&signal, Condition::Conditioning(&conditioning)).unwrap();
        output.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let alone = compute();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..10).for_each(|_| assert!(compute() == alone)));
        }
    });
}

/// A checkpoint that was opened stays what it was; one that is opened is the old or the new.
#[test]
fn readers_of_a_checkpoint_that_is_replaced_see_one_of_the_two() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let generation = |number: f64| {
        let tensors: Vec<(String, Tensor)> = (0..20)
            .map(|index| {
                let zero = (random("x", &[50, 20], DType::F32) * 0.0).unwrap();
                (format!("t{index}"), (zero + number).unwrap())
            })
            .collect();
        let tensors = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
        save_tensors(&path, tensors, true).unwrap();
    };
    generation(0.0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut last = 0.0;
                while !done.load(Ordering::Relaxed) {
                    let checkpoint = Checkpoint::open(&path).unwrap();
                    let names = checkpoint.tensors().iter().map(|info| info.name.as_str());
                    let values: Vec<f64> = names
                        .flat_map(|name| numbers(&tensor(&checkpoint, name, DType::F64)))
                        .collect();
                    assert_eq!(values.len(), 20 * 1000);
                    assert!(values.iter().all(|value| *value == values[0]), "of two generations");
                    assert!(values[0] >= last, "an older one after a newer one");
                    last = values[0];
                }
            });
        }
        (1..200).for_each(|number| generation(f64::from(number)));
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
