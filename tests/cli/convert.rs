//! `convert`: the same numbers in another file, and nothing that was not asked for.

use std::path::Path;

use serde_json::json;
use tempfile::tempdir;

use crate::support::{
    Named, assert_same, film_tools, fixture, listing, numbers, refused, report, safetensors,
    safetensors_bytes,
};

fn pickle(name: &str) -> String {
    fixture(&format!("pickle/{name}"))
}

/// The tensors of a directory's checkpoint, whatever its files.
fn directory(path: &Path) -> Named {
    let is_weights = |name: &String| name.starts_with("model") && name.ends_with(".safetensors");
    let files = listing(path).into_iter().filter(is_weights);
    files.flat_map(|name| safetensors(path.join(name))).collect()
}

/// What stderr says of a run that goes well; stdout has nothing.
#[track_caller]
fn talk(folder: &Path, args: &[&str]) -> String {
    let outcome = film_tools(folder, args);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{}", outcome.stderr);
    outcome.stderr
}

#[test]
fn a_lightning_checkpoint_becomes_a_generator_that_runs() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let prefix = "network.blocks.0.film_generator";
    let input = pickle("lightning.ckpt");
    let said = talk(path, &["convert", &input, "gen.safetensors", "--strip-prefix", prefix]);
    assert_eq!(
        said,
        "skipped epoch: 3\n\
         skipped global_step: 1200\n\
         skipped pytorch-lightning_version: \"2.5.0\"\n\
         skipped optimizer_states: a list of 1\n\
         skipped hyper_parameters: a dict of 1\n\
         wrote gen.safetensors: 4 tensors, 994 parameters, 3.88 KiB, F32\n"
    );
    let expected = safetensors(fixture("generator/odd_13x7x5_h11/model.safetensors"));
    assert_same(&safetensors(path.join("gen.safetensors")), &expected);
    let found = report(path, &["inspect", "gen.safetensors", "--json"]);
    assert_eq!(found["generators"][0]["cond_dim"], 13);
}

#[test]
fn the_same_input_gives_the_same_bytes_whatever_its_form() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let bytes = |input: &str, name: &str| {
        talk(path, &["convert", input, name]);
        std::fs::read(path.join(name)).unwrap()
    };
    let zip = bytes(&pickle("state_dict.pt"), "a.safetensors");
    assert_eq!(bytes(&pickle("state_dict.pt"), "b.safetensors"), zip);
    assert_eq!(bytes(&pickle("legacy_format.pt"), "c.safetensors"), zip);
    assert_eq!(bytes("a.safetensors", "d.safetensors"), zip);
    assert!(zip[8..].starts_with(b"{\"__metadata__\":{\"format\":\"pt\"},"));
}

#[test]
fn nothing_in_a_pickle_is_run() {
    let folder = tempdir().unwrap();
    let input = pickle("executes_code.pt");
    for more in [&[][..], &["--skip-unknown"]] {
        let args = [&["convert", &input, "x.safetensors"], more].concat();
        let line = refused(folder.path(), &args);
        assert_eq!(
            line,
            format!("{input}: calls posix.system, which runs code: refused, and nothing was run")
        );
    }
    assert_eq!(listing(folder.path()), [""; 0]);
}

#[test]
fn objects_of_unknown_classes_are_passed_over_when_asked() {
    let folder = tempdir().unwrap();
    let input = pickle("unknown_class.ckpt");
    let line = refused(folder.path(), &["convert", &input, "x.safetensors"]);
    assert!(
        line.ends_with("calls project.Settings, which is not known to make plain data: nothing was run; --skip-unknown passes over such objects beside the weights"),
        "{line}"
    );
    let said = talk(folder.path(), &["convert", &input, "x.safetensors", "--skip-unknown"]);
    assert!(
        said.starts_with("skipped hyper_parameters: an object of project.Settings\n"),
        "{said}"
    );
    assert_same(
        &safetensors(folder.path().join("x.safetensors")),
        &safetensors(pickle("unknown_class.safetensors")),
    );
}

#[test]
fn state_dicts_are_chosen_by_key() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let input = pickle("several.pt");
    let line = refused(path, &["convert", &input, "x.safetensors"]);
    assert_eq!(
        line,
        format!(
            "{input}: holds 2 state dicts: model (2 tensors), ema (1 tensor): choose one by its key: --key KEY"
        )
    );
    let said = talk(path, &["convert", &input, "x.safetensors", "--key", "ema"]);
    assert!(said.starts_with("skipped model: a dict of 2, 2 tensors\nskipped step: 7\n"), "{said}");
    assert_eq!(numbers(&safetensors(path.join("x.safetensors"))["weight"]), [1.0; 6]);
    let outcome = film_tools(path, &["convert", "x.safetensors", "y", "--key", "ema"]);
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
}

