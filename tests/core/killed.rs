//! The training example, killed at any moment: what it saved is whole, and it goes on from there.
#![allow(clippy::print_stderr, reason = "a test that cannot run here says so")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use candle_core::Device;
use film_core::checkpoint::Checkpoint;
use film_core::init::Stream;

/// How often it is killed; `FILM_KILLS` says otherwise.
fn kills() -> u32 {
    std::env::var("FILM_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

/// The example's program, built beside this one by `cargo test` unless it is told to build a test alone.
fn example() -> Option<PathBuf> {
    let here = std::env::current_exe().ok()?;
    let name = format!("train_conditional_kernels{}", std::env::consts::EXE_SUFFIX);
    let example = here.parent()?.parent()?.join("examples").join(name);
    example.is_file().then_some(example)
}

/// The steps that the saved state has made; every tensor of state and model can be read.
fn steps(folder: &Path) -> i64 {
    for file in ["state.safetensors", "model.safetensors"] {
        let checkpoint = Checkpoint::open(folder.join(file)).unwrap();
        for info in checkpoint.tensors() {
            checkpoint.load(info, &Device::Cpu).unwrap();
        }
    }
    for file in ["training.json", "config.json"] {
        let text = std::fs::read(folder.join(file)).unwrap();
        serde_json::from_slice::<serde_json::Value>(&text).unwrap();
    }
    let state = Checkpoint::open(folder.join("state.safetensors")).unwrap();
    state.load(state.get("steps").unwrap(), &Device::Cpu).unwrap().to_scalar().unwrap()
}

#[test]
fn a_training_that_is_killed_goes_on() {
    let Some(example) = example() else {
        eprintln!("skipped: the example train_conditional_kernels is not built");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let command = |arguments: &[&str]| {
        let mut command = Command::new(&example);
        command.arg(&path).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let fresh = ["--steps", "1000000", "--batch", "1", "--every", "1", "--stop-after", "1"];
    assert!(command(&fresh).status().unwrap().success());
    let clean = std::fs::read_dir(&path).unwrap().count();
    let (mut moment, mut made, mut strays) = (Stream::new(5, "kill"), steps(&path), 0);
    assert_eq!(made, 1);
    for _ in 0..kills() {
        let mut child = command(&["--resume", "--every", "1"]).spawn().unwrap();
        std::thread::sleep(Duration::from_secs_f64(moment.uniform(0.0, 0.6)));
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());
        let now = steps(&path);
        assert!(now >= made, "{now} steps after {made}");
        made = now;
        strays += u32::from(std::fs::read_dir(&path).unwrap().count() > clean);
    }
    eprintln!("training: {} killed, {strays} of them while writing, {made} steps", kills());
    let stop = (made + 1).to_string();
    let last = command(&["--resume", "--stop-after", &stop]).status().unwrap();
    assert!(last.success());
    assert_eq!(steps(&path), made + 1);
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), clean, "something was left behind");
}
