//! What reaches the terminal: colours only where they are wanted, nothing hidden in names, 80 columns.

use std::path::{Path, PathBuf};

use tempfile::{TempDir, tempdir};
use unicode_width::UnicodeWidthStr;

use crate::support::{
    Outcome, cases, film_tools, fixture, program, report, root, safetensors_bytes,
};

const ESCAPE: char = '\u{1b}';

/// Commands whose output is styled on a terminal, each with the stream that is.
fn styled() -> [(Vec<String>, bool); 4] {
    let checkpoint = fixture("generator/small_8x4x2_h6");
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    [
        (words(&["inspect", &checkpoint]), true),
        (words(&["flops", &checkpoint]), true),
        (words(&["run", &checkpoint, "--random", "2"]), true),
        (words(&["inspect", "nowhere"]), false),
    ]
}

/// Which of stdout and stderr carry escape codes.
fn coloured(arguments: &[String], color: &[&str], environment: &[(&str, &str)]) -> [bool; 2] {
    let mut command = program(Path::new("/"));
    command.args(color).args(arguments).envs(environment.iter().copied());
    let outcome = Outcome::of(command.output().unwrap());
    [outcome.stdout, outcome.stderr].map(|stream| stream.contains(ESCAPE))
}

#[test]
fn pipes_get_no_colours_unless_asked() {
    for (arguments, on_stdout) in styled() {
        let in_colour = [on_stdout, !on_stdout];
        for plain in [&[][..], &["--color", "auto"], &["--color", "never"]] {
            assert_eq!(coloured(&arguments, plain, &[]), [false; 2], "{arguments:?}");
        }
        assert_eq!(coloured(&arguments, &["--color", "always"], &[]), in_colour, "{arguments:?}");
    }
}

#[test]
fn the_environment_is_heard_and_the_flag_wins() {
    let force = ("CLICOLOR_FORCE", "1");
    let no = ("NO_COLOR", "1");
    for (arguments, on_stdout) in styled() {
        let in_colour = [on_stdout, !on_stdout];
        // As on a terminal.
        assert_eq!(coloured(&arguments, &[], &[force]), in_colour, "{arguments:?}");
        for auto in [&[][..], &["--color", "auto"]] {
            assert_eq!(coloured(&arguments, auto, &[force, no]), [false; 2], "{arguments:?}");
        }
        assert_eq!(coloured(&arguments, &["--color", "never"], &[force]), [false; 2]);
        assert_eq!(coloured(&arguments, &["--color", "always"], &[no]), in_colour);
    }
}

#[test]
fn warnings_are_coloured_too() {
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("c.json"), "[1e30, 1, 1, 1, 1, 1, 1, 1]").unwrap();
    let checkpoint = fixture("generator/small_8x4x2_h6");
    let arguments =
        ["run", &checkpoint, "--conditioning", "c.json", "--dtype", "f16", "--color", "always"];
    let outcome = film_tools(folder.path(), &arguments);
    assert_eq!(outcome.code, 0);
    assert!(outcome.stderr.starts_with("\u{1b}["), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("warning:"), "{}", outcome.stderr);
}

#[test]
fn json_is_never_coloured() {
    let checkpoint = fixture("generator/small_8x4x2_h6");
    for arguments in [
        &["inspect", &checkpoint, "--json"][..],
        &["flops", &checkpoint, "--json"],
        &["run", &checkpoint, "--random", "2", "--json"],
        &["run", &checkpoint, "--random", "2", "--output", "-"],
    ] {
        let arguments = [arguments, &["--color", "always"]].concat();
        assert!(report(Path::new("/"), &arguments).is_object());
    }
}

