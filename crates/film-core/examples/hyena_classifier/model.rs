//! An image classifier of HyenaND blocks, written with candle_nn's layers and film-core's modules.
//!
//! Tokens are the patches, a class token, register tokens and padding; a block mixes them as a grid of `columns` a row
//! with a long convolution, whose kernel depends on the image by way of the registers.

use candle_core::{D, IndexOp, Module, Tensor};
use candle_nn::{Linear, VarBuilder, linear_no_bias};
use film_core::checkpoint::{Checkpoint, KernelSettings};
use film_core::conv::{Boundary, Convolution};
use film_core::{
    CKConvConfig, CKConvNd, Condition, Error, Parameter, RegisterPooling, RegisterPoolingConfig,
    Result,
};

/// The network's sizes, as a checkpoint's tensors have them.
pub(crate) struct Config {
    channels: usize,
    patch: usize,
    patches: usize,
    registers: usize,
    classes: usize,
    feed_forward: usize,
    /// One for each block.
    convs: Vec<CKConvConfig>,
}

impl Config {
    /// Reads the sizes off the tensors, and of the convolutions what config.json adds.
    pub(crate) fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Self> {
        let axis = |name: &str, axis: usize| {
            let found = checkpoint.get(name).and_then(|tensor| tensor.shape.get(axis));
            found.copied().ok_or_else(|| Error::MissingTensor { tensor: name.into() })
        };
        let patches = axis("pos_embed", 1)?;
        if patches.isqrt().pow(2) != patches {
            let expected = "a square number of positions on axis 1";
            return Err(Error::tensor("pos_embed", expected, patches.to_string()));
        }
        let settings = KernelSettings::from_json(&checkpoint.config()?.unwrap_or_default())?;
        let discovery = checkpoint.discover()?;
        let conv =
            |block: usize| discovery.conv(Some(&format!("blocks.{block}")))?.config(&settings);
        Ok(Self {
            channels: axis("patch_embed.weight", 0)?,
            patch: axis("patch_embed.weight", 2)?,
            patches,
            registers: axis("reg_token", 1)?,
            classes: axis("out_proj.weight", 0)?,
            feed_forward: axis("blocks.0.mlp.layer1.weight", 0)?,
            convs: (0..discovery.convs().len()).map(conv).collect::<Result<_>>()?,
        })
    }

    /// The parts that know how each of their parameters trains, by the prefix they are built under.
    pub(crate) fn modules(&self) -> Result<Vec<(String, Vec<Parameter>)>> {
        let pooling = RegisterPoolingConfig { num_registers: self.registers };
        let mut modules = Vec::new();
        for (index, conv) in self.convs.iter().enumerate() {
            let block = format!("blocks.{index}");
            modules.push((format!("{block}.register_pooling"), pooling.parameters()?.into()));
            let conv_prefix = format!("{block}.sequence_mixer.inner_mixer.mixer.global_conv");
            modules.push((conv_prefix, conv.parameters()?));
        }
        Ok(modules)
    }

    /// Patches in a row, and tokens in a row of the grid.
    fn columns(&self) -> usize {
        self.patches.isqrt()
    }
}

/// x / √(mean(x²) + 1e-6) ⊙ weight over the last axis. (candle_nn's fused norm has no gradient.)
struct Rms(Tensor);

impl Rms {
    fn new(channels: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self(vb.get_with_hints(channels, "weight", candle_nn::Init::Const(1.0))?))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mean = (x.sqr()?.mean_keepdim(D::Minus1)? + 1e-6)?;
        Ok(x.broadcast_div(&mean.sqrt()?)?.broadcast_mul(&self.0)?)
    }
}

/// q, k, v of a short convolution; the long one of q ⊙ silu(k), gated by v.
struct Mixer {
    qkv: Linear,
    short: Tensor,
    inner_norm: Rms,
    conv: CKConvNd,
    output_norm: Rms,
    out: Linear,
}

