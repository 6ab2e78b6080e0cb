//! Linear → GELU (exact) → linear: in candle's operations, and fused on the CPU in float32.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, Device, Layout, Shape, Tensor, Var};
use pulp::bytemuck::cast_slice;
use pulp::{Arch, Simd, WithSimd};

use super::vector::{Aligned, Layer, Rows, TILE, gelu, lanes};
use super::{check_input, fused, linear, slice, threads, tracked, with_slices, zeros};
use crate::error::Result;

/// The network.
#[derive(Debug, Clone)]
pub(crate) struct Mlp {
    /// Weight and bias of the first layer, then of the second.
    tensors: [Tensor; 4],
    kept: Kept,
}

/// The last weights that were packed, with what they were packed from.
type Kept = Arc<Mutex<Option<Arc<Packed>>>>;

impl Mlp {
    /// # Shapes
    /// `[hidden, in]`, `[hidden]`, `[out, hidden]`, `[out]`
    pub(crate) fn new(tensors: [Tensor; 4]) -> Self {
        Self { tensors, kept: Kept::default() }
    }

    /// Weight and bias of the first layer, then of the second.
    ///
    /// # Shapes
    /// → `[hidden, in]`, `[hidden]`, `[out, hidden]`, `[out]`
    pub(crate) fn tensors(&self) -> &[Tensor; 4] {
        &self.tensors
    }

    /// # Shapes
    /// x `[*, in]` → `[*, out]`
    ///
    /// # Errors
    /// If the last axis of `x`, called `name` in the message, is not `in` long, or its dtype is not the weights'.
    pub(crate) fn forward(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let [weight, _, output, _] = &self.tensors;
        if !fused(x) || !fused(weight) {
            return plain(x, &self.tensors, name);
        }
        check_input(x, weight, name)?;
        let (hidden, inputs) = weight.dims2()?;
        let sizes = Sizes { inputs, hidden, outputs: output.dim(0)? };
        let leading = &x.dims()[..x.rank() - 1];
        let rows: usize = leading.iter().product();
        let x = x.contiguous()?.reshape((rows, inputs))?;
        let operation = Fused { sizes, kept: self.kept.clone() };
        let y = if x.track_op() || tracked(&self.tensors) {
            x.apply_op2(&sizes.join(&self.tensors)?, operation)?
        } else {
            let [a, b, c, d] = self.tensors.each_ref().map(Tensor::contiguous);
            with_slices(&[x, a?, b?, c?, d?], |slices| {
                let y = operation.compute(slices[0], &slices[1..]);
                Ok(Tensor::from_vec(y, (rows, sizes.outputs), &Device::Cpu)?)
            })?
        };
        Ok(y.reshape([leading, &[sizes.outputs]].concat())?)
    }
}

/// The definition, in candle's operations.
fn plain(x: &Tensor, [weight, bias, output, shift]: &[Tensor; 4], name: &str) -> Result<Tensor> {
    let hidden = linear(x, weight, Some(bias), name)?.gelu_erf()?;
    linear(&hidden, output, Some(shift), "hidden activations")
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    inputs: usize,
    hidden: usize,
    outputs: usize,
}

impl Sizes {
    /// The shapes of the four tensors.
    fn shapes(self) -> [Shape; 4] {
        let Self { inputs, hidden, outputs } = self;
        [(hidden, inputs).into(), hidden.into(), (outputs, hidden).into(), outputs.into()]
    }

    /// The four tensors as one, for an operation takes no more than three.
    fn join(self, tensors: &[Tensor; 4]) -> Result<Tensor> {
        let [a, b, c, d] = tensors.each_ref().map(Tensor::flatten_all);
        Ok(Tensor::cat(&[a?, b?, c?, d?], 0)?)
    }

    /// Where each tensor begins in the joint one, and its length.
    fn parts(self) -> [(usize, usize); 4] {
        let mut start = 0;
        self.shapes().map(|shape| {
            let part = (start, shape.elem_count());
            start += part.1;
            part
        })
    }
}

