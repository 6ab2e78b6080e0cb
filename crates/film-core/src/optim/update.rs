//! The arithmetic on the elements: in place on the CPU, in candle's operations on other devices.
//!
//! Both ways compute the same, in the same order, in the dtype of the moments.

use candle_core::{CpuStorage, DType, InplaceOp2, InplaceOp3, Layout, Tensor, Var, WithDType};
use half::{bf16, f16};
use rayon::prelude::*;

use crate::error::Result;

/// Elements that a thread takes at once.
pub(super) const BLOCK: usize = 1 << 15;

/// The dtype of a variable's moments and of its average: float32 at least.
pub(super) fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// x ← x + weight · (factor · y − x). Where x = y and the factor is 1, x stays exactly as it is.
///
/// As in PyTorch's `lerp`, a weight of 1/2 or more is counted from y: what x was before then leaves no rounding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lerp {
    pub(super) weight: f64,
    pub(super) factor: f64,
}

/// v ← β · v + (1 − β) · (factor · g)².
#[derive(Debug, Clone, Copy)]
pub(super) struct SecondMoment {
    pub(super) beta: f64,
    pub(super) factor: f64,
}

/// θ ← keep · θ − rate · m / (scale · √v + eps).
#[derive(Debug, Clone, Copy)]
pub(super) struct Descend {
    pub(super) keep: f64,
    pub(super) rate: f64,
    pub(super) scale: f64,
    pub(super) eps: f64,
}

impl Lerp {
    /// x, y `[*]` of the same dtype, float32 or float64.
    pub(super) fn apply(&self, x: &Var, y: &Tensor) -> Result<()> {
        if x.device().is_cpu() {
            return Ok(x.inplace_op2(&y.contiguous()?, self)?);
        }
        self.plain(x, y)
    }

    fn plain(&self, x: &Var, y: &Tensor) -> Result<()> {
        let (x_old, y) = (x.as_detached_tensor(), (y.detach() * self.factor)?);
        let gap = (&y - &x_old)?;
        let new = if self.weight < 0.5 {
            x_old + (gap * self.weight)?
        } else {
            y - (gap * (1.0 - self.weight))?
        };
        Ok(x.set(&new?)?)
    }
}

impl SecondMoment {
    /// v, g `[*]` of the same dtype, float32 or float64.
    pub(super) fn apply(&self, v: &Var, g: &Tensor) -> Result<()> {
        if v.device().is_cpu() {
            return Ok(v.inplace_op2(&g.contiguous()?, self)?);
        }
        self.plain(v, g)
    }

    fn plain(&self, v: &Var, g: &Tensor) -> Result<()> {
        let g = (g.detach() * self.factor)?;
        let new = ((&g * (1.0 - self.beta))? * &g)?;
        Ok(v.set(&((v.as_detached_tensor() * self.beta)? + new)?)?)
    }
}

impl Descend {
    /// θ `[*]`; m, v `[*]` of its wide dtype. θ is rounded to its own dtype once.
    pub(super) fn apply(&self, theta: &Var, m: &Var, v: &Var) -> Result<()> {
        if theta.device().is_cpu() {
            return Ok(theta.inplace_op3(m, v, self)?);
        }
        self.plain(theta, m, v)
    }

    fn plain(&self, theta: &Var, m: &Var, v: &Var) -> Result<()> {
        let below = ((v.as_detached_tensor().sqrt()? * self.scale)? + self.eps)?;
        let kept = (theta.as_detached_tensor().to_dtype(m.dtype())? * self.keep)?;
        let new = (kept - ((m.as_detached_tensor() * self.rate)? / below)?)?;
        Ok(theta.set(&new.to_dtype(theta.dtype())?)?)
    }
}

/// What is computed in.
trait Wide: WithDType {
    fn sqrt(self) -> Self;
}

impl Wide for f32 {
    fn sqrt(self) -> Self {
        self.sqrt()
    }
}

impl Wide for f64 {
    fn sqrt(self) -> Self {
        self.sqrt()
    }
}

/// What is stored: a number that converts to what it is computed in, and back.
trait Stored<W>: WithDType {
    fn widen(self) -> W;
    fn narrow(wide: W) -> Self;
}

macro_rules! stored {
    ($($stored:ty as $wide:ty: $widen:expr, $narrow:expr;)*) => {
        $(impl Stored<$wide> for $stored {
            fn widen(self) -> $wide {
                $widen(self)
            }
            fn narrow(wide: $wide) -> Self {
                $narrow(wide)
            }
        })*
    };
}

stored! {
    f64 as f64: |x| x, |x| x;
    f32 as f32: |x| x, |x| x;
    f16 as f32: f16::to_f32, f16::from_f32;
    bf16 as f32: bf16::to_f32, bf16::from_f32;
}

impl InplaceOp2 for Lerp {
    fn name(&self) -> &'static str {
        "lerp"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        x_at: &Layout,
        y: &CpuStorage,
        y_at: &Layout,
    ) -> candle_core::Result<()> {
        fn run<T: Wide>(op: &Lerp, x: &mut [T], y: &[T]) {
            let [weight, rest, factor] = [op.weight, 1.0 - op.weight, op.factor].map(T::from_f64);
            if op.weight < 0.5 {
                each(x, y, y, |x, y, _| x + (y * factor - x) * weight);
            } else {
                each(x, y, y, |x, y, _| y * factor - (y * factor - x) * rest);
            }
        }
        match x {
            CpuStorage::F64(x) => run(self, part_mut(x, x_at)?, part(y, y_at)?),
            CpuStorage::F32(x) => run(self, part_mut(x, x_at)?, part(y, y_at)?),
            _ => return Err(unsupported("lerp")),
        }
        Ok(())
    }
}

