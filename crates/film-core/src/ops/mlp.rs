//! Linear → GELU (exact) → linear: in candle's operations, and fused on the CPU in float32.

use std::sync::{Arc, Mutex, PoisonError};

use bytemuck::cast_slice;
use candle_core::{CpuStorage, CustomOp2, Device, Layout, Shape, Tensor};
use pulp::{Arch, Simd, WithSimd};

use super::mlp_gradient::gradients;
use super::vector::{Aligned, Layer, Rows, TILE, Vectors, gelu};
use super::{Buffer, Piece, check_input, fused, linear, slice, threads, tracked, with_slices};
use crate::error::Result;

/// Rows that a thread computes in one go: while it computes some, it knows which it reads next.
const RUN: usize = 8 * TILE;

/// The network.
#[derive(Debug, Clone)]
pub(crate) struct Mlp {
    /// Weight and bias of the first layer, then of the second.
    tensors: [Tensor; 4],
    kept: Arc<Mutex<Kept>>,
}

/// The last weights that were packed. Those of a network that runs once are not kept, which would take a copy of them.
#[derive(Debug, Default)]
enum Kept {
    #[default]
    Unused,
    Used,
    Packed {
        /// The four tensors that were packed.
        source: [Vec<f32>; 4],
        packed: Arc<Packed>,
    },
}

impl Mlp {
    /// # Shapes
    /// `[hidden, in]`, `[hidden]`, `[out, hidden]`, `[out]`
    pub(crate) fn new(tensors: [Tensor; 4]) -> Self {
        Self { tensors, kept: Arc::default() }
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
        let operation = Fused { sizes, kept: self.kept.clone(), arch: Arch::new() };
        let y = if x.track_op() || tracked(&self.tensors) {
            x.apply_op2(&sizes.join(&self.tensors)?, operation)?
        } else {
            let [a, b, c, d] = self.tensors.each_ref().map(Tensor::contiguous);
            with_slices(&[x, a?, b?, c?, d?], |slices| {
                let y = operation.compute(slices[0], &slices[1..]);
                y.tensor((rows, sizes.outputs))
            })?
        };
        Ok(y.reshape([leading, &[sizes.outputs]].concat())?)
    }
}

/// The definition, in candle's operations.
fn plain(x: &Tensor, [weight, bias, output, shift]: &[Tensor; 4], name: &str) -> Result<Tensor> {
    let hidden = super::gelu(&linear(x, weight, Some(bias), name)?)?;
    linear(&hidden, output, Some(shift), "hidden activations")
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) inputs: usize,
    pub(super) hidden: usize,
    pub(super) outputs: usize,
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
pub(super) struct Fused {
    pub(super) sizes: Sizes,
    kept: Arc<Mutex<Kept>>,
    pub(super) arch: Arch,
}

/// Both layers, packed.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) first: Layer,
    second: Layer,
}

impl Fused {
    /// # Shapes
    /// x `[N, in]`, the four tensors → `[N, out]`
    fn compute(&self, x: &[f32], tensors: &[&[f32]]) -> Buffer {
        let Sizes { inputs, hidden, outputs } = self.sizes;
        let packed = self.packed(tensors);
        let rows = x.len() / inputs;
        let mut y = Buffer::new(rows * outputs);
        let cost = rows * (inputs + outputs) * hidden;
        let run = threads::share(cost, rows, RUN);
        let runs = x.chunks(run * inputs).zip(y.piece().chunks(run * outputs)).collect();
        let columns = packed.first.columns();
        threads::for_each(
            cost,
            runs,
            || Aligned::zeros(run.min(TILE) * columns),
            |hidden, (x, y): (&[f32], Piece)| {
                let hidden = hidden.as_mut();
                self.arch.dispatch(Run { packed: &packed, x, y, hidden, sizes: self.sizes });
            },
        );
        y
    }

    /// The packed form of the tensors: the one kept, if it is of the same numbers.
    pub(super) fn packed(&self, tensors: &[&[f32]]) -> Arc<Packed> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Kept::Packed { source, packed } = &*kept {
            let mut pairs = source.iter().zip(tensors);
            if pairs.all(|(a, b)| cast_slice::<_, u32>(a) == cast_slice::<_, u32>(b)) {
                return packed.clone();
            }
        }
        let Sizes { inputs, hidden, outputs } = self.sizes;
        let mut first = Layer::new(inputs, hidden, Vectors::of(self.arch));
        let mut second = Layer::new(hidden, outputs, Vectors::of(self.arch));
        first.pack(tensors[0], Some(tensors[1]));
        second.pack(tensors[2], Some(tensors[3]));
        let packed = Arc::new(Packed { first, second });
        *kept = match &*kept {
            Kept::Unused => Kept::Used,
            Kept::Used | Kept::Packed { .. } => {
                let source = std::array::from_fn(|index| tensors[index].to_vec());
                Kept::Packed { source, packed: packed.clone() }
            }
        };
        packed
    }
}

/// Some rows of the whole network, tile by tile.
struct Run<'a> {
    packed: &'a Packed,
    sizes: Sizes,
    x: &'a [f32],
    y: Piece<'a>,
    hidden: &'a mut [f32],
}

