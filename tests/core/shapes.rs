//! Which shapes the modules take, and that a tensor's memory layout changes nothing.

use candle_core::{DType, Device, IndexOp, Module, Tensor};
use candle_nn::VarMap;
use film_core::{
    InitType, KernelFilmConfig, KernelFilmGenerator, RegisterCompressConcat,
    RegisterCompressConcatConfig, RegisterPooling, RegisterPoolingConfig, init,
};

use crate::support::{fresh, message, numbers, random, relative_error};

/// Outputs that depend on the conditioning: identity initialisation would hide mistakes.
fn generator(dtype: DType) -> KernelFilmGenerator {
    let config = KernelFilmConfig::new(8, 4, 3)
        .with_film_hidden_dim(6)
        .with_init_type(InitType::SmallRandom)
        .with_init_std(0.5);
    fresh(&config, dtype)
}

fn pooling() -> RegisterPooling {
    let logits = random("logits", &[5], DType::F64);
    let tensors = [("logits".to_string(), logits)].into();
    let vb = candle_nn::VarBuilder::from_tensors(tensors, DType::F64, &Device::Cpu);
    RegisterPooling::new(&RegisterPoolingConfig { num_registers: 5 }, vb).unwrap()
}

fn compress_concat() -> RegisterCompressConcat {
    let vb = init::var_builder(&VarMap::new(), 0, DType::F64, &Device::Cpu);
    let config =
        RegisterCompressConcatConfig { num_registers: 5, hidden_dim: 4, compressed_dim: 3 };
    RegisterCompressConcat::new(&config, vb).unwrap()
}

/// Views of `[2, 3, last]` numbers whose memory is laid out otherwise.
fn views(last: usize) -> Vec<Tensor> {
    let x = |shape: &[usize]| random("views", shape, DType::F64);
    vec![
        x(&[3, 2, last]).transpose(0, 1).unwrap(),
        x(&[2, last, 3]).transpose(1, 2).unwrap(),
        x(&[last, 3, 2]).permute((2, 1, 0)).unwrap(),
        x(&[2, 3, last + 2]).narrow(2, 1, last).unwrap(),
        x(&[4, 3, last]).narrow(0, 1, 2).unwrap(),
        x(&[1, 1, last]).broadcast_as((2, 3, last)).unwrap(),
        x(&[2, 3, 1]).broadcast_as((2, 3, last)).unwrap(),
    ]
}

#[test]
fn leading_axes_are_free() {
    let generator = generator(DType::F64);
    let x = random("x", &[2, 3, 8], DType::F64);
    let block = generator.forward(&x).unwrap();
    assert_eq!(block.dims(), [2, 3, 24]);
    for b in 0..2 {
        let rows = generator.forward(&x.i(b).unwrap()).unwrap();
        assert_eq!(rows.dims(), [3, 24]);
        assert!(relative_error(&rows, &block.i(b).unwrap()) < 1e-12);
        for t in 0..3 {
            let row = generator.forward(&x.i((b, t)).unwrap()).unwrap();
            assert_eq!(row.dims(), [24]);
            assert!(relative_error(&row, &block.i((b, t)).unwrap()) < 1e-12);
        }
    }
    for shape in [vec![8], vec![2, 8], vec![2, 3, 8], vec![1, 2, 3, 8], vec![2, 1, 1, 2, 8]] {
        let films = generator.films(&random("x", &shape, DType::F64)).unwrap();
        let expected = [&shape[..shape.len() - 1], &[4]].concat();
        assert_eq!(films.len(), 3);
        for film in films {
            assert_eq!((film.gamma.dims(), film.beta.dims()), (&expected[..], &expected[..]));
        }
    }
}

#[test]
fn no_samples_give_no_outputs() {
    for dtype in [DType::F32, DType::F64, DType::BF16] {
        let generator = generator(dtype);
        for shape in [vec![0, 8], vec![0, 3, 8], vec![3, 0, 8]] {
            let films = generator.films(&random("x", &shape, dtype)).unwrap();
            let expected = [&shape[..shape.len() - 1], &[4]].concat();
            assert_eq!(films.len(), 3);
            assert_eq!(
                (films[2].gamma.dims(), films[2].beta.dims()),
                (&expected[..], &expected[..])
            );
            assert_eq!(films[2].gamma.dtype(), dtype);
        }
    }
    let none = Tensor::zeros((0, 5, 4), DType::F64, &Device::Cpu).unwrap();
    assert_eq!(pooling().pool(&none).unwrap().dims(), [0, 4]);
    assert_eq!(compress_concat().encode(&none).unwrap().dims(), [0, 15]);
}

#[test]
fn memory_layout_changes_nothing() {
    let generator = generator(DType::F64);
    for view in views(8) {
        let copy = view.force_contiguous().unwrap();
        assert_eq!(
            numbers(&generator.forward(&view).unwrap()),
            numbers(&generator.forward(&copy).unwrap()),
            "strides {:?}",
            view.stride()
        );
    }
    let (pooling, compress_concat) = (pooling(), compress_concat());
    for registers in [
        random("r", &[5, 2, 4], DType::F64).transpose(0, 1).unwrap(),
        random("r", &[2, 4, 5], DType::F64).transpose(1, 2).unwrap(),
        random("r", &[4, 5, 2], DType::F64).permute((2, 1, 0)).unwrap(),
        random("r", &[2, 9, 4], DType::F64).narrow(1, 3, 5).unwrap(),
    ] {
        let copy = registers.force_contiguous().unwrap();
        let gap = |a: Tensor, b: Tensor| relative_error(&a, &b);
        assert!(gap(pooling.pool(&registers).unwrap(), pooling.pool(&copy).unwrap()) < 1e-15);
        assert_eq!(
            numbers(&compress_concat.encode(&registers).unwrap()),
            numbers(&compress_concat.encode(&copy).unwrap())
        );
    }
}

