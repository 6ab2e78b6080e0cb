//! The same numbers go in and come out, whatever the files' format.

use std::path::Path;

use candle_core::{DType, Tensor};
use tempfile::{TempDir, tempdir};

use crate::support::{
    Named, assert_same, film_tools, film_tools_fed, fixture, json, npy_bytes, npz, numbers,
    relative_error, safetensors, save,
};

/// A generator with two layers of 4, that takes conditioning of 8.
fn generator() -> String {
    fixture("generator/small_8x4x2_h6")
}

/// The generator's conditioning `[3, 8]` in float32.
fn conditioning() -> Tensor {
    safetensors(fixture("generator/small_8x4x2_h6/io.safetensors"))["conditioning"].clone()
}

/// The numbers in their order in memory, each made of bytes by `to_bytes`.
fn bytes_of<const N: usize>(numbers: &[f64], to_bytes: impl Fn(f64) -> [u8; N]) -> Vec<u8> {
    numbers.iter().flat_map(|&number| to_bytes(number)).collect()
}

/// A tensor as nested JSON arrays.
fn text_of(tensor: &Tensor) -> String {
    match tensor.rank() {
        0 => numbers(tensor)[0].to_string(),
        _ => {
            let rows = (0..tensor.dims()[0]).map(|row| text_of(&tensor.get(row).unwrap()));
            format!("[{}]", rows.collect::<Vec<_>>().join(", "))
        }
    }
}

/// What `run` gives for this conditioning, computed in float64.
#[track_caller]
fn films(folder: &Path, input: &str) -> Named {
    let checkpoint = generator();
    let arguments =
        ["run", &checkpoint, "--conditioning", input, "--dtype", "f64", "--output", "-"];
    json(&film_tools(folder, &arguments).stdout())
}

/// A folder with the conditioning in `c.safetensors`, and what it gives.
fn reference() -> (TempDir, Named) {
    let folder = tempdir().unwrap();
    save(folder.path().join("c.safetensors"), &[("c", &conditioning())]);
    let films = films(folder.path(), "c.safetensors");
    (folder, films)
}

#[test]
fn safetensors_go_in_by_name_or_alone() {
    let (folder, expected) = reference();
    let (path, tensor) = (folder.path(), conditioning());
    assert_same(&films(path, "c.safetensors:c"), &expected);
    // A name with colons of its own, and a file with one.
    save(path.join("a:b.safetensors"), &[("x", &tensor)]);
    assert_same(&films(path, "a:b.safetensors"), &expected);
    assert_same(&films(path, "a:b.safetensors:x"), &expected);
    // float64 holds all of float32; half precision is what it says it is.
    let wide = tensor.to_dtype(DType::F64).unwrap();
    let half = tensor.to_dtype(DType::BF16).unwrap();
    save(path.join("d.safetensors"), &[("wide", &wide), ("half", &half)]);
    assert_same(&films(path, "d.safetensors:wide"), &expected);
    let rounded = films(path, "d.safetensors:half");
    save(path.join("e.safetensors"), &[("c", &half.to_dtype(DType::F32).unwrap())]);
    assert_same(&rounded, &films(path, "e.safetensors"));
}

#[test]
fn every_npy_layout_is_the_same_array() {
    let (folder, expected) = reference();
    let rows = numbers(&conditioning());
    let columns: Vec<f64> = (0..24).map(|i| rows[(i % 3) * 8 + i / 3]).collect();
    let layouts = [
        ("'<f4'", false, bytes_of(&rows, |x| (x as f32).to_le_bytes())),
        ("'>f4'", false, bytes_of(&rows, |x| (x as f32).to_be_bytes())),
        ("'<f4'", true, bytes_of(&columns, |x| (x as f32).to_le_bytes())),
        ("'>f4'", true, bytes_of(&columns, |x| (x as f32).to_be_bytes())),
        ("'<f8'", false, bytes_of(&rows, f64::to_le_bytes)),
        ("'>f8'", true, bytes_of(&columns, f64::to_be_bytes)),
    ];
    for (descr, fortran, data) in layouts {
        let file = npy_bytes(descr, fortran, "(3, 8)", &data);
        std::fs::write(folder.path().join("c.npy"), file).unwrap();
        assert_same(&films(folder.path(), "c.npy"), &expected);
    }
    conditioning().write_npy(folder.path().join("candle.npy")).unwrap();
    assert_same(&films(folder.path(), "candle.npy"), &expected);
}

#[test]
fn column_major_arrays_of_three_axes_are_turned_right() {
    let (folder, _) = reference();
    // Elements numbered in row-major order, so that any other order shows.
    let value = |i: usize, j: usize, k: usize| ((i * 3 + j) * 8 + k) as f64 / 48.0;
    let all = |order: fn(usize) -> (usize, usize, usize)| -> Vec<f64> {
        (0..48).map(&order).map(|(i, j, k)| value(i, j, k)).collect()
    };
    let rows = all(|at| (at / 24, at / 8 % 3, at % 8));
    let columns = all(|at| (at % 2, at / 2 % 3, at / 6));
    let write = |name: &str, fortran, values: &[f64]| {
        let file = npy_bytes("'<f8'", fortran, "(2, 3, 8)", &bytes_of(values, f64::to_le_bytes));
        std::fs::write(folder.path().join(name), file).unwrap();
    };
    write("rows.npy", false, &rows);
    write("columns.npy", true, &columns);
    let films = ["rows.npy", "columns.npy"].map(|file| films(folder.path(), file));
    assert_eq!(films[0]["gamma.0"].dims(), [2, 3, 4]);
    assert_same(&films[0], &films[1]);
}

