//! `kernel`: grid lengths and conditioning in, convolution kernels out.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use film_core::checkpoint::FoundKernel;
use film_core::siren::{SirenConfig, grid};
use film_core::statistics::{Gatherer, Summary};
use film_core::{Condition, ConditionalKernel, Error};
use film_picture::{Panel, Sheet};
use serde::Serialize;

use super::{SCHEMA_VERSION, check_grid, discover, selection, statistics, title};
use crate::args::Kernel;
use crate::chain::{Place, read_rows, row_rank};
use crate::device;
use crate::input::Input;
use crate::output::{CHUNK_BYTES, Entry, Progress, Target, TensorWriter, number};
use crate::printer::{self, DIM, escape};

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    checkpoint: String,
    prefix: String,
    device: String,
    dtype: &'static str,
    grid: Vec<usize>,
    shape: Vec<usize>,
    modulated: bool,
    masked: bool,
    output: Option<String>,
    image: Option<String>,
    kernel: Summary,
}

pub(crate) fn run(args: &Kernel) -> Result<()> {
    args.tensors.check()?;
    args.rows.seed()?;
    let place = Place { device: device::open(args.tensors.device)?, dtype: args.tensors.dtype };
    let checkpoint = Arc::new(super::open(&args.checkpoint)?);
    let output = args.tensors.output.as_ref().and_then(Target::path);
    super::keep_checkpoint("--output", output, &checkpoint)?;
    super::keep_checkpoint(
        "--image",
        args.image.as_ref().map(crate::picture::Picture::path),
        &checkpoint,
    )?;
    let discovery = discover(&checkpoint)?;
    let named = |error| selection(error, &checkpoint);
    let found = discovery.kernel(args.prefix.as_deref()).map_err(named)?;
    check_grid(&args.grid.0, found)?;
    let settings = args.settings.over_config(found, &checkpoint)?;
    let mut kernel =
        ConditionalKernel::load(&checkpoint, found, &settings, place.dtype, &place.device)
            .map_err(|error| args.settings.blame(error, &checkpoint))?;
    if args.settings.no_mask {
        kernel.mask = None;
    }
    if args.rows.registers.is_none() {
        kernel.encoder = None;
    } else if kernel.encoder.is_none() {
        let text = format!("holds no register encoder for {}", found.name());
        return Err(named(Error::Selection(text)));
    }
    if found.generator.is_none() && (args.rows.conditioning.is_some() || args.rows.random.is_some())
    {
        let text = format!("{}: has no FiLM generator: it takes no conditioning", found.name());
        return Err(named(Error::Selection(text)));
    }
    let report = draw(args, found, &kernel, &place)?;
    if report.kernel.non_finite > 0 {
        let count = number(report.kernel.non_finite);
        printer::warn(format!(
            "{count} of the kernels' numbers are NaN or infinite in {}",
            report.dtype
        ));
    }
    if let Some(path) = &report.output {
        printer::say(format!("wrote {path}: kernel {:?}, {}", report.shape, report.dtype));
    }
    if let Some(path) = &report.image {
        printer::say(format!("wrote {path}"));
    }
    match (&args.tensors.output, args.tensors.json) {
        (_, true) => printer::json(&report),
        (Some(_), false) => {
            if !report.modulated {
                super::warn_of_generator(found);
            }
            Ok(())
        }
        (None, false) => print(&report),
    }
}

/// The input, if there is one, and how many of its axes make a row.
fn input(args: &Kernel, kernel: &ConditionalKernel) -> Result<Option<(Input, usize)>> {
    let Some(film) = &kernel.kernel.config().film_generator else { return Ok(None) };
    let Some(input) = args.rows.open(film.cond_dim)? else { return Ok(None) };
    let rank = row_rank(kernel.encoder.as_ref(), film.cond_dim, &input)?;
    if input.shape.len() != rank + 1 {
        return Err(input.error("one batch axis in front"));
    }
    Ok(Some((input, rank)))
}