/// A checkpoint whose names and metadata would steer the terminal.
fn hostile() -> TempDir {
    let folder = tempdir().unwrap();
    let tensor = |name: &str, shape: &str, bytes: &mut usize, size: usize| {
        *bytes += size;
        format!(
            r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{},{bytes}]}}"#,
            *bytes - size
        )
    };
    let (name, end) = (r"a\u001b[31m\u202e\nb", &mut 0);
    let entries = [
        tensor(&format!("{name}.mlp.0.weight"), "[2,3]", end, 24),
        tensor(&format!("{name}.mlp.0.bias"), "[2]", end, 8),
        tensor(&format!("{name}.mlp.2.weight"), "[4,2]", end, 32),
        tensor(&format!("{name}.mlp.2.bias"), "[4]", end, 16),
        tensor(r"near\u001b]0;title\u0007.mlp.2.weight", "[1]", end, 4),
        tensor(r"c1\u009b2J\u0000\r\u007f", "[1]", end, 4),
    ];
    let header =
        format!(r#"{{"__metadata__":{{"k\u001b[2J":"v\nw\u0008"}},{}}}"#, entries.join(","));
    let file = safetensors_bytes(&header, &vec![0; *end]);
    std::fs::write(folder.path().join("h.safetensors"), file).unwrap();
    folder
}

#[test]
fn control_characters_in_names_are_made_visible() {
    let folder = hostile();
    let commands: [&[&str]; 9] = [
        &["inspect", "h.safetensors"],
        &["inspect", "h.safetensors", "--flat"],
        &["inspect", "h.safetensors", "--filter", "zzz"],
        &["flops", "h.safetensors"],
        &["flops", "h.safetensors", "--kernel-hidden-dim", "2"],
        &["run", "h.safetensors", "--random", "2"],
        &["run", "h.safetensors", "--random", "2", "--kernel-hidden-dim", "2"],
        &["run", "h.safetensors", "--random", "1", "--kernel-hidden-dim", "2", "--prefix", "x"],
        &["run", "h.safetensors", "--kernel-hidden-dim", "2", "--conditioning", "h.safetensors"],
    ];
    for arguments in commands {
        let outcome = film_tools(folder.path(), arguments);
        let text = outcome.stdout + &outcome.stderr;
        let stray = text.chars().find(|&character| {
            (character.is_control() && character != '\n') || character == '\u{202e}'
        });
        assert_eq!(stray, None, "{arguments:?}: {text}");
        let shown = text.contains(r"a\u{1b}[31m\u{202e}\nb");
        assert!(shown || arguments.contains(&"zzz"), "{arguments:?}: {text}");
    }
    let listed = film_tools(folder.path(), &["inspect", "h.safetensors"]).stdout();
    assert!(listed.contains(r"metadata k\u{1b}[2J: v\nw\u{8}"), "{listed}");
    assert!(listed.contains(r"c1\u{9b}2J\u{0}\r\u{7f}"), "{listed}");
    // JSON keeps the name, by JSON's own escapes.
    let names = report(folder.path(), &["inspect", "h.safetensors", "--json"]);
    let raw = film_tools(folder.path(), &["inspect", "h.safetensors", "--json"]).stdout();
    assert!(!raw.contains(ESCAPE), "{raw}");
    assert_eq!(names["generators"][0]["prefix"], "a\u{1b}[31m\u{202e}\nb");
}

/// Every folder of the fixtures that holds a checkpoint, as a path below the root.
fn checkpoints() -> Vec<PathBuf> {
    let groups = ["generator", "register_pooling", "register_compress_concat"];
    let mut folders: Vec<String> = groups.into_iter().flat_map(cases).collect();
    folders.push(fixture("hybrid_model"));
    folders.iter().map(|path| Path::new(path).strip_prefix(root()).unwrap().into()).collect()
}

#[test]
fn lines_fit_80_columns() {
    let mut tables = 0;
    for checkpoint in checkpoints() {
        let checkpoint = checkpoint.to_str().unwrap();
        for arguments in [
            &["inspect", checkpoint][..],
            &["inspect", checkpoint, "--filter", "*bias"],
            &["flops", checkpoint, "--batch", "1000000"],
            &["flops", checkpoint, "--batch", "1000000", "--prefix", "blocks.1"],
            &["run", checkpoint, "--all", "--random", "1"],
            &["run", checkpoint, "--all", "--random", "3", "--dtype", "f64"],
        ] {
            let outcome = film_tools(&root(), arguments);
            for line in outcome.stdout.lines() {
                assert!(line.width() <= 80, "{arguments:?}: {} columns: {line}", line.width());
                assert_eq!(line, line.trim_end(), "{arguments:?}");
            }
            tables += usize::from(outcome.code == 0);
        }
    }
    assert!(tables >= 40, "{tables}");
}
