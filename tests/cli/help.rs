//! The help: its examples work as they stand, and it fits the terminal.

use std::path::Path;
use std::process::Command;

use candle_core::Tensor;
use tempfile::tempdir;
use unicode_width::UnicodeWidthStr;

use crate::support::{Outcome, PROGRAM, film_tools, listing, random, root};

/// The commands that `--help` lists, in its order; `help` itself left out.
pub(crate) fn commands() -> Vec<String> {
    let help = film_tools(Path::new("/"), &["--help"]).stdout();
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed.take_while(|line| !line.is_empty()).filter_map(|line| {
        let name = line.strip_prefix("  ")?;
        (!name.starts_with(' ')).then(|| name.split(' ').next().unwrap().to_string())
    });
    names.filter(|name| name != "help").collect()
}

/// The lines under "Examples:", those that a backslash continues joined.
fn examples(command: &str) -> Vec<String> {
    let help = film_tools(Path::new("/"), &[command, "--help"]).stdout();
    let mut examples = vec![String::new()];
    for line in help.lines().skip_while(|line| *line != "Examples:").skip(1) {
        let last = examples.last_mut().unwrap();
        if let Some(begun) = line.strip_suffix('\\') {
            last.push_str(begun);
        } else {
            last.push_str(line);
            examples.push(String::new());
        }
    }
    assert_eq!(examples.pop().as_deref(), Some(""), "a backslash on the last line");
    examples.iter().map(|example| example.trim().to_string()).collect()
}

/// Runs a line in a shell that finds the program by its name.
fn shell(folder: &Path, line: &str) -> Outcome {
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", Path::new(PROGRAM).parent().unwrap().display());
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).env("PATH", path).current_dir(folder);
    Outcome::of(shell.output().unwrap())
}

#[test]
fn every_example_works_as_it_stands() {
    let folder = tempdir().unwrap();
    let conditioning: Tensor = random(&[2, 384]);
    conditioning.write_npy(folder.path().join("c.npy")).unwrap();
    assert_eq!(commands()[..2], ["init", "inspect"]);
    // The examples of `kernel` name fixtures as they stand from the root.
    std::os::unix::fs::symlink(root().join("tests"), folder.path().join("tests")).unwrap();
    for command in commands() {
        let examples = examples(&command);
        assert!(examples.len() >= 3, "{command}: {examples:?}");
        for example in examples {
            assert!(example.contains(&format!("film-tools {command} ")), "{example}");
            let outcome = shell(folder.path(), &example);
            assert_eq!(outcome.code, 0, "{example}\n{}", outcome.stderr);
            assert!(!outcome.stderr.contains("error"), "{example}\n{}", outcome.stderr);
        }
    }
    let files = listing(folder.path());
    for made in ["gen/model.safetensors", "gen16/config.json", "gen.json", "films.npz"] {
        assert!(files.iter().any(|file| file == made), "{made} is not among {files:?}");
    }
}

#[test]
fn help_fits_80_columns_and_is_no_error() {
    let mut pages = vec![vec!["-h".to_string()], vec!["--help".into()], vec!["help".into()]];
    for command in commands() {
        pages.push(vec![command.clone(), "-h".into()]);
        pages.push(vec![command.clone(), "--help".into()]);
        pages.push(vec!["help".into(), command]);
    }
    for page in pages {
        let page: Vec<&str> = page.iter().map(String::as_str).collect();
        let text = film_tools(Path::new("/"), &page).stdout();
        assert!(text.contains("Usage: film-tools"), "{page:?}");
        for line in text.lines() {
            assert!(line.width() <= 80, "{page:?}: {line}");
        }
    }
}

#[test]
fn the_version_is_the_packages() {
    let expected = format!("film-tools {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(film_tools(Path::new("/"), &["--version"]).stdout(), expected);
}

#[test]
fn wrong_usage_is_exit_status_2() {
    let checkpoint = crate::support::fixture("generator/small_8x4x2_h6");
    let wrong: [&[&str]; 19] = [
        &[],
        &["nope"],
        &["inspect"],
        &["inspect", &checkpoint, "--filter", "["],
        &["flops"],
        &["flops", "--cond-dim", "8"],
        &["flops", "--prefix", "blocks.0"],
        &["flops", &checkpoint, "--config", "config.json"],
        &["flops", &checkpoint, "--batch", "0"],
        &["flops", &checkpoint, "--batch", "18446744073709551615"],
        &["init", "--output", "gen"],
        &["init", "--cond-dim", "8"],
        &["run", &checkpoint],
        &["run", &checkpoint, "--random", "2", "--conditioning", "-"],
        &["run", &checkpoint, "--random", "-2"],
        &["run", &checkpoint, "--random", "2", "--chunk", "0"],
        &["run", &checkpoint, "--random", "2", "--dtype", "f8"],
        &["run", &checkpoint, "--random", "2", "--output", "films.txt"],
        &["run", &checkpoint, "--random", "2", "--output", "-", "--json"],
    ];
    let folder = tempdir().unwrap();
    for arguments in wrong {
        let outcome = film_tools(folder.path(), arguments);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{arguments:?}: {outcome:?}");
        assert!(!outcome.stderr.is_empty(), "{arguments:?}");
        assert_eq!(listing(folder.path()), [""; 0], "{arguments:?}");
    }
}