impl Mixer {
    fn new(config: &Config, conv: &CKConvConfig, vb: VarBuilder) -> Result<Self> {
        let channels = config.channels;
        let vb = vb.pp("sequence_mixer.inner_mixer");
        let mixer = vb.pp("mixer");
        let short = mixer.get((3 * channels, 1, 3, 3), "short_conv.weight")?;
        // PyTorch's convolution does not flip its kernel; ours does: flip it here.
        let mut short = short.flip(&[2, 3])?.permute((1, 2, 3, 0))?;
        if config.columns() == 1 {
            // Nothing but padding stands beside a lone column.
            short = short.narrow(2, 1, 1)?;
        }
        Ok(Self {
            qkv: linear_no_bias(channels, 3 * channels, vb.pp("qkv_proj"))?,
            short: short.contiguous()?,
            inner_norm: Rms::new(channels, mixer.pp("pixelhyena_norm"))?,
            conv: CKConvNd::new(conv, mixer.pp("global_conv"))?,
            output_norm: Rms::new(channels, mixer.pp("output_norm"))?,
            out: linear_no_bias(channels, channels, vb.pp("out_proj"))?,
        })
    }

    /// x `[B, h, w, C]`, conditioning `[B, cond_dim]` → `[B, h, w, C]`
    fn forward(&self, x: &Tensor, conditioning: &Tensor) -> Result<Tensor> {
        let qkv =
            Convolution::new(&[Boundary::Zero; 2])?.forward(&self.qkv.forward(x)?, &self.short)?;
        let qkv = qkv.chunk(3, D::Minus1)?;
        let (q, k, v) = (&qkv[0], &qkv[1], &qkv[2]);
        let norm = q.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.maximum(1e-12)?;
        let z = self.inner_norm.forward(&(q.broadcast_div(&norm)? * k.silu()?)?)?;
        let y = self.conv.forward(&z, Condition::Conditioning(conditioning))?;
        let y = self.output_norm.forward(&(y * candle_nn::ops::sigmoid(v)?)?)?;
        Ok(self.out.forward(&y)?)
    }
}

struct Block {
    input_norm: Rms,
    pooling: RegisterPooling,
    mixer: Mixer,
    grn: (Tensor, Tensor),
    scales: (Tensor, Tensor),
    mlp_norm: Rms,
    mlp: (Linear, Linear),
    /// First register token, number of them, columns of the grid.
    registers: (usize, usize, usize),
}

impl Block {
    fn new(config: &Config, conv: &CKConvConfig, vb: VarBuilder) -> Result<Self> {
        let (channels, hidden) = (config.channels, config.feed_forward);
        let pooling = RegisterPoolingConfig { num_registers: config.registers };
        Ok(Self {
            input_norm: Rms::new(channels, vb.pp("input_norm"))?,
            pooling: RegisterPooling::new(&pooling, vb.pp("register_pooling"))?,
            mixer: Mixer::new(config, conv, vb.clone())?,
            grn: (vb.get(channels, "grn.gamma")?, vb.get(channels, "grn.beta")?),
            scales: (vb.get(channels, "ls_attn.gamma")?, vb.get(channels, "ls_mlp.gamma")?),
            mlp_norm: Rms::new(channels, vb.pp("mlp_norm"))?,
            mlp: (
                linear_no_bias(channels, hidden, vb.pp("mlp.layer1"))?,
                linear_no_bias(hidden, channels, vb.pp("mlp.layer2"))?,
            ),
            registers: (config.patches + 1, config.registers, config.columns()),
        })
    }

