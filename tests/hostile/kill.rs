//! Killed at any moment, a command leaves the old file or the new one, whole, and the next run leaves nothing else.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::refusal::film_tools;
use crate::support::{listing, program};
use crate::writers::{configs, shards, standing};

/// How often each command is killed; `FILM_KILLS` says otherwise.
fn kills() -> u32 {
    std::env::var("FILM_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

/// Runs one of two command lines again and again and kills it at any time of its life. The two write `files`, each
/// with bytes of its own.
fn survives(folder: &Path, commands: [&[&str]; 2], files: &[&str]) {
    let bytes = || -> Vec<Vec<u8>> {
        files.iter().map(|file| std::fs::read(folder.join(file)).unwrap()).collect()
    };
    let begun = Instant::now();
    let whole = commands.map(|command| {
        let ending = film_tools(folder, command);
        assert_eq!(ending.code, Some(0), "{}", ending.stderr);
        bytes()
    });
    let life = begun.elapsed() / 2;
    assert!(whole[0] != whole[1], "nobody could tell them apart");
    let clean = listing(folder);
    let mut moment = film_core::init::Stream::new(kills().into(), "kill");
    let (mut killed, mut strays) = (0, 0);
    for round in 0..kills() {
        let mut command = program(folder);
        command.args(commands[round as usize % 2]).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(life.mul_f64(moment.uniform(0.0, 1.1)));
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        for (file, (found, [a, b])) in files.iter().zip(bytes().iter().zip(pairs(&whole))) {
            assert!(found == a || found == b, "{file} is neither the old one nor the new one");
        }
        strays += u32::from(listing(folder) != clean);
    }
    eprintln!("{}: {killed} killed, {strays} of them while writing", commands[0][0]);
    assert!(killed > 0, "each was faster");
    assert_eq!(film_tools(folder, commands[1]).code, Some(0));
    assert_eq!(listing(folder), clean);
    assert_eq!(bytes(), whole[1]);
}

/// The two contents of each file.
fn pairs(whole: &[Vec<Vec<u8>>; 2]) -> impl Iterator<Item = [&Vec<u8>; 2]> {
    whole[0].iter().zip(&whole[1]).map(|(a, b)| [a, b])
}

/// Runs one of two command lines that write several files into `o`, in place of those of the other, and kills it just
/// after the first name has changed. Each file is the old one or the new one. All are of one command, but for the
/// microseconds in which the other names change: a kill that falls there is counted, and the count is printed.
fn survives_together(commands: [&[&str]; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("o");
    let run = |command: &[&str]| {
        assert_eq!(film_tools(folder.path(), command).code, Some(0));
        standing(&output)
    };
    let whole = commands.map(run);
    assert!(whole[0].keys().eq(whole[1].keys()), "not of the same names");
    assert!(whole[0].iter().zip(&whole[1]).filter(|(a, b)| a != b).count() > 1);
    let names: Vec<PathBuf> = whole[0].keys().map(|name| output.join(name)).collect();
    let places = || -> Vec<Option<u64>> {
        names.iter().map(|name| Some(name.metadata().ok()?.ino())).collect()
    };
    let (mut killed, mut torn) = (0, 0);
    for round in 0..kills() as usize {
        let (command, new) = (commands[round % 2], &whole[round % 2]);
        let before = places();
        let mut child = program(folder.path());
        let mut child = child.args(command).stderr(Stdio::null()).spawn().unwrap();
        while places() == before && child.try_wait().unwrap().is_none() {}
        std::thread::sleep(Duration::from_micros(150));
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        let found = standing(&output);
        for (name, bytes) in &found {
            let known = whole.iter().any(|whole| whole.get(name) == Some(bytes));
            assert!(known, "{name} is neither the old one nor the new one");
        }
        torn += u32::from(!whole.contains(&found));
        if found != *new {
            assert!(run(command) == *new);
        }
        assert!(listing(&output).iter().eq(new.keys()), "something was left behind");
    }
    eprintln!("{}: {killed} killed, {torn} of them between two names", commands[0][0]);
}

#[test]
fn init_with_another_config() {
    let [a, b] = configs();
    survives_together([&a, &b]);
}

#[test]
fn convert_to_shards_of_the_same_names() {
    let model = crate::support::fixture("hybrid_model");
    let [a, b] = shards(&model);
    survives_together([&a, &b]);
}

#[test]
fn init() {
    let folder = tempfile::tempdir().unwrap();
    let command = |seed| {
        let sizes =
            "--cond-dim 384 --kernel-hidden-dim 32 --num-film-layers 3 --film-hidden-dim 1024";
        let line = format!("init --output gen --force {sizes} --seed {seed}");
        line.split(' ').map(String::from).collect::<Vec<_>>()
    };
    let [a, b] = [command(0), command(1)];
    let [a, b] = [&a, &b].map(|line| line.iter().map(String::as_str).collect::<Vec<_>>());
    survives(folder.path(), [&a, &b], &["gen/config.json", "gen/model.safetensors"]);
}

#[test]
fn convert() {
    let folder = tempfile::tempdir().unwrap();
    let model = crate::support::fixture("hybrid_model");
    let command = |output, dtype| ["convert", model.as_str(), output, "--force", "--dtype", dtype];
    let file = "o.safetensors";
    survives(folder.path(), [&command(file, "f32"), &command(file, "f64")], &[file]);
    let folder = tempfile::tempdir().unwrap();
    let files = ["o/config.json", "o/model.safetensors"];
    survives(folder.path(), [&command("o", "f32"), &command("o", "f64")], &files);
}

#[test]
fn extract() {
    let folder = tempfile::tempdir().unwrap();
    let model = crate::support::fixture("hybrid_model");
    let command =
        |prefix| ["extract", model.as_str(), "--prefix", prefix, "--output", "o", "--force"];
    // The two have the same config.json.
    survives(folder.path(), [&command("blocks.0"), &command("blocks.1")], &["o/model.safetensors"]);
}

#[test]
fn run() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = crate::support::fixture("generator/production_384x32x3_h64");
    let command = |seed| {
        [
            "run",
            checkpoint.as_str(),
            "--random",
            "2000",
            "--output",
            "o.npz",
            "--force",
            "--seed",
            seed,
        ]
    };
    survives(folder.path(), [&command("0"), &command("1")], &["o.npz"]);
}
