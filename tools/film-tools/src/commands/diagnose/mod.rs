//! `diagnose`: the health of every generator, as text, as JSON and as a page.
//!
//! ```text
//! rows ─ given ─▶ generators ─ report ─▶ measures, findings, what stands out ┬▶ text
//!                 kernels ─ pictures ────────────────────────────────────────┴▶ html
//! ```

mod given;
mod html;
mod names;
mod pictures;
mod report;
mod text;

use std::sync::Arc;

use anyhow::Result;
use candle_core::{DType, Device};
use film_core::checkpoint::AtomicFile;

use super::{
    Usage, discover, generator_config, keep_checkpoint, open, selection, warn_of_near_misses,
};
use crate::args::{Diagnose, Rows, Settings};
use crate::chain::{Chain, Place};
use crate::output::{Progress, natural};
use crate::printer;
use given::Given;
use report::{Part, Report};

/// What a generator is run for where nothing else is asked for.
const RANDOM_ROWS: usize = 256;

pub(crate) fn run(args: &Diagnose) -> Result<()> {
    if args.html.is_none() && args.settings.given() {
        let text = "--omega-0, --l-cache, --film-after-pos-embed and --no-mask are of the kernels that --html draws";
        return Err(Usage(text.into()).into());
    }
    let page = args.html.as_ref();
    let page = page.map(|path| AtomicFile::create(path, args.force).map(|file| (path, file)));
    let page = page.transpose()?;
    let checkpoint = Arc::new(open(&args.checkpoint)?);
    keep_checkpoint("--html", args.html.as_deref(), &checkpoint)?;
    let discovery = discover(&checkpoint)?;
    let prefix = args.prefix.as_deref();
    let named = |error| selection(error, &checkpoint);
    let mut chosen = discovery.select(prefix).map_err(named)?;
    chosen.sort_by(|a, b| natural(&a.prefix, &b.prefix));
    warn_of_near_misses(&discovery, prefix);
    let place = Place { device: Device::Cpu, dtype: DType::F32 };
    let given = Given::open(args.rows.or_random(RANDOM_ROWS))?;
    let names = names::short(&chosen.iter().map(|found| found.prefix.as_str()).collect::<Vec<_>>());
    let progress = Progress::new(chosen.len(), "generators");
    let (mut parts, mut pictures) = (vec![], vec![]);
    for (found, name) in chosen.into_iter().zip(&names.short) {
        let config = generator_config(found, args.kernel_hidden_dim).map_err(named)?;
        let registers = given.registers();
        let chain = Chain::load(&checkpoint, &discovery, found, config, registers, &place);
        let chain = chain.map_err(named)?;
        let input = given.of(&chain)?;
        parts.push(Part::measure(&chain, name, &input, &place)?);
        if page.is_some() {
            let kernel = discovery.kernels().iter().find(|kernel| {
                kernel.generator.as_ref().is_some_and(|of| of.prefix == found.prefix)
            });
            pictures.push(match kernel {
                Some(kernel) => {
                    Some(pictures::draw(kernel, &checkpoint, &args.settings, registers, &input)?)
                }
                None => None,
            });
        }
        progress.advance(1);
    }
    progress.finish();
    let path = args.checkpoint.display().to_string();
    let report = Report::new(path, given.describe(), names.tail, parts);
    if report.samples() == 0 {
        printer::warn("the input has no rows: nothing is known of γ and β");
    }
    if let Some((path, mut file)) = page {
        file.write(html::page(&report, &pictures)?.as_bytes())?;
        file.commit()?;
        printer::say(format!("wrote {}", path.display()));
    }
    if args.json { printer::json(&report) } else { text::print(&report) }
}

impl Settings {
    /// Whether one of the flags is there.
    fn given(&self) -> bool {
        let Self { omega_0, l_cache, film_after_pos_embed, no_mask } = self;
        omega_0.is_some() || l_cache.is_some() || film_after_pos_embed.is_some() || *no_mask
    }
}

impl Rows {
    /// These, or so many random ones where there are none.
    fn or_random(&self, rows: usize) -> Self {
        let random = self.random.or(self.text().is_none().then_some(rows));
        Self { random, ..self.clone() }
    }
}
