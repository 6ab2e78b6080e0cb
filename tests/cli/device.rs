//! `run`, `kernel` and `conv` on the device that the build is for, in float32 and bfloat16: CUDA with the feature `cuda`, Metal
//! with `metal`, else the CPU.
//!
//! On a GPU: `cargo test --package film-tools --features cuda --test cli device -- --ignored`.

use candle_core::DType;
use tempfile::tempdir;

use crate::support::{Named, film_tools, fixture, refused, relative_error, safetensors};

const DEVICE: &str = if cfg!(feature = "cuda") {
    "cuda"
} else if cfg!(feature = "metal") {
    "metal"
} else {
    "cpu"
};

/// What a command computes on a device.
#[track_caller]
fn computed(arguments: &[&str], device: &str, dtype: &str) -> Named {
    let folder = tempdir().unwrap();
    let place = ["--device", device, "--dtype", dtype, "--output", "out.safetensors"];
    let outcome = film_tools(folder.path(), &[arguments, &place].concat());
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{}", outcome.stderr);
    safetensors(folder.path().join("out.safetensors"))
}

/// Holds what a command computes of block 0 of a whole network to what PyTorch did, in float32, and in bfloat16 to what the
/// CPU computes in it: there rounded weights make another kernel. `name` is the output's, `truth` the reference's.
#[track_caller]
fn check(arguments: &[String], name: &str, truth: &str, roundings: usize) {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let arguments = arguments.as_slice();
    let truth = &safetensors(fixture("hybrid_model/io.safetensors"))[truth];
    let error = relative_error(&computed(arguments, DEVICE, "f32")[name], truth);
    assert!(error <= 2e-6, "{name}: {error:e}");

    let [there, here] = [DEVICE, "cpu"].map(|device| computed(arguments, device, "bf16"));
    assert_eq!(there[name].dtype(), DType::BF16);
    // Five standard deviations of so many roundings to 8 bits, on each side.
    let bound = 2.0 * 2.0 * (roundings as f64).sqrt() / 256.0;
    let error = relative_error(&there[name], &here[name]);
    assert!(error <= bound, "{name} in bfloat16: {error:e} > {bound:e}");
}

const CONV: &str = "blocks.0.sequence_mixer.inner_mixer.mixer.global_conv";

/// A command on block 0 and its registers.
fn on_block_0(command: &str, more: &[&str]) -> Vec<String> {
    let hybrid = fixture("hybrid_model");
    let registers = format!("{hybrid}/io.safetensors:blocks.0.register_pooling.input");
    let arguments = [command, &hybrid, "--prefix", "blocks.0", "--registers", &registers];
    arguments.iter().chain(more).map(ToString::to_string).collect()
}

#[test]
#[cfg_attr(
    any(feature = "cuda", feature = "metal"),
    ignore = "needs a GPU: cargo test --features cuda -- --ignored"
)]
fn run_computes_there() {
    let arguments = on_block_0("run", &[]);
    let truth = format!("{CONV}.kernel.film_generator.gamma.2");
    // The conditioning, and two layers.
    check(&arguments, "gamma.2", &truth, 8);
}

#[test]
#[cfg_attr(
    any(feature = "cuda", feature = "metal"),
    ignore = "needs a GPU: cargo test --features cuda -- --ignored"
)]
fn kernel_computes_there() {
    let arguments = on_block_0("kernel", &["--grid", "7x4"]);
    // γ and β, five a layer, and the mask.
    check(&arguments, "kernel", &format!("{CONV}.mask.masked_kernel"), 8 + 15 + 1);
}

#[test]
#[cfg_attr(
    any(feature = "cuda", feature = "metal"),
    ignore = "needs a GPU: cargo test --features cuda -- --ignored"
)]
fn conv_computes_there() {
    let input = format!("{}:{CONV}.input", fixture("hybrid_model/io.safetensors"));
    let arguments = on_block_0("conv", &["--channels-first", "--input", &input]);
    // The kernel, the shortcut and the output.
    check(&arguments, "output", &format!("{CONV}.output"), 24 + 2);
}

#[test]
#[cfg_attr(not(feature = "cuda"), ignore = "needs a build with CUDA: cargo test --features cuda")]
fn a_device_that_is_not_there_is_refused() {
    let refusal = refused(
        tempdir().unwrap().path(),
        &["run", &fixture("generator/small_8x4x2_h6"), "--random", "1", "--device", "cuda:99"],
    );
    let what = refusal.strip_prefix("--device cuda:99: ").unwrap();
    let known = ["this machine", "the NVIDIA driver"];
    assert!(known.iter().any(|start| what.starts_with(start)), "{refusal}");
}
