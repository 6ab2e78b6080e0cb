//! What the topics share: running the program, reading what it wrote, making small files by hand.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use candle_core::{DType, Device, Tensor};

/// Where the binary under test is.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_film-tools");

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The path of a file or folder among the fixtures, as an argument.
pub(crate) fn fixture(name: &str) -> String {
    root().join("tests/fixtures").join(name).display().to_string()
}

/// The folders of a group of fixtures, sorted.
pub(crate) fn cases(group: &str) -> Vec<String> {
    let entries = std::fs::read_dir(fixture(group)).unwrap();
    let folders = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let mut folders: Vec<String> = folders.map(|path| path.display().to_string()).collect();
    folders.sort();
    assert!(!folders.is_empty(), "no cases in {group}");
    folders
}

/// The program, to be started in `folder`, with nothing on stdin and an environment that says nothing
/// about colours or the Hugging Face hub.
pub(crate) fn program(folder: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.current_dir(folder).stdin(Stdio::null());
    let hub = ["HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN"];
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS"].iter().chain(&hub) {
        command.env_remove(name);
    }
    command
}

/// What a run of the program gave.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Whatever happened, it was neither a panic nor a signal.
    #[track_caller]
    pub(crate) fn of(output: Output) -> Self {
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!stderr.contains("panicked"), "{stderr}");
        let code = output.status.code().unwrap_or_else(|| panic!("{}: {stderr}", output.status));
        Self { code, stdout, stderr }
    }

    /// stdout of a run that went well.
    #[track_caller]
    pub(crate) fn stdout(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""));
        self.stdout
    }

    /// The one line of a run that failed, without `error: ` in front.
    #[track_caller]
    pub(crate) fn refusal(self) -> String {
        let Self { code, stdout, stderr } = self;
        assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
        let line = stderr.strip_prefix("error: ").and_then(|line| line.strip_suffix('\n'));
        let line = line.unwrap_or_else(|| panic!("not a line of an error: {stderr:?}"));
        assert!(!line.contains('\n'), "more than one line: {stderr}");
        line.into()
    }
}

/// Runs the program in `folder`.
#[track_caller]
pub(crate) fn film_tools(folder: &Path, args: &[&str]) -> Outcome {
    Outcome::of(program(folder).args(args).output().unwrap())
}

/// Runs the program in `folder` with `text` on stdin.
#[track_caller]
pub(crate) fn film_tools_fed(folder: &Path, args: &[&str], text: &str) -> Outcome {
    use std::io::Write;
    let mut command = program(folder);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // The program may have refused before it read all of it.
    let _ = stdin.write_all(text.as_bytes());
    drop(stdin);
    Outcome::of(child.wait_with_output().unwrap())
}

/// The line with which the program refuses. It must leave the folder as it was.
#[track_caller]
pub(crate) fn refused(folder: &Path, args: &[&str]) -> String {
    let before = listing(folder);
    let line = film_tools(folder, args).refusal();
    assert_eq!(listing(folder), before, "{line}");
    line
}

/// Runs the program in `folder`; the run must go well and its report is stdout as JSON.
#[track_caller]
pub(crate) fn report(folder: &Path, args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&film_tools(folder, args).stdout()).unwrap()
}

/// The names in a folder, sorted, those below it with their path.
pub(crate) fn listing(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            names.extend(listing(&entry.path()).into_iter().map(|below| format!("{name}/{below}")));
        }
        names.push(name);
    }
    names.sort();
    names
}

/// Named tensors, as files hold them.
pub(crate) type Named = BTreeMap<String, Tensor>;

/// The tensors of a .safetensors file.
#[track_caller]
pub(crate) fn safetensors(path: impl AsRef<Path>) -> Named {
    candle_core::safetensors::load(path, &Device::Cpu).unwrap().into_iter().collect()
}

/// The arrays of an .npz file.
#[track_caller]
pub(crate) fn npz(path: impl AsRef<Path>) -> Named {
    Tensor::read_npz(path).unwrap().into_iter().collect()
}

/// The arrays of a JSON document that `run --output` wrote; all but empty ones have their shape.
#[track_caller]
pub(crate) fn json(text: &str) -> Named {
    let mut document: BTreeMap<String, serde_json::Value> = serde_json::from_str(text).unwrap();
    assert_eq!(document.remove("schema_version"), Some(1.into()));
    let tensor = |(name, value)| {
        let (mut shape, mut values) = (Vec::new(), Vec::new());
        flatten(&value, 0, &mut shape, &mut values);
        (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    };
    document.into_iter().map(tensor).collect()
}

fn flatten(value: &serde_json::Value, depth: usize, shape: &mut Vec<usize>, out: &mut Vec<f64>) {
    let Some(items) = value.as_array() else {
        return out.push(value.as_f64().unwrap());
    };
    if shape.len() == depth {
        shape.push(items.len());
    }
    assert_eq!(shape[depth], items.len(), "ragged");
    items.iter().for_each(|item| flatten(item, depth + 1, shape, out));
}

/// A tensor's numbers, row-major, widened to float64.
pub(crate) fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// The largest |got − truth|, as a share of the largest |truth|.
#[track_caller]
pub(crate) fn relative_error(got: &Tensor, truth: &Tensor) -> f64 {
    assert_eq!(got.dims(), truth.dims());
    let (got, truth) = (numbers(got), numbers(truth));
    let scale = truth.iter().fold(0f64, |max, x| max.max(x.abs()));
    let gaps = got.iter().zip(&truth).map(|(a, b)| {
        assert!(a.is_finite(), "{a} among the outputs");
        (a - b).abs()
    });
    gaps.fold(0.0, f64::max) / scale
}

/// Both hold the same names, shapes and numbers, to the last bit.
#[track_caller]
pub(crate) fn assert_same(a: &Named, b: &Named) {
    let content = |named: &Named| -> Vec<(String, Vec<usize>, Vec<f64>)> {
        let content = named.iter().map(|(name, x)| (name.clone(), x.dims().to_vec(), numbers(x)));
        content.collect()
    };
    assert!(!a.is_empty());
    assert_eq!(content(a), content(b));
}

/// Writes tensors as a .safetensors file.
pub(crate) fn save(path: impl AsRef<Path>, tensors: &[(&str, &Tensor)]) {
    let tensors: HashMap<&str, Tensor> = tensors.iter().map(|&(n, x)| (n, x.clone())).collect();
    candle_core::safetensors::save(&tensors, path).unwrap();
}

/// Numbers in [−1, 1) that are the same on every run.
pub(crate) fn random(shape: &[usize]) -> Tensor {
    let mut stream = film_core::init::Stream::new(7, "random");
    let values = (0..shape.iter().product()).map(|_| stream.uniform(-1.0, 1.0) as f32);
    Tensor::from_vec(values.collect::<Vec<_>>(), shape, &Device::Cpu).unwrap()
}

/// The bytes of a safetensors file with this header and these data.
pub(crate) fn safetensors_bytes(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// The bytes of an .npy file with this dictionary and these data.
pub(crate) fn npy_bytes(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let fortran = if fortran { "True" } else { "False" };
    let header = format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00", length.as_slice(), header.as_bytes(), data].concat()
}