impl InplaceOp2 for SecondMoment {
    fn name(&self) -> &'static str {
        "second-moment"
    }

    fn cpu_fwd(
        &self,
        v: &mut CpuStorage,
        v_at: &Layout,
        g: &CpuStorage,
        g_at: &Layout,
    ) -> candle_core::Result<()> {
        fn run<T: Wide>(op: &SecondMoment, v: &mut [T], g: &[T]) {
            let [beta, rest, factor] = [op.beta, 1.0 - op.beta, op.factor].map(T::from_f64);
            each(v, g, g, |v, g, _| {
                let g = g * factor;
                v * beta + g * rest * g
            });
        }
        match v {
            CpuStorage::F64(v) => run(self, part_mut(v, v_at)?, part(g, g_at)?),
            CpuStorage::F32(v) => run(self, part_mut(v, v_at)?, part(g, g_at)?),
            _ => return Err(unsupported("second-moment")),
        }
        Ok(())
    }
}

impl InplaceOp3 for Descend {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(
        &self,
        theta: &mut CpuStorage,
        theta_at: &Layout,
        m: &CpuStorage,
        m_at: &Layout,
        v: &CpuStorage,
        v_at: &Layout,
    ) -> candle_core::Result<()> {
        fn run<W: Wide, T: Stored<W>>(op: &Descend, theta: &mut [T], m: &[W], v: &[W]) {
            let [keep, rate, scale, eps] = [op.keep, op.rate, op.scale, op.eps].map(W::from_f64);
            each(theta, m, v, |theta, m, v| {
                T::narrow(theta.widen() * keep - m * rate / (v.sqrt() * scale + eps))
            });
        }
        macro_rules! run {
            ($theta:expr) => {
                run(self, part_mut($theta, theta_at)?, part(m, m_at)?, part(v, v_at)?)
            };
        }
        match theta {
            CpuStorage::F64(theta) => run!(theta),
            CpuStorage::F32(theta) => run!(theta),
            CpuStorage::F16(theta) => run!(theta),
            CpuStorage::BF16(theta) => run!(theta),
            _ => return Err(unsupported("adamw")),
        }
        Ok(())
    }
}

/// x ← f(x, a, b), element by element.
fn each<T: Copy + Send, S: Copy + Sync>(
    x: &mut [T],
    a: &[S],
    b: &[S],
    f: impl Fn(T, S, S) -> T + Sync,
) {
    let serial = |x: &mut [T], a: &[S], b: &[S]| {
        for ((x, &a), &b) in x.iter_mut().zip(a).zip(b) {
            *x = f(*x, a, b);
        }
    };
    if x.len() <= BLOCK {
        return serial(x, a, b);
    }
    let blocks = x.par_chunks_mut(BLOCK).zip(a.par_chunks(BLOCK)).zip(b.par_chunks(BLOCK));
    blocks.for_each(|((x, a), b)| serial(x, a, b));
}

/// The elements that a contiguous tensor has in its storage.
pub(super) fn part<'a, T: WithDType>(
    storage: &'a CpuStorage,
    at: &Layout,
) -> candle_core::Result<&'a [T]> {
    let (start, end) = range(at)?;
    Ok(&storage.as_slice::<T>()?[start..end])
}

fn part_mut<'a, T>(storage: &'a mut [T], at: &Layout) -> candle_core::Result<&'a mut [T]> {
    let (start, end) = range(at)?;
    Ok(&mut storage[start..end])
}

fn range(at: &Layout) -> candle_core::Result<(usize, usize)> {
    at.contiguous_offsets().ok_or(candle_core::Error::RequiresContiguous { op: "optimizer" })
}

fn unsupported(op: &str) -> candle_core::Error {
    candle_core::Error::msg(format!("{op}: expected floating-point numbers"))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::init::Stream;

    fn var(name: &str, dtype: DType, start: f64) -> Var {
        // More than a block, and not a multiple of it.
        let mut stream = Stream::new(0, name);
        let values: Vec<f64> = (0..BLOCK + 77).map(|_| stream.uniform(start, 1.0)).collect();
        let tensor = Tensor::new(values, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        Var::from_tensor(&tensor).unwrap()
    }

    /// The same change in place and in candle's operations, on two copies.
    fn assert_same(var: &Var, fused: impl Fn(&Var), plain: impl Fn(&Var)) {
        let [a, b] = [(); 2].map(|()| Var::from_tensor(&var.copy().unwrap().detach()).unwrap());
        fused(&a);
        plain(&b);
        let [start, a, b] =
            [var, &a, &b].map(|var| var.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap());
        assert_eq!(a, b);
        assert_ne!(a, start);
    }

    #[test]
    fn both_ways_give_the_same_bits() {
        for dtype in [DType::F32, DType::F64] {
            let [x, y] = [var("x", dtype, -1.0), var("y", dtype, -1.0)];
            for weight in [0.1, 0.5, 1.0] {
                let op = Lerp { weight, factor: 0.3 };
                assert_same(&x, |x| op.apply(x, &y).unwrap(), |x| op.plain(x, &y).unwrap());
            }
            let v = var("v", dtype, 0.0);
            let op = SecondMoment { beta: 0.999, factor: 0.3 };
            assert_same(&v, |v| op.apply(v, &x).unwrap(), |v| op.plain(v, &x).unwrap());
        }
        for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
            let [m, v] = [var("m", wide(dtype), -1.0), var("v", wide(dtype), 0.0)];
            let op = Descend { keep: 0.99, rate: 0.02, scale: 1.7, eps: 1e-8 };
            let theta = var("theta", dtype, -1.0);
            assert_same(
                &theta,
                |theta| op.apply(theta, &m, &v).unwrap(),
                |theta| op.plain(theta, &m, &v).unwrap(),
            );
        }
    }
}