#[test]
fn the_report_says_what_was_done() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let input = pickle("strided.pt");
    let args = ["convert", &input, "o", "--select", "tied*", "--dtype", "bf16", "--json"];
    let outcome = film_tools(path, &args);
    assert_eq!(outcome.code, 0);
    let found: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let bytes = path.join("o/model.safetensors").metadata().unwrap().len();
    let expected = json!({
        "schema_version": 1, "input": input, "format": "pickle", "key": null, "tensors": 2,
        "parameters": 24, "bytes": 48, "dtypes": {"BF16": 24}, "not_selected": 14, "shared": 1,
        "overflowed": {}, "skipped": [], "files": [{"path": "o/model.safetensors", "bytes": bytes}],
    });
    assert_eq!(found, expected);
    let input = pickle("training.ckpt");
    let outcome = film_tools(path, &["convert", &input, "t.safetensors", "--json", "--quiet"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let found: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(found["key"], "state_dict");
    let optimizer = json!({"path": "optimizer_states", "what": "a list of 1", "tensors": 6});
    assert_eq!(found["skipped"][5], optimizer);
}

#[test]
fn models_are_sharded_and_merged_without_loss() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let model = fixture("hybrid_model");
    let expected = directory(Path::new(&model));
    talk(path, &["convert", &model, "sharded", "--max-shard-size", "100KB"]);
    let files = listing(&path.join("sharded"));
    assert!(files.contains(&"model.safetensors.index.json".into()), "{files:?}");
    assert!(files.contains(&"config.json".into()), "{files:?}");
    let index = std::fs::read(path.join("sharded/model.safetensors.index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    assert_eq!(index["metadata"]["total_size"], 4 * 136_432);
    for file in files.iter().filter(|name| name.ends_with(".safetensors")) {
        let file = path.join("sharded").join(file);
        assert!(file.metadata().unwrap().len() <= 100_000 || safetensors(&file).len() == 1);
    }
    for (input, output) in [("sharded", "merged"), (model.as_str(), "direct")] {
        talk(path, &["convert", input, output]);
        let files = listing(&path.join(output));
        assert_eq!(files, ["config.json", "model.safetensors"]);
    }
    let read = |name: &str| std::fs::read(path.join(name).join("model.safetensors")).unwrap();
    assert!(read("merged") == read("direct"));
    assert!(directory(&path.join("sharded")).len() > 60);
    assert_same(&directory(&path.join("sharded")), &expected);
    assert_same(&directory(&path.join("merged")), &expected);
    // By its index, and in place: the shards that were there are gone.
    let index = "sharded/model.safetensors.index.json";
    let line = film_tools(path, &["convert", index, "sharded"]).refusal();
    assert!(line.ends_with("exists already: --force replaces it"), "{line}");
    talk(path, &["convert", index, "sharded", "--force"]);
    assert_eq!(listing(&path.join("sharded")), ["config.json", "model.safetensors"]);
    assert!(read("sharded") == read("direct"));
    assert_eq!(
        std::fs::read(path.join("sharded/config.json")).unwrap(),
        std::fs::read(fixture("hybrid_model/config.json")).unwrap()
    );
}

#[test]
fn casts_say_what_became_infinite() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let large = [70000f32, -1e30, 1.0, f32::INFINITY].map(f32::to_le_bytes).concat();
    let header = r#"{"n":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"w":{"dtype":"F32","shape":[4],"data_offsets":[8,24]}}"#;
    let bytes = safetensors_bytes(header, &[7i64.to_le_bytes().to_vec(), large].concat());
    std::fs::write(path.join("in.safetensors"), bytes).unwrap();
    let said = talk(path, &["convert", "in.safetensors", "f16.safetensors", "--dtype", "f16"]);
    assert_eq!(
        said,
        "warning: 2 finite numbers became infinite, of w\n\
         wrote f16.safetensors: 2 tensors, 5 parameters, 16 B, F16 + I64\n"
    );
    let found = safetensors(path.join("f16.safetensors"));
    let infinity = f64::INFINITY;
    assert_eq!(numbers(&found["w"]), [infinity, -infinity, 1.0, infinity]);
    assert_eq!(numbers(&found["n"]), [7.0]);
    let said = talk(path, &["convert", "in.safetensors", "f64.safetensors", "--dtype", "f64"]);
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn other_metadata_is_named_since_it_is_not_kept() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let header = r#"{"__metadata__":{"format":"pt","step":"12"},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
    std::fs::write(path.join("in.safetensors"), safetensors_bytes(header, &[1])).unwrap();
    let said = talk(path, &["convert", "in.safetensors", "out.safetensors"]);
    assert!(said.starts_with("skipped __metadata__.step: text of 2 bytes\n"), "{said}");
}

#[test]
fn pickles_in_a_directory_are_found() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir(path.join("hub")).unwrap();
    std::fs::copy(pickle("state_dict.pt"), path.join("hub/pytorch_model.bin")).unwrap();
    std::fs::write(path.join("hub/config.json"), "{\"a\": 1}").unwrap();
    talk(path, &["convert", "hub", "out"]);
    assert_eq!(listing(&path.join("out")), ["config.json", "model.safetensors"]);
    // In place: what is there stays, config.json is no obstacle.
    talk(path, &["convert", "hub", "hub"]);
    assert_eq!(
        listing(&path.join("hub")),
        ["config.json", "model.safetensors", "pytorch_model.bin"]
    );
    std::fs::create_dir(path.join("empty")).unwrap();
    let line = refused(path, &["convert", "empty", "x"]);
    assert_eq!(
        line,
        "empty: holds neither model.safetensors nor model.safetensors.index.json nor \
         pytorch_model.bin nor pytorch_model.bin.index.json"
    );
}

