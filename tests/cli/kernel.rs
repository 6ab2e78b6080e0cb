//! `kernel` gives the numbers that PyTorch gave, draws pictures, and says what it lacks.

use std::path::Path;

use candle_core::DType;
use tempfile::tempdir;

use crate::support::{
    Named, cases, film_tools, fixture, refused, relative_error, report, safetensors, save,
};

/// Draws kernels and reads back what was written.
#[track_caller]
fn kernel(arguments: &[&str]) -> Named {
    let folder = tempdir().unwrap();
    let arguments = [&["kernel"], arguments, &["--output", "k.safetensors"]].concat();
    let outcome = film_tools(folder.path(), &arguments);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{}", outcome.stderr);
    safetensors(folder.path().join("k.safetensors"))
}

#[test]
fn every_case_agrees() {
    for case in cases("siren_kernel") {
        let io = format!("{case}/io.safetensors");
        let truth = safetensors(&io);
        let config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(Path::new(&case).join("config.json")).unwrap())
                .unwrap();
        let lengths: Vec<String> =
            config["seq_lens"].as_array().unwrap().iter().map(ToString::to_string).collect();
        let input = format!("{io}:conditioning");
        let mut arguments = vec![case.clone(), "--grid".into(), lengths.join("x")];
        if truth.contains_key("conditioning") {
            arguments.extend(["--conditioning".into(), input]);
        }
        for dtype in ["f32", "f64"] {
            let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            arguments.extend(["--dtype", dtype]);
            let drawn = kernel(&arguments);
            assert_eq!(drawn.keys().collect::<Vec<_>>(), ["grid", "kernel"]);
            for (name, got) in &drawn {
                let theirs = relative_error(&truth[&format!("f32.{name}")], &truth[name]);
                let bound = if dtype == "f64" { 1e-10 } else { 2.0 * theirs.max(1e-7) };
                let error = relative_error(got, &truth[name]);
                assert!(error <= bound, "{case} {name} {dtype}: {error:e} > {bound:e}");
            }
        }
    }
}

#[test]
fn a_production_layout_goes_from_registers_to_masked_kernels() {
    let hybrid = fixture("hybrid_model");
    let truth = safetensors(format!("{hybrid}/io.safetensors"));
    for block in ["blocks.0", "blocks.1"] {
        let registers = format!("{hybrid}/io.safetensors:{block}.register_pooling.input");
        let arguments = [&hybrid, "--prefix", block, "--grid", "7x4", "--registers", &registers];
        let conv = format!("{block}.sequence_mixer.inner_mixer.mixer.global_conv");
        let masked = kernel(&arguments);
        let bare = kernel(&[arguments.as_slice(), &["--no-mask"]].concat());
        for (got, name) in [
            (&masked["kernel"], "mask.masked_kernel"),
            (&bare["kernel"], "kernel.kernel"),
            (&bare["grid"], "kernel.grid"),
        ] {
            let error = relative_error(got, &truth[&format!("{conv}.{name}")]);
            assert!(error <= 2e-6, "{block} {name}: {error:e}");
        }
    }
}

#[test]
fn the_report_says_what_was_drawn() {
    let folder = tempdir().unwrap();
    let hybrid = fixture("hybrid_model");
    let arguments =
        ["kernel", &hybrid, "--prefix", "blocks.1", "--grid", "3x2", "--random", "5", "--json"];
    let said = report(folder.path(), &arguments);
    assert_eq!(said["schema_version"], 1);
    assert_eq!(said["shape"], serde_json::json!([5, 5, 3, 48]));
    assert_eq!((&said["modulated"], &said["masked"]), (&true.into(), &true.into()));
    assert!(said["kernel"]["spread"].as_f64().unwrap() > 0.0);
    let plain = report(folder.path(), &[&arguments[..6], &["--json", "--no-mask"]].concat());
    assert_eq!(plain["shape"], serde_json::json!([1, 5, 3, 48]));
    assert_eq!((&plain["modulated"], &plain["masked"]), (&false.into(), &false.into()));
}

