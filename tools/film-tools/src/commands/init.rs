//! `init`: sizes and a seed in, a checkpoint directory out.

use anyhow::Result;
use candle_core::Device;
use candle_nn::VarMap;
use film_core::{KernelFilmGenerator, checkpoint, init};

use crate::args::Init;
use crate::output::number;
use crate::printer;

pub(crate) fn run(args: Init) -> Result<()> {
    let config = args.sizes.config([
        ("init_type", args.init_type.map(Into::into)),
        ("init_std", args.init_std.map(Into::into)),
        ("no_weight_decay", args.no_weight_decay),
    ])?;
    let vars = VarMap::new();
    let vb = init::var_builder(&vars, args.seed, args.dtype, &Device::Cpu);
    let generator = KernelFilmGenerator::new(&config, vb)?;
    checkpoint::save(&args.output, &config, generator.tensors(), args.force)?;
    let parameters = number(config.flops()?.parameters());
    let (dtype, directory) = (args.dtype.as_str(), args.output.display());
    printer::say(format!(
        "wrote {directory}: {parameters} parameters, {dtype}, seed {}",
        args.seed
    ));
    Ok(())
}
