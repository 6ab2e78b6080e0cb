//! Writers of one directory at the same time: the checkpoint of one of them stays, and nothing of the others'.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::tempdir;

use crate::support::{fixture, listing, program};

/// Files by their names.
type Files = BTreeMap<String, Vec<u8>>;

/// Two command lines that write weights of the same shapes, and another config.json for each.
pub(crate) fn configs() -> [Vec<&'static str>; 2] {
    let init = "init --output o --force --cond-dim 64 --film-hidden-dim 512";
    let own = [
        "--kernel-hidden-dim 32 --num-film-layers 2 --seed 1",
        "--kernel-hidden-dim 16 --num-film-layers 4 --seed 2",
    ];
    own.map(|own| init.split(' ').chain(own.split(' ')).collect())
}

/// Two command lines that write `model` to shards of the same names.
pub(crate) fn shards(model: &str) -> [Vec<&str>; 2] {
    [("200KB", "f32"), ("400KB", "f64")].map(|(size, dtype)| {
        vec!["convert", model, "o", "--force", "--max-shard-size", size, "--dtype", dtype]
    })
}

/// The files in a folder, temporary ones aside.
pub(crate) fn standing(folder: &Path) -> Files {
    let mut names = listing(folder);
    names.retain(|name| !name.starts_with(".film-"));
    names
        .into_iter()
        .map(|name| (name.clone(), std::fs::read(folder.join(name)).unwrap()))
        .collect()
}

/// The exit codes of two commands that are started in `folder`, the second a little later.
fn at_once(folder: &Path, commands: [&[&str]; 2], later: Duration) -> [Option<i32>; 2] {
    let children = commands.map(|command| {
        let child = program(folder).args(command).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(later);
        child
    });
    children.map(|mut child| child.wait().unwrap().code())
}

/// Each command that writes into `o`, with what it leaves there alone.
fn alone<'a>(commands: impl IntoIterator<Item = Vec<&'a str>>) -> Vec<(Vec<&'a str>, Files)> {
    let alone = commands.into_iter().map(|command| {
        let folder = tempdir().unwrap();
        assert!(program(folder.path()).args(&command).output().unwrap().status.success());
        let files = standing(&folder.path().join("o"));
        (command, files)
    });
    alone.collect()
}

#[test]
fn never_mixed() {
    let [model, other] = [fixture("hybrid_model"), fixture("casts.safetensors")];
    let one = vec!["convert", &model, "o", "--force"];
    // It has no config.json.
    let bare = vec!["convert", &other, "o", "--force"];
    let commands = configs().into_iter().chain(shards(&model)).chain([one, bare]);
    let commands = alone(commands);
    assert!(!commands.last().unwrap().1.contains_key("config.json"));
    let folder = tempdir().unwrap();
    let mut moment = film_core::init::Stream::new(0, "writers");
    let mut last = [0, 0];
    for _ in 0..3 {
        for (a, b) in (0..commands.len()).flat_map(|a| (0..commands.len()).map(move |b| (a, b))) {
            let pair = [&commands[a], &commands[b]];
            let later = Duration::from_secs_f64(moment.uniform(0.0, 0.01));
            let codes = at_once(folder.path(), pair.map(|(command, _)| command.as_slice()), later);
            assert_eq!(codes, [Some(0); 2], "{:?} {:?}", pair[0].0, pair[1].0);
            let found = standing(&folder.path().join("o"));
            let which = pair.iter().position(|(_, files)| *files == found);
            let Some(which) = which else {
                panic!("{:?} and {:?} left {:?}", pair[0].0, pair[1].0, found.keys())
            };
            last[which] += 1;
        }
    }
    eprintln!("two writers at once: the first was last {} times, the second {}", last[0], last[1]);
}

#[test]
fn the_first_one_stays_unless_asked() {
    let [model, other] = [fixture("hybrid_model"), fixture("casts.safetensors")];
    let bare = vec!["convert", &other, "o"];
    let commands = configs().into_iter().chain(shards(&model)).map(|mut command| {
        command.retain(|word| *word != "--force");
        command
    });
    let commands = alone(commands.chain([bare]));
    for (a, b) in (0..commands.len()).flat_map(|a| (0..commands.len()).map(move |b| (a, b))) {
        let folder = tempdir().unwrap();
        let pair = [&commands[a], &commands[b]];
        let lines = pair.map(|(command, _)| command.as_slice());
        let codes = at_once(folder.path(), lines, Duration::from_millis(2));
        let Some(won) = codes.iter().position(|code| *code == Some(0)) else {
            panic!("neither was written: {codes:?}")
        };
        assert_eq!(codes[1 - won], Some(1));
        assert!(standing(&folder.path().join("o")) == pair[won].1, "{lines:?}");
    }
}
