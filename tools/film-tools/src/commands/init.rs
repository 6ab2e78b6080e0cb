//! `init`: sizes and a seed in, a checkpoint directory out.

use anyhow::Result;
use candle_core::{DType, Device};
use candle_nn::VarMap;
use film_core::{InitType, KernelFilmConfig, KernelFilmGenerator, checkpoint, init};

use super::Usage;
use crate::args::Init;
use crate::output::number;
use crate::printer;

pub(crate) fn run(args: Init) -> Result<()> {
    let config = args.sizes.config([
        ("init_type", args.init_type.map(Into::into)),
        ("init_std", args.init_std.map(Into::into)),
        ("no_weight_decay", args.no_weight_decay),
    ])?;
    if args.init_std.is_some() && config.init_type != InitType::SmallRandom {
        return Err(Usage("--init-std: only --init-type small_random takes one".into()).into());
    }
    let vars = VarMap::new();
    let vb = init::var_builder(&vars, args.seed, args.dtype, &Device::Cpu);
    let generator = KernelFilmGenerator::new(&config, vb)?;
    check_finite(&config, &generator, args.dtype)?;
    checkpoint::save(&args.output, &config, generator.tensors(), args.force)?;
    let parameters = number(config.flops()?.parameters());
    let (dtype, directory) = (args.dtype.as_str(), args.output.display());
    printer::say(format!(
        "wrote {directory}: {parameters} parameters, {dtype}, seed {}",
        args.seed
    ));
    Ok(())
}

/// An `init_std` may be finite and the weights drawn with it too large for their dtype all the same.
fn check_finite(
    config: &KernelFilmConfig,
    generator: &KernelFilmGenerator,
    dtype: DType,
) -> Result<()> {
    for (name, tensor) in generator.tensors() {
        let most = tensor.abs()?.flatten_all()?.max(0)?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        if !most.is_finite() {
            let (std, dtype) = (config.init_std, dtype.as_str());
            return Err(
                Usage(format!("--init-std {std:e}: too large for {name} in {dtype}")).into()
            );
        }
    }
    Ok(())
}
