//! Outputs that cannot be written: what is there stays, and nothing is left behind.

use std::path::Path;

use tempfile::tempdir;

use crate::support::{
    assert_same, film_tools, fixture, listing, refused, safetensors, safetensors_bytes, save,
};

const FORMATS: [&str; 3] = ["o.safetensors", "o.npz", "o.json"];

/// `run` to this output.
fn run<'a>(checkpoint: &'a str, output: &'a str) -> [&'a str; 6] {
    ["run", checkpoint, "--random", "2", "--output", output]
}

fn generator() -> String {
    fixture("generator/small_8x4x2_h6")
}

#[test]
fn existing_files_are_kept_unless_forced() {
    let checkpoint = generator();
    for output in FORMATS {
        let folder = tempdir().unwrap();
        let path = folder.path();
        std::fs::write(path.join(output), "mine").unwrap();
        let line = refused(path, &run(&checkpoint, output));
        assert_eq!(line, format!("{output}: exists already: --force replaces it"));
        assert_eq!(std::fs::read(path.join(output)).unwrap(), b"mine");

        let forced = [run(&checkpoint, output).as_slice(), &["--force"]].concat();
        let outcome = film_tools(path, &forced);
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        assert_ne!(std::fs::read(path.join(output)).unwrap(), b"mine");
        assert_eq!(listing(path), [output]);
    }
}

#[test]
fn a_failed_run_keeps_the_old_file_even_if_forced() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("bad.json"), "[1, 2").unwrap();
    let checkpoint = generator();
    for output in FORMATS {
        std::fs::write(path.join(output), "mine").unwrap();
        let run = ["run", &checkpoint, "--conditioning", "bad.json", "--output", output, "--force"];
        let line = refused(path, &run);
        assert!(line.starts_with("bad.json: "), "{line}");
        assert_eq!(std::fs::read(path.join(output)).unwrap(), b"mine");
    }
}

/// --force is not meant for the weights that a command reads.
#[cfg(unix)]
#[test]
fn a_checkpoint_is_not_replaced_by_what_is_computed_of_it() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let case = std::path::PathBuf::from(fixture("ckconv/2d_zero"));
    for name in ["model.safetensors", "config.json", "io.safetensors"] {
        std::fs::copy(case.join(name), path.join(name)).unwrap();
    }
    let bytes = || {
        let files = listing(path).into_iter();
        files
            .map(|name| (name.clone(), std::fs::read(path.join(name)).unwrap()))
            .collect::<Vec<_>>()
    };
    std::os::unix::fs::symlink("config.json", path.join("link.png")).unwrap();
    let before = bytes();
    let weights = ["--output", "model.safetensors", "--force"];
    for (command, flag) in [
        (["run", ".", "--random", "2"].as_slice(), weights),
        (&["kernel", ".", "--grid", "3x3"], weights),
        (&["kernel", ".", "--grid", "3x3"], ["--image", "link.png", "--force"]),
        (&["conv", ".", "--random", "1", "--input", "io.safetensors:input"], weights),
        (&["diagnose", "."], ["--html", "config.json", "--force"]),
    ] {
        let outcome = film_tools(path, &[command, &flag].concat());
        let line =
            format!("error: {} {}: a file of the checkpoint: choose another\n", flag[0], flag[1]);
        assert_eq!((outcome.code, outcome.stderr), (2, line));
        assert!(bytes() == before, "{command:?}");
    }
}

#[test]
fn an_input_may_be_replaced_by_its_own_output() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let case = fixture("generator/small_8x4x2_h6/io.safetensors");
    save(path.join("c.safetensors"), &[("c", &safetensors(case)["conditioning"])]);
    let checkpoint = generator();
    let run = |output: &str| {
        let run = ["run", &checkpoint, "--conditioning", "c.safetensors", "--chunk", "1"];
        let outcome =
            film_tools(path, &[run.as_slice(), &["--output", output, "--force"]].concat());
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        safetensors(path.join(output))
    };
    let expected = run("o.safetensors");
    assert_same(&run("c.safetensors"), &expected);
}

