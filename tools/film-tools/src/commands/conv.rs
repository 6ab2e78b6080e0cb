//! `conv`: a signal and conditioning in, the signal convolved with the checkpoint's kernels out.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use film_core::checkpoint::FoundConv;
use film_core::conv::{Boundary, Channels};
use film_core::statistics::{Gatherer, Summary};
use film_core::{CKConvNd, Condition, Error};
use serde::Serialize;

use super::kernel::{check_memory, kernel_bytes};
use super::{SCHEMA_VERSION, Usage, discover, selection, statistics, title};
use crate::args::Conv;
use crate::chain::{Place, read_rows, row_rank};
use crate::device;
use crate::input::Input;
use crate::output::{CHUNK_BYTES, Entry, Progress, Target, TensorWriter, number};
use crate::printer::{self, DIM};

/// Numbers that are summed up at once.
const PIECE: usize = 1 << 20;

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    checkpoint: String,
    prefix: String,
    device: String,
    dtype: &'static str,
    shape: Vec<usize>,
    channels_first: bool,
    boundaries: Vec<String>,
    /// Points of the kernel on each axis.
    kernel: Vec<usize>,
    modulated: bool,
    masked: bool,
    output: Option<String>,
    summary: Summary,
}

pub(crate) fn run(args: &Conv) -> Result<()> {
    args.tensors.check()?;
    let other = args.rows.text();
    if args.input == "-" && other == Some("-") {
        return Err(
            Usage("--input and the conditioning cannot both be standard input".into()).into()
        );
    }
    args.rows.seed()?;
    let place = Place { device: device::open(args.tensors.device)?, dtype: args.tensors.dtype };
    let checkpoint = Arc::new(super::open(&args.checkpoint)?);
    let output = args.tensors.output.as_ref().and_then(Target::path);
    super::keep_checkpoint("--output", output, &checkpoint)?;
    let discovery = discover(&checkpoint)?;
    let named = |error| selection(error, &checkpoint);
    let found = discovery.conv(args.prefix.as_deref()).map_err(named)?;
    let mut found = found.clone();
    if args.settings.no_mask {
        found.kernel.mask = None;
    }
    if args.rows.registers.is_none() {
        found.kernel.encoder = None;
    } else if found.kernel.encoder.is_none() {
        let text = format!("holds no register encoder for {}", found.name());
        return Err(named(Error::Selection(text)));
    }
    let settings = args.settings.over_config(&found.kernel, &checkpoint)?;
    let axes = found.kernel.data_dim;
    let settings = match args.settings.l_cache {
        Some(_) => args.padding.over(settings, axes)?,
        None => args.padding.over_config(settings, axes)?,
    };
    let mut module = CKConvNd::load(&checkpoint, &found, &settings, place.dtype, &place.device)
        .map_err(|error| args.settings.blame(error, &checkpoint))?;
    if args.channels_first {
        module = module.channels(Channels::First);
    }
    if let Some(algorithm) = args.algorithm {
        module = module.algorithm(algorithm.into());
    }
    let report = convolve(args, &found, &module, &place)?;
    if report.summary.non_finite > 0 {
        let count = number(report.summary.non_finite);
        printer::warn(format!("{count} of the outputs are NaN or infinite in {}", report.dtype));
    }
    if let Some(path) = &report.output {
        printer::say(format!("wrote {path}: output {:?}, {}", report.shape, report.dtype));
    }
    match (&args.tensors.output, args.tensors.json) {
        (_, true) => printer::json(&report),
        (Some(_), false) => {
            if !report.modulated {
                super::warn_of_generator(&found.kernel);
            }
            Ok(())
        }
        (None, false) => print(&report),
    }
}

/// The signal; its batch, and its lengths.
fn signal(args: &Conv, module: &CKConvNd) -> Result<(Input, Vec<usize>)> {
    let input = Input::open(&args.input)?;
    let config = module.config();
    let (axes, channels) = (config.boundaries.len(), config.kernel.out_dim);
    let spatial = match (args.channels_first, input.shape.as_slice()) {
        (false, [_, spatial @ .., last]) if *last == channels => spatial,
        (true, [_, first, spatial @ ..]) if *first == channels => spatial,
        _ => &[],
    };
    if spatial.len() != axes || spatial.contains(&0) {
        let lengths: Vec<String> = (1..=axes).map(|axis| format!("N{axis}")).collect();
        let lengths = lengths.join(", ");
        return Err(match args.channels_first {
            false => input.error(&format!("shape [B, {lengths}, {channels}]")),
            true => input.error(&format!("shape [B, {channels}, {lengths}] with --channels-first")),
        });
    }
    let spatial = spatial.to_vec();
    Ok((input, spatial))
}

/// The conditioning or registers, if there are some, and how many of their axes make a row.
fn condition(args: &Conv, module: &CKConvNd, batch: usize) -> Result<Option<(Input, usize)>> {
    let Some(film) = &module.config().kernel.film_generator else {
        if args.rows.text().is_none() && args.rows.random.is_none() {
            return Ok(None);
        }
        bail!(
            "{}: the kernel has no FiLM generator: it takes no conditioning",
            args.checkpoint.display()
        );
    };
    let Some(input) = args.rows.open(film.cond_dim)? else { return Ok(None) };
    let rank = row_rank(module.conditional_kernel().encoder.as_ref(), film.cond_dim, &input)?;
    if input.shape.len() != rank + 1 || ![1, batch].contains(&input.shape[0]) {
        let expected = format!("a batch of 1 or {batch}, the signal's, in front");
        return Err(input.error(&expected));
    }
    Ok(Some((input, rank)))
}