/// The fused operation, of x `[N, in]` and the four tensors in one.
struct Fused {
    sizes: Sizes,
    kept: Kept,
}

/// Both layers, packed.
#[derive(Debug)]
struct Packed {
    source: [Vec<f32>; 4],
    first: Layer,
    second: Layer,
}

impl Fused {
    /// # Shapes
    /// x `[N, in]`, the four tensors → `[N, out]`
    fn compute(&self, x: &[f32], tensors: &[&[f32]]) -> Vec<f32> {
        let Sizes { inputs, hidden, outputs } = self.sizes;
        let packed = self.packed(tensors);
        let rows = x.len() / inputs;
        let mut y = zeros(rows * outputs);
        let tiles = x.chunks(TILE * inputs).zip(y.chunks_mut(TILE * outputs)).collect();
        let columns = packed.first.columns();
        let scratch = || Aligned::zeros(TILE * columns);
        let cost = rows * (inputs + outputs) * hidden;
        threads::for_each(cost, tiles, scratch, |activations, (x, y)| {
            Arch::new().dispatch(Tile { packed: &packed, x, y, activations, sizes: self.sizes });
        });
        y
    }

    /// The packed form of the tensors: the one kept, if it is of the same numbers.
    fn packed(&self, tensors: &[&[f32]]) -> Arc<Packed> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |packed: &&Arc<Packed>| {
            let pairs = packed.source.iter().zip(tensors);
            pairs.into_iter().all(|(a, b)| cast_slice::<_, u32>(a) == cast_slice::<_, u32>(b))
        };
        if let Some(packed) = kept.as_ref().filter(same) {
            return packed.clone();
        }
        let Sizes { inputs, hidden, outputs } = self.sizes;
        let mut first = Layer::new(inputs, hidden, lanes());
        let mut second = Layer::new(hidden, outputs, lanes());
        first.pack(tensors[0], Some(tensors[1]));
        second.pack(tensors[2], Some(tensors[3]));
        let source = std::array::from_fn(|index| tensors[index].to_vec());
        let packed = Arc::new(Packed { source, first, second });
        *kept = Some(packed.clone());
        packed
    }
}

/// Some rows of the whole network.
struct Tile<'a> {
    packed: &'a Packed,
    sizes: Sizes,
    x: &'a [f32],
    y: &'a mut [f32],
    activations: &'a mut Aligned,
}

impl WithSimd for Tile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Packed { first, second, .. } = self.packed;
        let x = Rows { values: self.x, stride: self.sizes.inputs };
        let columns = first.columns();
        let hidden = &mut self.activations.as_mut()[..x.count() * columns];
        first.apply(simd, x, hidden, columns);
        gelu(simd, hidden);
        let hidden = Rows { values: hidden, stride: columns };
        second.apply(simd, hidden, self.y, self.sizes.outputs);
    }
}

impl CustomOp2 for Fused {
    fn name(&self) -> &'static str {
        "linear-gelu-linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        tensors: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (x, joint) = (slice(x, x_layout)?, slice(tensors, layout)?);
        let tensors = self.sizes.parts().map(|(start, len)| &joint[start..start + len]);
        let y = self.compute(x, &tensors);
        Ok((CpuStorage::F32(y), (x_layout.dims()[0], self.sizes.outputs).into()))
    }

    /// The plain path's.
    fn bwd(
        &self,
        x: &Tensor,
        joint: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let x = Var::from_tensor(&x.detach())?;
        let joint = Var::from_tensor(&joint.detach())?;
        let mut parts = self.sizes.parts().into_iter().zip(self.sizes.shapes());
        let mut next = || -> candle_core::Result<Tensor> {
            let Some(((start, len), shape)) = parts.next() else {
                candle_core::bail!("four parts")
            };
            joint.narrow(0, start, len)?.reshape(shape)
        };
        let y = plain(&x, &[next()?, next()?, next()?, next()?], "x")?;
        let gradients = (y * gradient)?.sum_all()?.backward()?;
        Ok((gradients.get(&x).cloned(), gradients.get(&joint).cloned()))
    }
}