#[test]
fn selections_that_fit_nothing_are_errors() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let input = pickle("module.pt");
    for (more, expected) in [
        (["--select", "*.wait"], "no tensor's name matches --select *.wait"),
        (["--strip-prefix", "network"], "no tensor stands below --strip-prefix network"),
        (["--strip-prefix", "0.weight"], "no tensor stands below --strip-prefix 0.weight"),
        (["--strip-prefix", "0.wei"], "no tensor stands below --strip-prefix 0.wei"),
    ] {
        let args = [&["convert", &input, "x"], more.as_slice()].concat();
        assert_eq!(refused(path, &args), format!("{input}: {expected}"));
    }
    // 0.weight is weight, and the other names stay.
    let args = ["convert", &input, "x.safetensors", "--select", "?.weight", "--strip-prefix", "0."];
    talk(path, &args);
    let names: Vec<String> = safetensors(path.join("x.safetensors")).into_keys().collect();
    assert_eq!(names, ["1.weight", "2.weight", "weight"]);
    let header = r#"{"a.w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
    std::fs::write(path.join("in.safetensors"), safetensors_bytes(header, &[1, 2])).unwrap();
    let line = refused(path, &["convert", "in.safetensors", "y", "--strip-prefix", "a"]);
    assert_eq!(line, "in.safetensors: --strip-prefix a: two tensors would be \"w\"");
}

#[test]
fn what_is_there_stays_unless_forced() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let input = pickle("module.pt");
    std::fs::write(path.join("x.safetensors"), "mine").unwrap();
    let line = refused(path, &["convert", &input, "x.safetensors"]);
    assert_eq!(line, "x.safetensors: exists already: --force replaces it");
    assert_eq!(std::fs::read(path.join("x.safetensors")).unwrap(), b"mine");
    talk(path, &["convert", &input, "x.safetensors", "--force"]);
    assert_eq!(safetensors(path.join("x.safetensors")).len(), 8);
    for name in ["model.safetensors", "model-00002-of-00007.safetensors"] {
        std::fs::create_dir(path.join("d")).unwrap();
        std::fs::write(path.join("d").join(name), "mine").unwrap();
        let line = refused(path, &["convert", &input, "d"]);
        assert_eq!(line, format!("d/{name}: exists already: --force replaces it"));
        talk(path, &["convert", &input, "d", "--force"]);
        assert_eq!(listing(&path.join("d")), ["model.safetensors"]);
        std::fs::remove_dir_all(path.join("d")).unwrap();
    }
    // A refused pickle makes no directory.
    refused(path, &["convert", &pickle("refused_sparse.pt"), "a/b/c"]);
}

