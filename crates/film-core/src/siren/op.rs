//! The fused network as one differentiable operation, of its tensors in one and of the (γ, β) of all samples.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Device, Layout, Shape, Tensor};
use pulp::Arch;

use super::network::{Network, Sizes};
use super::{fused, gradient};
use crate::error::Result;
use crate::ops::{slice, tracked, with_slices};

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

fn draw_on(
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
    let grid = grid.flatten_all()?.to_vec1()?;
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
        let kernels = operation.forward(&network, films.first().copied());
        Ok(Tensor::from_vec(kernels, operation.shape.clone(), &Device::Cpu)?)
    })
}

struct Draw {
    arch: Arch,
    sizes: Sizes,
    /// `[G, D]`
    grid: Vec<f32>,
    /// The kernels'.
    shape: Shape,
}

impl Draw {
    fn forward(&self, network: &Network<&[f32]>, films: Option<&[f32]>) -> Vec<f32> {
        fused::forward(self.arch, &self.sizes, network, &self.grid, films)
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
        let tensors: Vec<Tensor> = [Some(joint), films, Some(&gradient.contiguous()?)]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        with_slices(&tensors, |slices| {
            let network = self.network(slices[0]);
            let films = films.map(|_| slices[1]);
            let gradient = slices[slices.len() - 1];
            Ok(gradient::backward(self.arch, &self.sizes, &network, &self.grid, films, gradient))
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
        let kernels = self.forward(&self.network(slice(joint, layout)?), None);
        Ok((CpuStorage::F32(kernels), self.shape.clone()))
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
        let kernels = self.forward(&network, Some(slice(films, films_layout)?));
        Ok((CpuStorage::F32(kernels), self.shape.clone()))
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

#[cfg(test)]
mod tests {
    use candle_core::{DType, Var};

    use super::*;
    use crate::film::Film;
    use crate::ops::vector::tests::arches;
    use crate::siren::{grid, plain};

    struct Case {
        lengths: Vec<usize>,
        embedding: usize,
        hidden: usize,
        layers: usize,
        outputs: usize,
        biases: bool,
        scale: bool,
        after: bool,
        batch: Option<usize>,
    }

    fn cases() -> Vec<Case> {
        let case =
            |lengths: &[usize], [embedding, hidden, layers, outputs]: [usize; 4], batch| Case {
                lengths: lengths.into(),
                embedding,
                hidden,
                layers,
                outputs,
                biases: outputs != 5,
                scale: outputs % 2 == 0,
                after: embedding == hidden,
                batch,
            };
        vec![
            case(&[1], [1, 1, 1, 1], None),
            case(&[9], [7, 5, 2, 3], Some(2)),
            case(&[40], [17, 33, 4, 50], Some(3)),
            case(&[6, 5], [32, 32, 3, 48], Some(5)),
            case(&[6, 5], [32, 32, 3, 5], None),
            case(&[17, 18], [20, 20, 3, 70], Some(2)),
            case(&[3, 2, 4], [8, 16, 3, 24], Some(1)),
            case(&[5], [12, 12, 1, 6], Some(4)),
            case(&[4, 4], [16, 16, 3, 8], Some(0)),
        ]
    }

    /// The kernel and the gradients of a weighted sum of it, in all tensors and in the films.
    type Way<'a> = &'a dyn Fn(&Network<Tensor>, &Tensor, Option<&Tensor>) -> Tensor;

    fn results(case: &Case, way: Way<'_>) -> Vec<Tensor> {
        // candle's random numbers cannot be seeded, and both ways need the same: sines of a count will do.
        let mut count = 0;
        let mut var = |shape: &[usize], size: f64| {
            let len: usize = shape.iter().product();
            let values: Vec<f32> = (0..len)
                .map(|index| (((count + index) as f64 * 12.9898).sin() * size) as f32)
                .collect();
            count += len;
            Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap()
        };
        let mut vars = vec![];
        let mut add = |shape: &[usize], size: f64| {
            let var = var(shape, size);
            vars.push(var.clone());
            var.as_tensor().clone()
        };
        let mut linear = |outputs: usize, inputs: usize, size: f64| {
            (add(&[outputs, inputs], size), case.biases.then(|| add(&[outputs], 1.0)))
        };
        let embedding = linear(case.embedding, case.lengths.len(), 9.0);
        let mut layers = vec![];
        for index in 0..case.layers {
            let inputs = if index == 0 { case.embedding } else { case.hidden };
            let outputs = if index + 1 == case.layers { case.outputs } else { case.hidden };
            layers.push(linear(outputs, inputs, (6.0 / inputs as f64).sqrt()));
        }
        let scale = case.scale.then(|| add(&[case.embedding], 1.5));
        let network = Network { embedding, scale, layers };
        let width = if case.layers == 1 { case.embedding } else { case.hidden };
        let pairs = case.layers - usize::from(!case.after);
        let films = case.batch.map(|batch| add(&[batch, 2 * pairs * width], 1.0));
        let l_cache: Vec<usize> = case.lengths.iter().map(|length| length + 1).collect();
        let grid = grid(&case.lengths, &l_cache, DType::F32, &Device::Cpu).unwrap();
        let kernel = way(&network, &grid, films.as_ref());
        let weights = var(kernel.dims(), 1.0);
        let loss = (&kernel * weights.as_tensor()).unwrap().sum_all().unwrap();
        let gradients = loss.backward().unwrap();
        let of = |var: &Var| gradients.get(var).cloned().unwrap_or(var.zeros_like().unwrap());
        [vec![kernel], vars.iter().map(of).collect()].concat()
    }

    #[test]
    fn fused_and_plain_agree_in_values_and_gradients() {
        for case in cases() {
            let plain = results(&case, &|network, grid, films| {
                let width = 2 * network.layers.last().unwrap().0.dim(1).unwrap();
                let films: Vec<Film> = films.map_or(vec![], |films| {
                    (0..films.dim(1).unwrap() / width)
                        .map(|film| {
                            let pair = films.narrow(1, film * width, width).unwrap();
                            let [gamma, beta] = [0, width / 2]
                                .map(|start| pair.narrow(1, start, width / 2).unwrap());
                            Film::new(gamma, beta).unwrap()
                        })
                        .collect()
                });
                plain::draw(network, case.after, grid, &films, DType::F32).unwrap()
            });
            for arch in arches() {
                let fused = results(&case, &|network, grid, films| {
                    draw_on(arch, network, case.after, grid, films).unwrap()
                });
                for (index, (plain, fused)) in plain.iter().zip(&fused).enumerate() {
                    assert_eq!(plain.dims(), fused.dims());
                    if plain.elem_count() == 0 {
                        continue;
                    }
                    let largest =
                        |x: Tensor| x.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                    let (gap, size) = (largest((plain - fused).unwrap()), largest(plain.clone()));
                    let lengths = &case.lengths;
                    assert!(
                        gap <= 2e-5 * size,
                        "{arch:?} {lengths:?} tensor {index}: {gap:e} of {size:e}"
                    );
                }
            }
        }
    }

    #[test]
    fn constants_and_variables_give_the_same_bits() {
        for case in cases() {
            let kernels = [false, true].map(|detached| {
                results(&case, &|network, grid, films| {
                    let mut network = network.clone();
                    let mut films = films.cloned();
                    let constant = |tensor: &mut Tensor| *tensor = tensor.detach();
                    if detached {
                        let linears = network.layers.iter_mut().chain([&mut network.embedding]);
                        linears.for_each(|(weight, bias)| {
                            constant(weight);
                            bias.as_mut().map(constant);
                        });
                        network.scale.as_mut().map(constant);
                        films.as_mut().map(constant);
                    }
                    draw(&network, case.after, grid, films.as_ref()).unwrap()
                })
            });
            let bits = |kernel: &Tensor| kernel.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(bits(&kernels[0][0]), bits(&kernels[1][0]));
        }
    }
}