#[test]
fn pictures_are_drawn_in_one_to_three_dimensions() {
    let folder = tempdir().unwrap();
    for (case, grid) in [("1d", "9"), ("2d_production", "5x4"), ("3d", "3x2x4")] {
        let checkpoint = fixture(&format!("siren_kernel/{case}"));
        for extension in ["png", "svg"] {
            let name = format!("{case}.{extension}");
            let arguments = [
                "kernel",
                &checkpoint,
                "--grid",
                grid,
                "--random",
                "3",
                "--samples",
                "1..3",
                "--channels",
                "2",
                "--image",
                &name,
            ];
            let outcome = film_tools(folder.path(), &arguments);
            assert_eq!(outcome.code, 0, "{}", outcome.stderr);
            assert!(outcome.stdout.contains("spread"), "the summary is printed all the same");
            let bytes = std::fs::read(folder.path().join(&name)).unwrap();
            if extension == "png" {
                assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n"));
                assert!(bytes.windows(4).any(|window| window == b"IEND"));
            } else {
                let text = String::from_utf8(bytes).unwrap();
                assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
                for label in ["sample 1", "sample 2", "channel 2"] {
                    assert!(text.contains(label), "{label}");
                }
                assert!(!text.contains("sample 0") && !text.contains("sample 3"));
            }
        }
        // The same numbers give the same picture.
        let first = std::fs::read(folder.path().join(format!("{case}.png"))).unwrap();
        let again = [
            "kernel",
            &checkpoint,
            "--grid",
            grid,
            "--random",
            "3",
            "--samples",
            "1..3",
            "--channels",
            "2",
            "--force",
            "--image",
            &format!("{case}.png"),
        ];
        assert_eq!(film_tools(folder.path(), &again).code, 0);
        assert!(std::fs::read(folder.path().join(format!("{case}.png"))).unwrap() == first);
    }
}

/// The texts of a sheet, and where they begin at the left.
fn texts(svg: &str) -> Vec<(f64, String)> {
    let text = |element: &str| {
        let x = element.split('"').nth(1)?.parse().ok()?;
        Some((x, element.split_once('>')?.1.split_once("</text>")?.0.to_string()))
    };
    svg.split("<text ").skip(1).filter_map(text).collect()
}