impl WithSimd for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Packed { first, second, .. } = self.packed;
        let Sizes { inputs, outputs, .. } = self.sizes;
        let columns = first.columns();
        let tiles = self.x.chunks(TILE * inputs).zip(self.y.chunks(TILE * outputs));
        let mut tiles = tiles.peekable();
        while let Some((x, y)) = tiles.next() {
            let next = tiles.peek().map_or([].as_slice(), |(x, _)| x);
            let x = Rows::new(x, inputs).before(next);
            let hidden = &mut self.hidden[..x.count() * columns];
            first.apply(simd, x, hidden.chunks_exact_mut(columns));
            gelu(simd, hidden);
            let hidden = Rows::new(hidden, columns);
            second.apply(simd, hidden, y.chunks(outputs).map(Piece::writer));
        }
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
        Ok((CpuStorage::F32(y.numbers()), (x_layout.dims()[0], self.sizes.outputs).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        joint: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let tensors = [x.clone(), joint.clone(), gradient.contiguous()?];
        let (in_x, in_joint) = with_slices(&tensors, |slices| {
            let parts = self.sizes.parts().map(|(start, len)| &slices[1][start..start + len]);
            Ok(gradients(self, (slices[0], x.track_op()), &parts, slices[2]))
        })?;
        let tensor = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), &Device::Cpu);
        Ok((in_x.map(|in_x| tensor(in_x, x)).transpose()?, Some(tensor(in_joint, joint)?)))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::testing::random_var as random;

    #[test]
    fn fused_and_plain_agree_in_values_and_gradients() {
        for (rows, [inputs, hidden, outputs]) in [
            (1, [384, 64, 192]),
            (0, [5, 3, 2]),
            (3, [1, 1, 1]),
            (33, [13, 11, 70]),
            (70, [130, 65, 33]),
        ] {
            let x = random("x", &[rows, inputs], 1.7);
            let scale = |inputs: usize| (3.0 / inputs as f64).sqrt();
            let vars = [
                random("0.weight", &[hidden, inputs], scale(inputs)),
                random("0.bias", &[hidden], 1.7),
                random("2.weight", &[outputs, hidden], scale(hidden)),
                random("2.bias", &[outputs], 1.7),
            ];
            let tensors = vars.each_ref().map(|var| var.as_tensor().clone());
            let weights = random("weights", &[rows, outputs], 1.7);
            let mlp = Mlp::new(tensors.clone());
            let results = [plain(&x, &tensors, "x"), mlp.forward(&x, "x")].map(|y| {
                let y = y.unwrap();
                let loss = (&y * weights.as_tensor()).unwrap().sum_all().unwrap();
                let gradients = loss.backward().unwrap();
                // Without rows the plain way has no gradients.
                let of =
                    |var: &Var| gradients.get(var).cloned().unwrap_or(var.zeros_like().unwrap());
                [vec![y], vars.iter().chain([&x]).map(of).collect()].concat()
            });
            for (plain, fused) in results[0].iter().zip(&results[1]) {
                assert_eq!(plain.dims(), fused.dims());
                if plain.elem_count() > 0 {
                    let largest = |x: &Tensor| x.abs()?.max_all()?.to_scalar::<f32>();
                    let gap = largest(&(plain - fused).unwrap()).unwrap();
                    // Sums of terms of size 1 may cancel; what rounding leaves of them does not.
                    let scale = largest(plain).unwrap().max(0.5);
                    assert!(gap <= 4e-6 * scale, "{rows} {inputs}: {gap:e}");
                }
            }
        }
    }

    #[test]
    fn weights_that_change_are_packed_anew() {
        let shapes: [(&str, &[usize]); 4] =
            [("0.weight", &[3, 4]), ("0.bias", &[3]), ("2.weight", &[2, 3]), ("2.bias", &[2])];
        let vars = shapes.map(|(name, shape)| random(name, shape, 1.0));
        let x = random("x", &[5, 4], 1.0).as_detached_tensor();
        // Detached views share their memory with the variables.
        let mlp = Mlp::new(vars.each_ref().map(Var::as_detached_tensor));
        let before = mlp.forward(&x, "x").unwrap();
        // Weights are kept from their second use on.
        mlp.forward(&x, "x").unwrap();
        for var in &vars {
            var.set(&random("changed", var.dims(), 1.0)).unwrap();
            let tensors = vars.each_ref().map(|var| var.as_tensor().clone());
            let [fresh, kept] = [Mlp::new(tensors), mlp.clone()]
                .map(|mlp| mlp.forward(&x, "x").unwrap().to_vec2::<f32>().unwrap());
            assert_eq!(fresh, kept);
            assert_ne!(kept, before.to_vec2::<f32>().unwrap());
        }
    }

    #[test]
    fn a_row_s_numbers_do_not_depend_on_the_others() {
        let shapes: [&[usize]; 4] = [&[64, 384], &[64], &[192, 64], &[192]];
        let mlp = Mlp::new(shapes.map(|shape| random("weights", shape, 0.2).as_detached_tensor()));
        let x = random("x", &[300, 384], 1.7).as_detached_tensor();
        let all = mlp.forward(&x, "x").unwrap().to_vec2::<f32>().unwrap();
        for row in [0, 1, 5, 6, 22, 23, 24, 25, 299] {
            let alone = mlp.forward(&x.narrow(0, row, 1).unwrap(), "x").unwrap();
            assert_eq!(alone.to_vec2::<f32>().unwrap()[0], all[row]);
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let shapes: [&[usize]; 5] = [&[64, 100], &[64], &[60, 64], &[60], &[999, 100]];
        let vars = shapes.map(|shape| random("weights", shape, 0.2));
        let bits = [1, 2, 7].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let [a, b, c, d, x] = vars.each_ref().map(|var| var.as_tensor().clone());
                let y = Mlp::new([a, b, c, d]).forward(&x, "x").unwrap();
                let gradients = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                let all = vars.iter().map(|var| gradients.get(var).unwrap()).chain([&y]);
                all.map(|x| x.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect::<Vec<_>>()
            })
        });
        assert_eq!(bits[0], bits[1]);
        assert_eq!(bits[0], bits[2]);
    }
}