#[test]
fn places_where_no_file_can_be() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let checkpoint = generator();
    std::fs::write(path.join("file"), "").unwrap();
    for output in FORMATS {
        for (directory, problem) in [("gone", "No such file"), ("file", "Not a directory")] {
            let output = format!("{directory}/{output}");
            let line = refused(path, &run(&checkpoint, &output));
            assert!(line.starts_with(&format!("{output}: ")) && line.contains(problem), "{line}");
        }
        std::fs::create_dir(path.join(output)).unwrap();
        for force in [&[][..], &["--force"]] {
            let line = refused(path, &[run(&checkpoint, output).as_slice(), force].concat());
            assert_eq!(line, format!("{output}: exists and is not a regular file"));
        }
        assert!(path.join(output).is_dir());
    }
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_kept() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir(path.join("store")).unwrap();
    std::fs::write(path.join("store/real.json"), "mine").unwrap();
    std::os::unix::fs::symlink("store/real.json", path.join("o.json")).unwrap();
    let checkpoint = generator();
    let line = refused(path, &run(&checkpoint, "o.json"));
    assert_eq!(line, "o.json: exists already: --force replaces it");
    let forced = [run(&checkpoint, "o.json").as_slice(), &["--force"]].concat();
    assert_eq!(film_tools(path, &forced).code, 0);
    assert!(path.join("o.json").symlink_metadata().unwrap().is_symlink());
    let written = std::fs::read_to_string(path.join("store/real.json")).unwrap();
    assert!(written.contains("gamma.0"), "{written}");
    assert_eq!(listing(path), ["o.json", "store", "store/real.json"]);
}

#[cfg(unix)]
#[test]
fn modes_are_those_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempdir().unwrap();
    let mode = |name: &str| -> u32 {
        let metadata = folder.path().join(name).metadata().unwrap();
        metadata.permissions().mode() & 0o7777
    };
    std::fs::File::create(folder.path().join("plain")).unwrap();
    let checkpoint = generator();
    for output in FORMATS {
        assert_eq!(film_tools(folder.path(), &run(&checkpoint, output)).code, 0);
        assert_eq!(mode(output), mode("plain"), "{output}");
    }
}

#[test]
fn a_batch_beyond_any_file_is_refused() {
    let folder = tempdir().unwrap();
    let checkpoint = generator();
    for (rows, problem) in
        [("2305843009213693951", "overflows"), ("18446744073709551615", "--random")]
    {
        let run = ["run", &checkpoint, "--random", rows, "--output"];
        for output in FORMATS {
            let line = refused(folder.path(), &[run.as_slice(), &[output]].concat());
            assert!(line.contains(problem), "{line}");
        }
    }
    assert!(Path::new(&checkpoint).is_dir());
}

/// Rows of nothing have no bytes, but brackets without end.
#[test]
fn rows_of_nothing_are_not_written_out() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let header = r#"{"c":{"dtype":"F32","shape":[1099511627776,0,8],"data_offsets":[0,0]}}"#;
    std::fs::write(path.join("c.safetensors"), safetensors_bytes(header, &[])).unwrap();
    let checkpoint = generator();
    for output in ["o.json", "-"] {
        let line = refused(
            path,
            &["run", &checkpoint, "--conditioning", "c.safetensors", "--output", output],
        );
        assert!(line.contains("shape [1099511627776, 0, 4] holds no number"), "{line}");
    }
}

#[test]
fn names_may_be_as_long_as_the_system_allows() {
    let folder = tempdir().unwrap();
    let output = format!("{}.json", "b".repeat(245));
    let outcome = film_tools(folder.path(), &run(&generator(), &output));
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(listing(folder.path()), [output]);
}

#[test]
fn a_file_is_no_directory_to_write_into() {
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "mine").unwrap();
    let sizes = ["--cond-dim", "4", "--kernel-hidden-dim", "2", "--num-film-layers", "1"];
    let line = refused(folder.path(), &[&["init", "--output", "file"], &sizes[..]].concat());
    assert_eq!(line, "file: is not a directory");
}