#[test]
fn sheets_hold_only_what_fits_and_can_be_shown() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let draw = |arguments: &[&str]| {
        let image = ["--image", "k.svg", "--force"];
        let outcome = film_tools(path, &[&["kernel"], arguments, &image].concat());
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        std::fs::read_to_string(path.join("k.svg")).unwrap()
    };
    // A name of control characters, longer than the sheet is wide.
    let tensors = safetensors(fixture("siren_kernel/2d_unconditioned/model.safetensors"));
    let prefix = format!("a\u{1b}\u{ffff}<&k.{}", "long.".repeat(40));
    let names: Vec<String> = tensors.keys().map(|name| format!("{prefix}{name}")).collect();
    let named: Vec<_> = names.iter().map(String::as_str).zip(tensors.values()).collect();
    save(path.join("k.safetensors"), &named);
    let svg = draw(&["k.safetensors", "--grid", "3x3", "--l-cache", "5", "--channels", "0"]);
    assert!(!svg.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{ffff}'));
    let title = texts(&svg).remove(0);
    assert!(title.1.contains('…') && title.1.contains("kernels"), "{title:?}");
    let width: f64 =
        svg.split("width=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
    assert!(title.0 + 5.0 * title.1.chars().count() as f64 <= width, "{title:?} {width}");
    // Nothing modulates it; at length 1 there is one position, 0.
    assert!(svg.contains(">unmodulated<") && !svg.contains("sample"));
    let svg = draw(&["k.safetensors", "--grid", "1x1", "--l-cache", "5"]);
    assert!(!svg.contains(">-0<"));
    // Panels a unit wide have no room for a tick on either side.
    let svg = draw(&["k.safetensors", "--grid", "60x2", "--l-cache", "5"]);
    let ticks = texts(&svg).iter().filter(|(_, text)| text == "-0.2500").count();
    assert!((1..6).contains(&ticks), "{svg}");
    let svg = draw(&[&fixture("siren_kernel/3d"), "--grid", "4x2x2"]);
    assert!(svg.contains("slices 0, 2, 3, 5, 6 of axis 0"), "{:?}", texts(&svg));
}

#[test]
fn counts_cover_the_whole_kernel() {
    let folder = tempdir().unwrap();
    let counts: serde_json::Value =
        serde_json::from_slice(&std::fs::read(fixture("flops.json")).unwrap()).unwrap();
    let production = counts
        .as_array()
        .unwrap()
        .iter()
        .find(|case| case["module"] == "SIRENKernelND" && case["config"]["out_dim"] == 24);
    let checkpoint = fixture("siren_kernel/2d_production");
    let said = report(folder.path(), &["flops", &checkpoint, "--grid", "7x7", "--json"]);
    assert_eq!(said["flops_per_sample"], production.unwrap()["training"]);
    assert_eq!(said["inference_flops_per_sample"], said["flops_per_sample"]);
    // Not modulated, a kernel is a constant.
    let checkpoint = fixture("siren_kernel/2d_unconditioned");
    let said = report(folder.path(), &["flops", &checkpoint, "--grid", "5x5", "--json"]);
    assert_eq!(
        (&said["flops_per_sample"], &said["inference_flops_per_sample"]),
        (&33048.into(), &0.into())
    );
    assert_eq!(said["prefix"], "");
    // One kernel serves the whole batch.
    let batch = ["flops", &checkpoint, "--grid", "5x5", "--json", "--batch", "64"];
    assert_eq!(report(folder.path(), &batch)["flops_per_batch"], 33048);
    // With registers in front: 3R + 2RC more.
    let hybrid = fixture("hybrid_model");
    let said = report(
        folder.path(),
        &["flops", &hybrid, "--prefix", "blocks.0", "--grid", "2x2", "--json"],
    );
    let items = said["items"].as_array().unwrap();
    assert_eq!((&items[0]["name"], &items[0]["flops"]), (&"softmax".into(), &24.into()));
    assert_eq!((&items[1]["name"], &items[1]["flops"]), (&"pooling".into(), &768.into()));
    let total: u64 = items.iter().map(|item| item["flops"].as_u64().unwrap()).sum();
    assert_eq!(said["flops_per_sample"], total);
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let folder = tempdir().unwrap();
    let bare = folder.path().join("bare.safetensors");
    let hybrid = fixture("hybrid_model");
    std::fs::copy(fixture("siren_kernel/1d/model.safetensors"), &bare).unwrap();
    for (arguments, expected) in [
        (
            vec!["bare.safetensors", "--grid", "5"],
            "bare.safetensors: (root): the checkpoint does not tell L_cache: give it in config.json or by flag",
        ),
        (
            vec!["bare.safetensors", "--grid", "5", "--l-cache", "5", "--registers", "x.npy"],
            "bare.safetensors: holds no register encoder for (root)",
        ),
        (
            vec![
                "bare.safetensors",
                "--grid",
                "5",
                "--l-cache",
                "5",
                "--image",
                "a.png",
                "--channels",
                "0..9",
            ],
            "--channels 0..9: there are 6, from 0",
        ),
        (
            vec![&hybrid, "--grid", "5x5", "--prefix", "blocks.7"],
            "no SIREN kernel at blocks.7; there are",
        ),
    ] {
        let line = refused(folder.path(), &[&["kernel"], arguments.as_slice()].concat());
        assert!(line.contains(expected), "{line}");
    }
    for wrong in [
        &["kernel", "bare.safetensors"] as &[&str],
        &["kernel", "bare.safetensors", "--grid", "0"],
        &["kernel", "bare.safetensors", "--grid", "5", "--image", "a.gif"],
        &["kernel", "bare.safetensors", "--grid", "5", "--omega-0", "-1"],
        &["kernel", "bare.safetensors", "--grid", "5", "--samples", "0..2"],
        &["kernel", "bare.safetensors", "--grid", "5", "--l-cache", "5x5"],
    ] {
        assert_eq!(film_tools(folder.path(), wrong).code, 2, "{wrong:?}");
    }
    // Learned frequencies say what they need all at once; other dtypes are stored as asked for.
    let half =
        kernel(&[bare.to_str().unwrap(), "--grid", "5", "--l-cache", "5", "--dtype", "bf16"]);
    assert_eq!((half["kernel"].dtype(), half["grid"].dtype()), (DType::BF16, DType::F32));
}
