//! The example that trains: it learns, and a run that stopped goes on to the same bits.

use std::path::Path;

use film_core::checkpoint::{Checkpoint, KernelSettings};
use film_core::health::Thresholds;

use crate::support::{numbers, tensor};

#[path = "../../crates/film-core/examples/train_conditional_kernels/folder.rs"]
mod folder;
#[path = "../../crates/film-core/examples/train_conditional_kernels/model.rs"]
mod model;
#[path = "../../crates/film-core/examples/train_conditional_kernels/pictures.rs"]
mod pictures;
#[path = "../../crates/film-core/examples/train_conditional_kernels/task.rs"]
mod task;
#[path = "../../crates/film-core/examples/train_conditional_kernels/training.rs"]
mod training;

use folder::Folder;
use training::{Settings, Training};

const SETTINGS: Settings = Settings { steps: 8, batch: 2, learning_rate: 3e-3, seed: 1 };

fn steps(training: &mut Training, count: u64) {
    for _ in 0..count {
        training.step().unwrap();
    }
}

#[test]
fn a_resumed_run_has_the_bits_of_one_that_never_stopped() {
    let [whole, parts] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let mut training = Training::new(SETTINGS).unwrap();
    steps(&mut training, 8);
    let error = training.evaluate().unwrap();
    Folder::create(whole.path(), false).unwrap().save(&training).unwrap();

    let mut training = Training::new(SETTINGS).unwrap();
    let folder = Folder::create(parts.path(), false).unwrap();
    steps(&mut training, 3);
    training.evaluate().unwrap();
    folder.save(&training).unwrap();
    let state = std::fs::read(parts.path().join("state.safetensors")).unwrap();
    // A step further, but stopped between the two files that make a state.
    steps(&mut training, 1);
    folder.save(&training).unwrap();
    std::fs::write(parts.path().join("state.safetensors"), state).unwrap();
    drop(training);

    let (folder, mut training) = Folder::resume(parts.path()).unwrap();
    assert_eq!((training.steps(), training.history.losses.len()), (3, 3));
    steps(&mut training, 5);
    assert_eq!(training.evaluate().unwrap().to_bits(), error.to_bits());
    training.history.errors.remove(0);
    folder.save(&training).unwrap();
    for file in ["config.json", "model.safetensors", "state.safetensors", "training.json"] {
        let read = |folder: &Path| std::fs::read(folder.join(file)).unwrap();
        assert_eq!(read(whole.path()), read(parts.path()), "{file}");
    }
}

#[test]
fn steps_lower_the_loss_and_pictures_show_it() {
    let directory = tempfile::tempdir().unwrap();
    let folder = Folder::create(directory.path(), false).unwrap();
    let mut training = Training::new(Settings { steps: 40, batch: 4, ..SETTINGS }).unwrap();
    let before = training.evaluate().unwrap();
    steps(&mut training, 40);
    let after = training.evaluate().unwrap();
    assert!(after < 0.95 * before, "{before} → {after}");
    let health = training.model.health(&training.held_out.registers).unwrap().unwrap();
    assert!(health.findings(&Thresholds::default()).is_empty());
    folder.save(&training).unwrap();
    folder.illustrate(&training).unwrap();
    for file in ["loss.png", "kernels.png"] {
        let bytes = std::fs::read(directory.path().join(file)).unwrap();
        assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 2000, "{file}");
    }
}

#[test]
fn the_checkpoint_draws_what_was_learned() {
    use film_core::{Condition, ConditionalKernel};
    let directory = tempfile::tempdir().unwrap();
    let folder = Folder::create(directory.path(), false).unwrap();
    let mut training = Training::new(SETTINGS).unwrap();
    steps(&mut training, 2);
    folder.save(&training).unwrap();
    folder.illustrate(&training).unwrap();

    let checkpoint = std::sync::Arc::new(Checkpoint::open(directory.path()).unwrap());
    let settings = KernelSettings::from_json(&checkpoint.config().unwrap().unwrap()).unwrap();
    let discovery = checkpoint.discover().unwrap();
    let found = discovery.kernel(None).unwrap();
    let (dtype, device) = (candle_core::DType::F32, candle_core::Device::Cpu);
    let kernel = ConditionalKernel::load(&checkpoint, found, &settings, dtype, &device).unwrap();
    let held_out = Checkpoint::open(directory.path().join("held_out.safetensors")).unwrap();
    let registers = tensor(&held_out, "registers", dtype);
    let (drawn, _) = kernel.draw(&task::LENGTHS, Condition::Registers(&registers)).unwrap();
    assert_eq!(numbers(&drawn), numbers(&training.model.draw(&registers).unwrap()));
    assert_eq!(drawn.dims(), tensor(&held_out, "target", dtype).dims());
}

#[test]
fn runs_are_not_replaced_unasked_nor_taken_up_broken() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let text = |result: anyhow::Result<(Folder, Training)>| format!("{:#}", result.err().unwrap());
    assert!(text(Folder::resume(path)).contains("training.json: cannot open"));
    let folder = Folder::create(path, false).unwrap();
    let mut training = Training::new(SETTINGS).unwrap();
    steps(&mut training, 1);
    folder.save(&training).unwrap();
    let refused = format!("{:#}", Folder::create(path, false).unwrap_err());
    assert!(refused.contains("exists already: give --resume to go on"), "{refused}");
    Folder::create(path, true).unwrap();
    // What was begun anew has nothing to go on from.
    assert!(text(Folder::resume(path)).contains("state.safetensors"));
    std::fs::write(path.join("training.json"), r#"{"settings": {}}"#).unwrap();
    assert!(text(Folder::resume(path)).contains("training.json: "));
}