/// Draws the kernels chunk by chunk; writes them and sums them up.
fn draw(
    args: &Kernel,
    found: &FoundKernel,
    kernel: &ConditionalKernel,
    place: &Place,
) -> Result<Report> {
    let config: &SirenConfig = kernel.kernel.config();
    let lengths = args.grid.0.as_slice();
    check_memory(config, lengths, "--grid")?;
    let grid = grid(lengths, &config.l_cache, place.dtype, &Device::Cpu)?;
    let input = input(args, kernel)?;
    let rows = input.as_ref().map_or(1, |(input, _)| input.shape[0]);
    let points = &grid.dims()[1..=lengths.len()];
    let shape = [&[rows], points, &[config.out_dim]].concat();
    let each: usize = shape[1..].iter().product();
    let mut writer = match &args.tensors.output {
        Some(target) => {
            let entry = |name: &str, dtype: DType, shape: &[usize]| Entry {
                name: name.into(),
                dtype: dtype.into(),
                shape: shape.into(),
            };
            let entries = vec![
                entry("kernel", place.dtype, &shape),
                entry("grid", grid.dtype(), grid.dims()),
            ];
            let mut writer = TensorWriter::create(target, args.tensors.force, entries)?;
            writer.write("grid", 0, &grid)?;
            Some(writer)
        }
        None => None,
    };
    let mut picture = match &args.image {
        Some(picture) => {
            let shown = Shown::new(args, found, &grid, &shape, input.is_some())?;
            Some((picture, picture.create(args.tensors.force)?, shown))
        }
        None => None,
    };
    let mut gatherer = Gatherer::new(each);
    let progress = Progress::new(rows, "kernels");
    let row = input.as_ref().map_or(0, |(input, _)| input.shape[1..].iter().product());
    let each_bytes = kernel_bytes(config, lengths).saturating_add(row.saturating_mul(8)).max(1);
    let chunk = (CHUNK_BYTES / each_bytes).max(1);
    for start in (0..rows).step_by(chunk) {
        let end = rows.min(start.saturating_add(chunk));
        let values = input
            .as_ref()
            .map(|(input, rank)| read_rows(input, *rank, start..end, place))
            .transpose()?;
        let condition = match &values {
            None => Condition::None,
            Some(values) if kernel.encoder.is_some() => Condition::Registers(values),
            Some(values) => Condition::Conditioning(values),
        };
        let drawn = kernel.draw(lengths, condition)?.0.to_device(&Device::Cpu)?;
        if let Some((_, _, shown)) = &mut picture {
            shown.add(&drawn, start)?;
        }
        let drawn = drawn.flatten_all()?;
        gatherer.add(&drawn.to_dtype(DType::F64)?.to_vec1::<f64>()?);
        if let Some(writer) = &mut writer {
            writer.write("kernel", start * each, &drawn)?;
        }
        progress.advance(end - start);
    }
    progress.finish();
    if let Some(writer) = writer {
        writer.finish()?;
    }
    if let Some((picture, file, shown)) = picture {
        picture.write(file, &shown.sheet)?;
    }
    Ok(Report {
        schema_version: SCHEMA_VERSION,
        checkpoint: args.checkpoint.display().to_string(),
        prefix: found.prefix.clone(),
        device: args.tensors.device.to_string(),
        dtype: args.tensors.dtype.as_str(),
        grid: lengths.to_vec(),
        shape,
        modulated: input.is_some(),
        masked: kernel.mask.is_some(),
        output: args.tensors.path(),
        image: args.image.as_ref().map(|picture| picture.path().display().to_string()),
        kernel: gatherer.summary(),
    })
}

/// What drawing one kernel takes: its numbers, their statistics, and the hidden activations of a step.
pub(super) fn kernel_bytes(config: &SirenConfig, lengths: &[usize]) -> usize {
    let widest = config.embedding_dim.max(config.mlp_hidden_dim).saturating_mul(4);
    let numbers = config.out_dim.saturating_mul(5).saturating_add(widest);
    points(lengths).saturating_mul(numbers).saturating_mul(8)
}

fn points(lengths: &[usize]) -> usize {
    lengths.iter().fold(1usize, |points, length| {
        points.saturating_mul(length.saturating_mul(2).saturating_sub(1))
    })
}

/// An error where one kernel could not be held in memory.
pub(super) fn check_memory(config: &SirenConfig, lengths: &[usize], what: &str) -> Result<()> {
    if Vec::<u8>::new().try_reserve_exact(kernel_bytes(config, lengths)).is_err() {
        bail!("{what} {lengths:?}: not enough memory for kernels of {} points", points(lengths));
    }
    Ok(())
}