#[test]
fn the_input_is_not_replaced_by_a_part_of_it() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    talk(path, &["convert", &fixture("hybrid_model"), "m", "--max-shard-size", "200KB"]);
    let (files, before) = (listing(&path.join("m")), directory(&path.join("m")));
    let first = format!("m/{}", files.iter().find(|name| name.ends_with(".safetensors")).unwrap());
    let index = "m/model.safetensors.index.json";
    let lost = ": takes the place of IN, and ";
    for (args, expected) in [
        (["m", "m", "--select", "blocks.0.*"], lost),
        ([index, "m", "--select", "blocks.0.*"], lost),
        ([&first, "m/../m", "--select", "blocks.0.*bias"], lost),
        ([&first, &first, "--select", "blocks.0.*bias"], lost),
        (["m", &first, "--dtype", "f32"], ": is one of several files of IN: choose another OUT"),
    ] {
        let args = [&["convert", "--force"], args.as_slice()].concat();
        let outcome = film_tools(path, &args);
        assert_eq!((outcome.code, outcome.stderr.lines().count()), (2, 1), "{outcome:?}");
        assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
        assert_eq!(listing(&path.join("m")), files);
        assert_same(&directory(&path.join("m")), &before);
    }
    // All of it may be cast and merged in place.
    talk(path, &["convert", "m", "m", "--dtype", "f64", "--force"]);
    assert_eq!(listing(&path.join("m")), ["config.json", "model.safetensors"]);
}

#[test]
fn a_config_of_other_weights_goes_with_them() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let input = pickle("module.pt");
    std::fs::create_dir(path.join("d")).unwrap();
    // Alone it may be meant for what comes.
    std::fs::write(path.join("d/config.json"), "{}").unwrap();
    talk(path, &["convert", &input, "d"]);
    assert_eq!(listing(&path.join("d")), ["config.json", "model.safetensors"]);
    talk(path, &["convert", &input, "d", "--force"]);
    assert_eq!(listing(&path.join("d")), ["model.safetensors"]);
}

#[cfg(unix)]
#[test]
fn a_config_that_is_no_file_is_refused() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir(path.join("m")).unwrap();
    let case = fixture("generator/small_8x4x2_h6/model.safetensors");
    std::fs::copy(case, path.join("m/model.safetensors")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(path.join("m/config.json")).status();
    assert!(made.unwrap().success());
    let line = refused(path, &["convert", "m", "x"]);
    assert_eq!(line, "m/config.json: not a regular file");
    std::fs::remove_file(path.join("m/config.json")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", path.join("m/config.json")).unwrap();
    let line = refused(path, &["convert", "m", "x"]);
    assert_eq!(line, "m/config.json: not a regular file");
}

#[test]
fn more_files_than_can_be_open_are_refused() {
    let folder = tempdir().unwrap();
    let entries: Vec<String> = (0..501)
        .map(|x| {
            let end = x + 1;
            format!(r#""t{x}": {{"dtype": "U8", "shape": [1], "data_offsets": [{x}, {end}]}}"#)
        })
        .collect();
    let bytes = safetensors_bytes(&format!("{{{}}}", entries.join(", ")), &[0; 501]);
    std::fs::write(folder.path().join("in.safetensors"), bytes).unwrap();
    let line = refused(folder.path(), &["convert", "in.safetensors", "x", "--max-shard-size", "1"]);
    assert_eq!(
        line,
        "--max-shard-size: expected a size that makes at most 500 files, found 1, which makes 501"
    );
}

#[test]
fn wrong_usage_is_exit_status_2() {
    let folder = tempdir().unwrap();
    let input = pickle("module.pt");
    for args in [
        &["convert"][..],
        &["convert", &input],
        &["convert", &input, ""],
        &["convert", &input, "x.bin"],
        &["convert", &input, "x.json"],
        &["convert", &input, "x", "--select", "["],
        &["convert", &input, "x", "--strip-prefix", "."],
        &["convert", &input, "x", "--dtype", "f8"],
        &["convert", &input, "x", "--max-shard-size", "0"],
        &["convert", &input, "x", "--max-shard-size", "-1MB"],
        &["convert", &input, "x", "--max-shard-size", "10 parsecs"],
        &["convert", &input, "x", "--max-shard-size", "NaN"],
        &["convert", &input, "x.safetensors", "--max-shard-size", "1MB"],
    ] {
        let outcome = film_tools(folder.path(), args);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{args:?}: {outcome:?}");
        assert_eq!(listing(folder.path()), [""; 0], "{args:?}");
    }
}