    /// `[B, T, C]` → `[B, T, C]`
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, tokens, channels) = x.dims3()?;
        let (first, count, columns) = self.registers;
        let u = self.input_norm.forward(x)?;
        let conditioning = self.pooling.forward(&u.narrow(1, first, count)?)?;
        let grid = u.reshape((batch, tokens / columns, columns, channels))?;
        let y = self.mixer.forward(&grid, &conditioning)?.reshape((batch, tokens, channels))?;
        let size = y.sqr()?.sum_keepdim(1)?.sqrt()?;
        let share = size.broadcast_div(&(size.mean_keepdim(D::Minus1)? + 1e-6)?)?;
        let scaled = y.broadcast_mul(&share)?.broadcast_mul(&self.grn.0)?;
        let y = (scaled.broadcast_add(&self.grn.1)? + y)?;
        let x = (x + y.broadcast_mul(&self.scales.0)?)?;
        let h = self.mlp.0.forward(&self.mlp_norm.forward(&x)?)?.gelu_erf()?;
        Ok((&x + self.mlp.1.forward(&h)?.broadcast_mul(&self.scales.1)?)?)
    }
}

/// The classifier.
pub(crate) struct Classifier {
    patch_embed: Tensor,
    positions: Tensor,
    class_token: Tensor,
    registers: Tensor,
    blocks: Vec<Block>,
    norm: Rms,
    out: Linear,
    patch: usize,
    columns: usize,
}

impl Classifier {
    /// Builds the network from `vb`. A checkpoint's builder gives constants; to train, build it from a `VarMap`'s with
    /// the checkpoint's values in it.
    pub(crate) fn new(config: &Config, vb: VarBuilder) -> Result<Self> {
        let (channels, patch) = (config.channels, config.patch);
        let block = |(index, conv)| Block::new(config, conv, vb.pp(format!("blocks.{index}")));
        Ok(Self {
            patch_embed: vb.get((channels, 3, patch, patch), "patch_embed.weight")?,
            positions: vb.get((1, config.patches, channels), "pos_embed")?,
            class_token: vb.get((1, 1, channels), "cls_token")?,
            registers: vb.get((1, config.registers, channels), "reg_token")?,
            blocks: config.convs.iter().enumerate().map(block).collect::<Result<_>>()?,
            norm: Rms::new(channels, vb.pp("out_norm"))?,
            out: linear_no_bias(channels, config.classes, vb.pp("out_proj"))?,
            patch,
            columns: config.columns(),
        })
    }

    /// image `[B, S, S, 3]` → logits `[B, classes]`
    pub(crate) fn forward(&self, image: &Tensor) -> Result<Tensor> {
        let mut x = self.tokens(image)?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        Ok(self.out.forward(&self.norm.forward(&x.i((.., self.columns * self.columns))?)?)?)
    }

    /// image `[B, S, S, 3]` → tokens `[B, T, C]`, T a multiple of the columns
    fn tokens(&self, image: &Tensor) -> Result<Tensor> {
        let (columns, patch, channels) = (self.columns, self.patch, self.patch_embed.dim(0)?);
        let side = columns * patch;
        let batch = match *image.dims() {
            [batch, height, width, 3] if batch > 0 && (height, width) == (side, side) => batch,
            ref found => {
                let expected = format!("shape [B, {side}, {side}, 3], one image at least");
                return Err(Error::tensor("image", expected, format!("{found:?}")));
            }
        };
        // A convolution whose stride is its width is a product with each patch.
        let patches = image.reshape(vec![batch, columns, patch, columns, patch, 3])?;
        let patches =
            patches.permute([0, 1, 3, 5, 2, 4])?.reshape((batch * columns * columns, ()))?;
        let patches = patches.matmul(&self.patch_embed.reshape((channels, ()))?.t()?)?;
        let patches = patches.reshape((batch, columns * columns, channels))?;
        let patches = patches.broadcast_add(&self.positions)?;
        let all = |token: &Tensor| token.broadcast_as((batch, token.dim(1)?, channels));
        let tokens = Tensor::cat(&[&patches, &all(&self.class_token)?, &all(&self.registers)?], 1)?;
        let count = tokens.dim(1)?;
        Ok(tokens.pad_with_zeros(1, 0, count.next_multiple_of(columns) - count)?)
    }
}
