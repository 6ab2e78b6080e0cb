//! 25 steps as PyTorch's AdamW makes them.

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::VarMap;
use film_core::checkpoint::Checkpoint;
use film_core::optim::{AdamWConfig, GroupedAdamW, ParameterGroups};
use film_core::{KernelFilmConfig, KernelFilmGenerator, init};

use super::var;
use crate::support::{cases, relative_error, tensor};

#[test]
fn losses_and_weights_are_pytorchs() {
    let folders = cases("training");
    let folders = folders.iter().filter(|folder| folder.to_string_lossy().contains("adamw_"));
    let mut count = 0;
    for folder in folders {
        for (dtype, bound) in [(DType::F64, 1e-10), (DType::F32, 1e-5)] {
            let text = std::fs::read(folder.join("config.json")).unwrap();
            let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
            let config = KernelFilmConfig::from_json(json.as_object().unwrap()).unwrap();
            let io = Checkpoint::open(folder.join("io.safetensors")).unwrap();
            let vars = VarMap::new();
            let vb = init::var_builder(&vars, 0, dtype, &Device::Cpu);
            let generator = KernelFilmGenerator::new(&config, vb).unwrap();
            let parameters = config.parameters().unwrap();
            for parameter in &parameters {
                let start = tensor(&io, &format!("initial.{}", parameter.name), dtype);
                var(&vars, &parameter.name).set(&start).unwrap();
            }

            let settings = &json["optimizer"];
            let number = |value: &serde_json::Value| value.as_f64().unwrap();
            let betas = &settings["betas"];
            let adamw = AdamWConfig {
                learning_rate: number(&settings["lr"]),
                betas: (number(&betas[0]), number(&betas[1])),
                eps: number(&settings["eps"]),
                max_grad_norm: None,
            };
            let groups = ParameterGroups::assign(&vars, number(&settings["weight_decay"]))
                .and_then(|assignment| assignment.module("", parameters.clone())?.finish())
                .unwrap();
            let mut optimizer = GroupedAdamW::with_groups(groups, adamw).unwrap();
            let [conditioning, target] =
                ["conditioning", "target"].map(|name| tensor(&io, name, dtype));
            let steps = settings["steps"].as_u64().unwrap();
            let losses: Vec<Tensor> = (0..steps)
                .map(|_| {
                    let error = (generator.forward(&conditioning).unwrap() - &target).unwrap();
                    let loss = error.sqr().unwrap().mean_all().unwrap();
                    optimizer.update(&loss.backward().unwrap()).unwrap();
                    loss
                })
                .collect();

            let name = folder.display();
            let expected = tensor(&io, "losses", DType::F64);
            let expected = expected.to_vec1::<f64>().unwrap();
            assert_eq!(losses.len(), expected.len());
            for (step, (loss, expected)) in losses.iter().zip(&expected).enumerate() {
                let expected = Tensor::new(*expected, &Device::Cpu).unwrap();
                let error = relative_error(loss, &expected);
                assert!(error < bound, "{name} {dtype:?}: loss {step}: {error:e}");
            }
            for parameter in &parameters {
                let expected = tensor(&io, &format!("final.{}", parameter.name), DType::F64);
                let error = relative_error(&var(&vars, &parameter.name), &expected);
                assert!(error < bound, "{name} {dtype:?}: {}: {error:e}", parameter.name);
            }
            count += 1;
        }
    }
    assert_eq!(count, 6);
}