/// Convolves the samples chunk by chunk; writes the output and sums it up.
fn convolve(args: &Conv, found: &FoundConv, module: &CKConvNd, place: &Place) -> Result<Report> {
    let (input, spatial) = signal(args, module)?;
    let shape = input.shape.clone();
    let condition = condition(args, module, shape[0])?;
    let lengths = module.config().grid_lengths(&spatial)?;
    check_memory(&module.config().kernel, &lengths, "--input")?;
    let mut writer = match &args.tensors.output {
        Some(target) => {
            let entry =
                Entry { name: "output".into(), dtype: place.dtype.into(), shape: shape.clone() };
            Some(TensorWriter::create(target, args.tensors.force, vec![entry])?)
        }
        None => None,
    };
    let each: usize = shape[1..].iter().product();
    // A condition for each sample draws a kernel for each.
    let drawn = match &condition {
        Some((rows, _)) if rows.shape[0] > 1 => kernel_bytes(&module.config().kernel, &lengths)
            .saturating_add(rows.shape[1..].iter().product::<usize>().saturating_mul(8)),
        _ => 0,
    };
    let chunk = (CHUNK_BYTES / each.saturating_mul(32).saturating_add(drawn).max(1)).max(1);
    let draw = |rows: Range<usize>| -> Result<Tensor> {
        let values = condition.as_ref().map(|(input, rank)| read_rows(input, *rank, rows, place));
        let values = values.transpose()?;
        let condition = match &values {
            None => Condition::None,
            Some(values) if args.rows.registers.is_some() => Condition::Registers(values),
            Some(values) => Condition::Conditioning(values),
        };
        Ok(module.kernel(&spatial, condition)?)
    };
    // One condition, or none, draws one kernel for all chunks.
    let shared = condition.as_ref().is_none_or(|(rows, _)| rows.shape[0] == 1);
    let shared = if shared { Some(draw(0..1)?) } else { None };
    let mut gatherer = Gatherer::new(1);
    let progress = Progress::new(shape[0], "samples");
    for start in (0..shape[0]).step_by(chunk) {
        let end = shape[0].min(start + chunk);
        let signal = input.rows(start..end, each, place.dtype, &place.device)?;
        let signal = signal.reshape([&[end - start], &shape[1..]].concat())?;
        let kernel = shared.clone().map_or_else(|| draw(start..end), Ok)?;
        let output = module.convolve(&signal, &kernel)?.to_device(&Device::Cpu)?.flatten_all()?;
        gather(&mut gatherer, &output)?;
        if let Some(writer) = &mut writer {
            for (piece, values) in pieces(&output)? {
                writer.write("output", start * each + piece, &values)?;
            }
        }
        progress.advance(end - start);
    }
    progress.finish();
    if let Some(writer) = writer {
        writer.finish()?;
    }
    let points = lengths.iter().zip(&module.config().boundaries).map(|(length, boundary)| {
        if *boundary == Boundary::Causal { *length } else { 2 * length - 1 }
    });
    Ok(Report {
        schema_version: SCHEMA_VERSION,
        checkpoint: args.checkpoint.display().to_string(),
        prefix: found.prefix.clone(),
        device: args.tensors.device.to_string(),
        dtype: args.tensors.dtype.as_str(),
        shape,
        channels_first: args.channels_first,
        boundaries: module.config().boundaries.iter().map(ToString::to_string).collect(),
        kernel: points.collect(),
        modulated: condition.is_some(),
        masked: module.config().mask.is_some(),
        output: args.tensors.path(),
        // One column for all: no spread over the batch.
        summary: Summary { spread: None, ..gatherer.summary() },
    })
}

/// A flat tensor in parts, each with the number of its first element.
fn pieces(flat: &Tensor) -> Result<Vec<(usize, Tensor)>> {
    let count = flat.elem_count();
    let piece = |start: usize| Ok((start, flat.narrow(0, start, PIECE.min(count - start))?));
    (0..count).step_by(PIECE).map(piece).collect()
}

fn gather(gatherer: &mut Gatherer, flat: &Tensor) -> Result<()> {
    for (_, piece) in pieces(flat)? {
        gatherer.add(&piece.to_dtype(DType::F64)?.to_vec1::<f64>()?);
    }
    Ok(())
}

fn print(report: &Report) -> Result<()> {
    let mut out = printer::stdout();
    title(&mut out, &report.prefix, &report.checkpoint)?;
    let modulated = if report.modulated { "modulated" } else { "not modulated" };
    let masked = if report.masked { "masked" } else { "not masked" };
    writeln!(out, "output {:?} in {} on {}", report.shape, report.dtype, report.device)?;
    writeln!(
        out,
        "kernel {:?}, {}, {modulated}, {masked}\n",
        report.kernel,
        report.boundaries.join(" × ")
    )?;
    let Summary { min, mean, max, std, .. } = report.summary;
    statistics(&mut out, &[("min", min), ("mean", mean), ("max", max), ("std", std)])?;
    writeln!(out, "\n{DIM}of all numbers of the output{DIM:#}")?;
    Ok(out.flush()?)
}
