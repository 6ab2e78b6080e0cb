//! The fused network as one differentiable operation, of its tensors in one and of the (γ, β) of all samples.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Device, Layout, Shape, Tensor};
use pulp::Arch;

use super::network::{Network, Sizes};
use super::{fused, gradient};
use crate::error::Result;
use crate::ops::{Buffer, Piece, slice, tracked, with_slices};

/// Draws the kernels, fused.
///
/// # Shapes
/// grid `[1, *G, D]`, films `[B, num_film_layers · 2 · H]` → `[1 or B, *G, out_dim]`
pub(super) fn draw(
    network: &Network<Tensor>,
    film_after_pos_embed: bool,
    grid: &Tensor,
    films: Option<&Tensor>,
) -> Result<Tensor> {
    draw_on(Arch::new(), network, film_after_pos_embed, grid, films)
}

/// The same with these vectors.
pub(super) fn draw_on(
    arch: Arch,
    network: &Network<Tensor>,
    film_after_pos_embed: bool,
    grid: &Tensor,
    films: Option<&Tensor>,
) -> Result<Tensor> {
    let sizes = network.sizes(film_after_pos_embed)?;
    let axes = &grid.dims()[1..grid.rank() - 1];
    let batch = films.map_or(Ok(1), |films| films.dim(0))?;
    let shape = Shape::from([&[batch], axes, &[sizes.outputs()]].concat());
    let grid = grid.contiguous()?;
    let operation = Draw { arch, sizes, grid, shape };
    let films = films.map(Tensor::contiguous).transpose()?;
    let mut tensors = network.tensors();
    if tracked(&tensors) || films.as_ref().is_some_and(Tensor::track_op) {
        let flat =
            tensors.iter().map(Tensor::flatten_all).collect::<candle_core::Result<Vec<_>>>()?;
        let joint = Tensor::cat(&flat, 0)?;
        return Ok(match films {
            Some(films) => joint.apply_op2(&films, operation)?,
            None => joint.apply_op1(operation)?,
        });
    }
    let count = tensors.len();
    for tensor in &mut tensors {
        *tensor = tensor.contiguous()?;
    }
    tensors.extend(films);
    with_slices(&tensors, |slices| {
        let (tensors, films) = slices.split_at(count);
        let network = operation.sizes.network(tensors.iter().copied());
        let shape = operation.shape.clone();
        let mut kernels = Buffer::of_rows(shape.elem_count(), operation.sizes.outputs());
        operation.forward(&network, films.first().copied(), kernels.piece())?;
        kernels.tensor(shape)
    })
}

struct Draw {
    arch: Arch,
    sizes: Sizes,
    /// `[1, *G, D]`
    grid: Tensor,
    /// The kernels'.
    shape: Shape,
}

impl Draw {
    fn forward(
        &self,
        network: &Network<&[f32]>,
        films: Option<&[f32]>,
        kernels: Piece<'_>,
    ) -> Result<()> {
        with_slices(std::slice::from_ref(&self.grid), |grid| {
            fused::forward(self.arch, &self.sizes, network, grid[0], films, kernels);
            Ok(())
        })
    }

    /// The kernels for a storage, which begins with its tensor's first number.
    fn storage(
        &self,
        network: &Network<&[f32]>,
        films: Option<&[f32]>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let mut kernels = Buffer::new(self.shape.elem_count());
        self.forward(network, films, kernels.piece())?;
        Ok((CpuStorage::F32(kernels.numbers()), self.shape.clone()))
    }

    /// The network whose tensors stand one after the other in `joint`.
    fn network<'a>(&self, joint: &'a [f32]) -> Network<&'a [f32]> {
        let mut rest = joint;
        let tensors = self.sizes.lengths().into_iter().map(move |length| {
            let (tensor, behind) = rest.split_at(length);
            rest = behind;
            tensor
        });
        self.sizes.network(tensors)
    }

    fn backward(
        &self,
        joint: &Tensor,
        films: Option<&Tensor>,
        gradient: &Tensor,
    ) -> Result<gradient::Gradients> {
        let gradient = gradient.contiguous()?;
        let tensors = [Some(joint), Some(&gradient), Some(&self.grid), films];
        let tensors: Vec<Tensor> = tensors.into_iter().flatten().cloned().collect();
        with_slices(&tensors, |slices| {
            let network = self.network(slices[0]);
            let (gradient, grid, films) = (slices[1], slices[2], slices.get(3).copied());
            Ok(gradient::backward(self.arch, &self.sizes, &network, grid, films, gradient))
        })
    }
}

impl CustomOp1 for Draw {
    fn name(&self) -> &'static str {
        "siren"
    }

    fn cpu_fwd(
        &self,
        joint: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.storage(&self.network(slice(joint, layout)?), None)
    }

    fn bwd(
        &self,
        joint: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let gradients = self.backward(joint, None, gradient)?;
        Ok(Some(Tensor::from_vec(gradients.joint, joint.shape(), &Device::Cpu)?))
    }
}

impl CustomOp2 for Draw {
    fn name(&self) -> &'static str {
        "siren with FiLM"
    }

    fn cpu_fwd(
        &self,
        joint: &CpuStorage,
        layout: &Layout,
        films: &CpuStorage,
        films_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let network = self.network(slice(joint, layout)?);
        self.storage(&network, Some(slice(films, films_layout)?))
    }

    fn bwd(
        &self,
        joint: &Tensor,
        films: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let gradients = self.backward(joint, Some(films), gradient)?;
        let tensor = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), &Device::Cpu);
        Ok((Some(tensor(gradients.joint, joint)?), Some(tensor(gradients.films, films)?)))
    }
}