/// The samples and channels that a picture shows, and their sheet.
struct Shown {
    samples: Range<usize>,
    channels: Range<usize>,
    sheet: Sheet,
}

impl Shown {
    /// An empty sheet for the samples and channels asked for.
    fn new(
        args: &Kernel,
        found: &FoundKernel,
        grid: &Tensor,
        shape: &[usize],
        modulated: bool,
    ) -> Result<Self> {
        let points = &shape[1..shape.len() - 1];
        if points.len() > 3 {
            bail!(
                "--image: pictures are drawn of kernels with up to 3 axes, this one has {}",
                points.len()
            );
        }
        if shape[0] == 0 {
            bail!("--image: there are no samples to draw");
        }
        let choose =
            |flag: &str, range: &Option<Range<usize>>, first: usize, there: usize| match range {
                Some(range) if range.end > there => {
                    bail!("--{flag} {}..{}: there are {there}, from 0", range.start, range.end)
                }
                Some(range) => Ok(range.clone()),
                None => Ok(0..there.min(first)),
            };
        let last = grid.flatten_to(points.len())?.to_dtype(DType::F64)?;
        let reach = last.get(last.dim(0)? - 1)?.to_vec1::<f64>()?;
        let samples = choose("samples", &args.samples, 4, shape[0])?;
        let channels = choose("channels", &args.channels, 8, shape[shape.len() - 1])?;
        let row = |sample: usize| {
            if modulated { format!("sample {sample}") } else { "unmodulated".into() }
        };
        let column = |channel: usize| match channel == channels.start {
            true => format!("channel {channel}"),
            false => channel.to_string(),
        };
        let sheet = Sheet {
            title: escape(&format!("{}: kernels {points:?}", found.name())),
            rows: samples.clone().map(row).collect(),
            columns: channels.clone().map(column).collect(),
            panels: vec![],
            points: points.to_vec(),
            reach,
        };
        if let Err((width, height)) = sheet.check_size() {
            bail!(
                "--image: {} samples × {} channels would take {width:.0}×{height:.0} pixels: \
                 choose fewer by --samples and --channels",
                samples.len(),
                channels.len()
            );
        }
        Ok(Self { samples, channels, sheet })
    }

    /// Adds the panels of those samples that are in the chunk from `start` on.
    fn add(&mut self, drawn: &Tensor, start: usize) -> Result<()> {
        let end = start + drawn.dim(0)?;
        for sample in self.samples.clone().filter(|sample| (start..end).contains(sample)) {
            let kernel = drawn.get(sample - start)?;
            for channel in self.channels.clone() {
                let values = kernel.narrow(kernel.rank() - 1, channel, 1)?.flatten_all()?;
                self.sheet.panels.push(Panel { values: values.to_dtype(DType::F64)?.to_vec1()? });
            }
        }
        Ok(())
    }
}

fn print(report: &Report) -> Result<()> {
    let mut out = printer::stdout();
    title(&mut out, &report.prefix, &report.checkpoint)?;
    let modulated = if report.modulated { "modulated" } else { "not modulated" };
    let masked = if report.masked { "masked" } else { "not masked" };
    writeln!(
        out,
        "kernel {:?} in {} on {}, {modulated}, {masked}\n",
        report.shape, report.dtype, report.device
    )?;
    let Summary { min, mean, max, std, spread, .. } = report.kernel;
    let values = [("min", min), ("mean", mean), ("max", max), ("std", std), ("spread", spread)];
    statistics(&mut out, &values)?;
    writeln!(
        out,
        "\n{DIM}std: of all numbers; spread: std over the batch, mean over the kernel{DIM:#}"
    )?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use film_core::siren::{Omega, SirenConfig};

    use super::kernel_bytes;

    #[test]
    fn hidden_activations_count() {
        let config = |width: usize| SirenConfig {
            out_dim: 1,
            data_dim: 1,
            mlp_hidden_dim: width,
            num_layers: 2,
            embedding_dim: 4,
            omega: Omega::Fixed { omega_0: 1.0 },
            hidden_omega_0: 1.0,
            l_cache: vec![3],
            use_bias: true,
            film_after_pos_embed: false,
            film_generator: None,
        };
        assert!(kernel_bytes(&config(1024), &[3]) >= 5 * 1024 * 8);
        assert!(kernel_bytes(&config(1024), &[3]) > 100 * kernel_bytes(&config(4), &[3]));
    }
}