#[test]
fn register_encoders_are_their_formulas() {
    let registers = random("registers", &[2, 5, 4], DType::F64);
    let values = registers.to_vec3::<f64>().unwrap();
    let logits = random("logits", &[5], DType::F64).to_vec1::<f64>().unwrap();
    let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
    let pooled = pooling().pool(&registers).unwrap().to_vec2::<f64>().unwrap();
    for (sample, pooled) in values.iter().zip(&pooled) {
        for (channel, got) in pooled.iter().enumerate() {
            let weighted = |(logit, token): (&f64, &Vec<f64>)| logit.exp() / sum * token[channel];
            let expected: f64 = logits.iter().zip(sample).map(weighted).sum();
            assert!((got - expected).abs() < 1e-15);
        }
    }
    let weight = weight_of_compress();
    let encoded = compress_concat().encode(&registers).unwrap().to_vec2::<f64>().unwrap();
    for (sample, encoded) in values.iter().zip(&encoded) {
        assert_eq!(encoded.len(), 15);
        for (index, got) in encoded.iter().enumerate() {
            let (token, row) = (&sample[index / 3], &weight[index % 3]);
            let expected: f64 = token.iter().zip(row).map(|(a, b)| a * b).sum();
            assert!((got - expected).abs() < 1e-15);
        }
    }
}

/// The weight that [`compress_concat`] draws.
fn weight_of_compress() -> Vec<Vec<f64>> {
    let vb = init::var_builder(&VarMap::new(), 0, DType::F64, &Device::Cpu);
    let hint = candle_nn::Init::Uniform { lo: -0.5, up: 0.5 };
    vb.get_with_hints((3, 4), "compress.weight", hint).unwrap().to_vec2().unwrap()
}

#[test]
fn pooling_of_extreme_logits_stays_finite() {
    let logits = Tensor::new(&[1e4f32, -1e4, 1e4], &Device::Cpu).unwrap();
    let tensors = [("logits".to_string(), logits)].into();
    let vb = candle_nn::VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let pooling = RegisterPooling::new(&RegisterPoolingConfig { num_registers: 3 }, vb).unwrap();
    let registers = Tensor::new(&[[[1f32], [5.0], [3.0]]], &Device::Cpu).unwrap();
    assert_eq!(pooling.pool(&registers).unwrap().to_vec2::<f32>().unwrap(), [[2.0]]);
}

#[test]
fn wrong_shapes_say_what_was_expected_and_found() {
    let generator = generator(DType::F32);
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    for (shape, expected) in [
        (vec![3, 7], "conditioning: expected shape [*, 8], found [3, 7]"),
        (vec![8, 3], "conditioning: expected shape [*, 8], found [8, 3]"),
        (vec![9], "conditioning: expected shape [*, 8], found [9]"),
        (vec![2, 3, 0], "conditioning: expected shape [*, 8], found [2, 3, 0]"),
        (vec![], "conditioning: expected shape [*, 8], found a scalar"),
    ] {
        assert_eq!(message(generator.films(&zeros(&shape))), expected);
        assert_eq!(message(generator.forward(&zeros(&shape))), expected);
    }
    let wide = Tensor::zeros((2, 8), DType::F64, &Device::Cpu).unwrap();
    assert_eq!(
        message(generator.films(&wide)),
        "conditioning: expected dtype f32, the module's, found f64"
    );
}

#[test]
fn wrong_registers_say_what_was_expected_and_found() {
    let (pooling, compress_concat) = (pooling(), compress_concat());
    for shape in [vec![2, 4, 4], vec![5], vec![], vec![4, 5]] {
        let registers = random("r", &shape, DType::F64);
        let found = format!("found {shape:?}");
        assert_eq!(
            message(pooling.pool(&registers)),
            format!("registers: expected shape [*, 5, C], {found}")
        );
        assert_eq!(
            message(compress_concat.encode(&registers)),
            format!("registers: expected shape [*, 5, 4], {found}")
        );
    }
    let channels = random("r", &[2, 5, 3], DType::F64);
    assert_eq!(
        message(compress_concat.forward(&channels)),
        "registers: expected shape [*, 5, 4], found [2, 5, 3]"
    );
}

#[test]
fn a_zero_size_is_named() {
    let vb = || init::var_builder(&VarMap::new(), 0, DType::F32, &Device::Cpu);
    let config = |cond, width, layers, hidden| {
        KernelFilmConfig::new(cond, width, layers).with_film_hidden_dim(hidden)
    };
    for (config, key) in [
        (config(0, 1, 1, 1), "cond_dim"),
        (config(1, 0, 1, 1), "kernel_hidden_dim"),
        (config(1, 1, 0, 1), "num_film_layers"),
        (config(1, 1, 1, 0), "film_hidden_dim"),
    ] {
        let expected = format!("{key}: expected an integer of at least 1, found 0");
        assert_eq!(message(KernelFilmGenerator::new(&config, vb())), expected);
    }
    assert_eq!(
        message(RegisterPooling::new(&RegisterPoolingConfig { num_registers: 0 }, vb())),
        "num_registers: expected an integer of at least 1, found 0"
    );
    let config =
        RegisterCompressConcatConfig { num_registers: 2, hidden_dim: 3, compressed_dim: 0 };
    assert_eq!(
        message(RegisterCompressConcat::new(&config, vb())),
        "compressed_dim: expected an integer of at least 1, found 0"
    );
}