#[test]
fn integers_and_half_precision_are_numbers_too() {
    let (folder, _) = reference();
    let whole: Vec<f64> = (0..24).map(|x| f64::from(x * 5 % 24)).collect();
    let files = [
        ("'<f8'", bytes_of(&whole, f64::to_le_bytes)),
        ("'<f2'", bytes_of(&whole, |x| half::f16::from_f64(x).to_le_bytes())),
        ("'>i2'", bytes_of(&whole, |x| (x as i16).to_be_bytes())),
        ("'<i4'", bytes_of(&whole, |x| (x as i32).to_le_bytes())),
        ("'<i8'", bytes_of(&whole, |x| (x as i64).to_le_bytes())),
        ("'|u1'", bytes_of(&whole, |x| [x as u8])),
        ("'>u4'", bytes_of(&whole, |x| (x as u32).to_be_bytes())),
    ];
    let films: Vec<Named> = files
        .iter()
        .map(|(descr, data)| {
            let file = npy_bytes(descr, false, "(3, 8)", data);
            std::fs::write(folder.path().join("c.npy"), file).unwrap();
            films(folder.path(), "c.npy")
        })
        .collect();
    for other in &films[1..] {
        assert_same(other, &films[0]);
    }
}

#[test]
fn json_goes_in_from_a_file_and_from_stdin() {
    let (folder, expected) = reference();
    let text = text_of(&conditioning());
    std::fs::write(folder.path().join("c.json"), &text).unwrap();
    assert_same(&films(folder.path(), "c.json"), &expected);
    let checkpoint = generator();
    let arguments = ["run", &checkpoint, "--conditioning", "-", "--dtype", "f64", "--output", "-"];
    let fed = film_tools_fed(folder.path(), &arguments, &format!("\n {text}\n\n"));
    assert_same(&json(&fed.stdout()), &expected);
}

#[test]
fn registers_may_come_from_any_format() {
    let folder = tempdir().unwrap();
    let io = safetensors(fixture("hybrid_model/io.safetensors"));
    let registers = &io["blocks.0.register_pooling.input"];
    save(folder.path().join("r.safetensors"), &[("r", registers)]);
    registers.write_npy(folder.path().join("r.npy")).unwrap();
    std::fs::write(folder.path().join("r.json"), text_of(registers)).unwrap();
    let model = fixture("hybrid_model");
    let films = ["r.safetensors", "r.npy", "r.json"].map(|file| {
        let input = ["--prefix", "blocks.0", "--registers", file, "--output", "-"];
        let arguments = [["run", &model].as_slice(), &input].concat();
        json(&film_tools(folder.path(), &arguments).stdout())
    });
    assert_eq!(films[0]["beta.2"].dims(), [2, 32]);
    assert_same(&films[1], &films[0]);
    assert_same(&films[2], &films[0]);
}

#[test]
fn outputs_agree_in_every_dtype() {
    let checkpoint = generator();
    for (dtype, stored) in
        [("f32", DType::F32), ("f64", DType::F64), ("f16", DType::F16), ("bf16", DType::BF16)]
    {
        let folder = tempdir().unwrap();
        let path = folder.path();
        let write = |output: &str| {
            let arguments =
                ["run", &checkpoint, "--random", "7", "--dtype", dtype, "--output", output];
            let outcome = film_tools(path, &arguments);
            assert_eq!(outcome.code, 0, "{}", outcome.stderr);
            outcome
        };
        ["o.safetensors", "o.json"].into_iter().for_each(|name| drop(write(name)));
        let said = write("o.npz").stderr;
        let stdout = write("-").stdout();

        let tensors = safetensors(path.join("o.safetensors"));
        assert!(tensors.values().all(|tensor| tensor.dtype() == stored));
        assert_eq!(tensors["gamma.1"].dims(), [7, 4]);
        // NumPy has no bfloat16, and the person is told.
        let arrays = npz(path.join("o.npz"));
        let wide = if stored == DType::BF16 { DType::F32 } else { stored };
        assert!(arrays.values().all(|array| array.dtype() == wide));
        assert_eq!(said.contains("no bfloat16"), stored == DType::BF16, "{said}");
        assert_same(&arrays, &tensors);
        // Numbers are printed with as many digits as tell them apart.
        let file = std::fs::read_to_string(path.join("o.json")).unwrap();
        assert_eq!(file, stdout);
        let printed = json(&file);
        assert_eq!(printed.keys().collect::<Vec<_>>(), tensors.keys().collect::<Vec<_>>());
        for (name, tensor) in &tensors {
            let back = printed[name].to_dtype(stored).unwrap();
            assert_eq!(numbers(&back), numbers(tensor), "{name} in {dtype}");
            assert!(relative_error(&printed[name], tensor) < 1e-7, "{name} in {dtype}");
        }
    }
}

#[test]
fn the_same_run_writes_the_same_bytes() {
    let folder = tempdir().unwrap();
    let checkpoint = generator();
    for format in ["safetensors", "npz", "json"] {
        let [a, b] = ["a", "b"].map(|name| {
            let output = format!("{name}.{format}");
            let arguments = ["run", &checkpoint, "--random", "7", "--output", &output];
            assert_eq!(film_tools(folder.path(), &arguments).code, 0);
            std::fs::read(folder.path().join(output)).unwrap()
        });
        assert_eq!(a, b, "{format}");
    }
}
