//! Completions, manual pages and the reference of all commands: made of the command line's definition.

use std::path::Path;
use std::process::Command;

use tempfile::tempdir;

use crate::support::{film_tools, listing, root};

/// The commands that `--help` lists.
fn commands() -> Vec<String> {
    crate::help::commands()
}

#[test]
fn every_shell_gets_completions_of_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = film_tools(Path::new("/"), &["completions", shell]).stdout();
        for word in commands().iter().map(String::as_str).chain(["conditioning", "quiet"]) {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let outcome = film_tools(Path::new("/"), &["completions", "csh"]);
    assert_eq!(outcome.code, 2);
    assert!(outcome.stderr.contains("bash, elvish, fish, powershell, zsh"), "{}", outcome.stderr);
}

/// bash itself completes a command's name and a flag.
#[test]
fn bash_completes() {
    let folder = tempdir().unwrap();
    let script = film_tools(folder.path(), &["completions", "bash"]).stdout();
    std::fs::write(folder.path().join("film-tools.bash"), script).unwrap();
    let complete = |words: &str| {
        let line = format!(
            "source ./film-tools.bash; COMP_WORDS=(film-tools {words}); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _film__tools film-tools {} film-tools; echo ${{COMPREPLY[@]}}",
            words.split(' ').next_back().unwrap()
        );
        let mut bash = Command::new("bash");
        let output = bash.args(["-c", &line]).current_dir(folder.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_string()
    };
    assert_eq!(complete("insp"), "inspect");
    assert_eq!(complete("inspect --fil"), "--filter");
}

#[test]
fn there_is_a_page_for_every_command() {
    let folder = tempdir().unwrap();
    let outcome = film_tools(folder.path(), &["man", "--output", "man1"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""));
    let mut expected: Vec<String> =
        commands().iter().map(|command| format!("man1/film-tools-{command}.1")).collect();
    expected.extend(["man1".to_string(), "man1/film-tools.1".into()]);
    expected.sort();
    assert_eq!(listing(folder.path()), expected);
    let page = film_tools(folder.path(), &["man", "inspect"]).stdout();
    assert_eq!(
        std::fs::read_to_string(folder.path().join("man1/film-tools-inspect.1")).unwrap(),
        page
    );
    assert!(page.contains(".TH film-tools-inspect 1"), "{page}");
    assert!(page.contains("\\-\\-filter") && page.contains(".SH NAME"), "{page}");
    // Once more: nothing is replaced unless asked.
    let again = film_tools(folder.path(), &["man", "--output", "man1"]);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("--force replaces it"), "{}", again.stderr);
    assert_eq!(film_tools(folder.path(), &["man", "--output", "man1", "--force"]).code, 0);
    let outcome = film_tools(folder.path(), &["man", "nope"]);
    assert_eq!(outcome.code, 2);
    assert!(
        outcome.stderr.starts_with("error: man: no command nope; there are init, "),
        "{}",
        outcome.stderr
    );
}

/// `TRYCMD=overwrite` writes the page anew, as it does the snapshots.
#[test]
fn the_reference_says_what_help_says() {
    let help = |args: &[&str]| {
        let text = film_tools(Path::new("/"), args).stdout();
        let lines = text.trim_end().lines().map(|line| format!("{}\n", line.trim_end()));
        format!("\n```text\n{}```\n", lines.collect::<String>())
    };
    let mut page = String::from(
        "# film-tools\n\nAll commands and flags, as `--help` prints them. \
         What they are for is in the [README](../README.md).\n",
    );
    page += &help(&["--help"]);
    for command in commands() {
        page += &format!("\n## {command}\n{}", help(&[&command, "--help"]));
    }
    let path = root().join("docs/film-tools.md");
    if std::env::var("TRYCMD").is_ok_and(|value| value == "overwrite") {
        std::fs::write(&path, &page).unwrap();
    }
    if !cfg!(feature = "hub") {
        // The flag `--download` is shown where it works.
        assert_eq!(std::fs::read_to_string(path).unwrap(), page);
    }
}
