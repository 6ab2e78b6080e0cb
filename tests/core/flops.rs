//! Operation counts: exactly the original's, by formula for any size, and never wrapped.

use film_core::flops::{Flops, Item};
use film_core::{KernelFilmConfig, RegisterCompressConcatConfig, RegisterPoolingConfig};
use proptest::prelude::*;

use crate::support::{json_fixture, message};

/// What the parts must say together.
fn assert_adds_up(flops: &Flops) {
    let items = flops.items();
    assert_eq!(flops.total(), items.iter().map(|item| item.flops).sum::<u64>());
    assert_eq!(flops.macs(), items.iter().map(|item| item.macs).sum::<u64>());
    assert_eq!(flops.parameters(), items.iter().map(|item| item.parameters).sum::<u64>());
    for item in items {
        let product: u64 = item.factors.iter().map(|factor| factor.value).product();
        assert_eq!(item.flops, product, "{}", item.name);
        assert!(item.macs == 0 || 2 * item.macs == item.flops, "{}", item.name);
        let formula: Vec<String> =
            item.factors.iter().map(|factor| factor.value.to_string()).collect();
        assert_eq!(item.to_string(), formula.join("·"));
    }
}

#[test]
fn counts_are_the_originals() {
    let cases = json_fixture("flops.json");
    let (mut seen, mut with_parameters) = ([0; 3], 0);
    for case in cases.as_array().unwrap() {
        let size = |key: &str| case[key].as_u64().unwrap() as usize;
        let flops = match case["module"].as_str().unwrap() {
            "KernelFiLMGenerator" => {
                seen[0] += 1;
                let (cond, width) = (size("cond_dim"), size("kernel_hidden_dim"));
                KernelFilmConfig::new(cond, width, size("num_film_layers"))
                    .with_film_hidden_dim(size("film_hidden_dim"))
                    .flops()
            }
            "RegisterPooling" => {
                seen[1] += 1;
                RegisterPoolingConfig { num_registers: size("num_registers") }.flops(size("dim"))
            }
            "RegisterCompressConcat" => {
                seen[2] += 1;
                RegisterCompressConcatConfig {
                    num_registers: size("num_registers"),
                    hidden_dim: size("hidden_dim"),
                    compressed_dim: size("compressed_dim"),
                }
                .flops()
            }
            _ => continue,
        };
        let flops = flops.unwrap();
        assert_eq!(Some(flops.total()), case["flops"].as_u64(), "{case}");
        if let Some(parameters) = case["parameters"].as_u64() {
            assert_eq!(flops.parameters(), parameters, "{case}");
            with_parameters += 1;
        }
        assert_adds_up(&flops);
    }
    assert_eq!((seen, with_parameters), ([12, 3, 2], 7));
}

#[test]
fn production_sizes_item_by_item() {
    let flops = KernelFilmConfig::new(384, 32, 3).flops().unwrap();
    let items: Vec<_> = flops
        .items()
        .iter()
        .map(|item| (item.name.as_str(), item.to_string(), item.flops, item.macs, item.parameters))
        .collect();
    assert_eq!(
        items,
        [
            ("mlp.0", "2·384·64".into(), 49152, 24576, 384 * 64 + 64),
            ("gelu", "1·64".into(), 64, 0, 0),
            ("mlp.2", "2·64·3·2·32".into(), 24576, 12288, 64 * 192 + 192),
        ]
    );
    assert_eq!((flops.total(), flops.macs(), flops.parameters()), (73792, 36864, 37120));
    let named: Vec<&str> =
        flops.items()[2].factors.iter().map(|factor| factor.name.as_str()).collect();
    assert_eq!(
        named,
        ["multiply-add", "film_hidden_dim", "num_film_layers", "γ and β", "kernel_hidden_dim"]
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generators_follow_the_formula(
        cond in 1usize..5000, width in 1usize..500, layers in 1usize..100, hidden in 1usize..5000,
    ) {
        let config = KernelFilmConfig::new(cond, width, layers).with_film_hidden_dim(hidden);
        let flops = config.flops().unwrap();
        assert_adds_up(&flops);
        let out = layers * 2 * width;
        prop_assert_eq!(flops.total(), (2 * cond * hidden + hidden + 2 * hidden * out) as u64);
        prop_assert_eq!(flops.macs(), (cond * hidden + hidden * out) as u64);
        prop_assert_eq!(flops.parameters(), (hidden * (cond + 1) + out * (hidden + 1)) as u64);
        let listed: u64 = config.parameters().unwrap().iter().map(film_core::Parameter::count).sum();
        prop_assert_eq!(flops.parameters(), listed);
    }

    #[test]
    fn register_encoders_follow_their_formulas(
        registers in 1usize..1000, channels in 1usize..5000, compressed in 1usize..500,
    ) {
        let pooling = RegisterPoolingConfig { num_registers: registers }.flops(channels).unwrap();
        assert_adds_up(&pooling);
        prop_assert_eq!(pooling.total(), (3 * registers + 2 * registers * channels) as u64);
        prop_assert_eq!(pooling.macs(), (registers * channels) as u64);
        prop_assert_eq!(pooling.parameters(), registers as u64);
        let compress = RegisterCompressConcatConfig {
            num_registers: registers,
            hidden_dim: channels,
            compressed_dim: compressed,
        };
        let flops = compress.flops().unwrap();
        assert_adds_up(&flops);
        prop_assert_eq!(flops.total(), (registers * 2 * channels * compressed) as u64);
        prop_assert_eq!(flops.macs(), (registers * channels * compressed) as u64);
        prop_assert_eq!(flops.parameters(), (channels * compressed) as u64);
    }

    /// Whatever the sizes: the true count, computed in 128 bits, or an error.
    #[test]
    fn generators_of_any_size_are_counted_or_refused(
        sizes in prop::array::uniform4((0u32..64).prop_map(|shift| 1usize << shift)),
    ) {
        let [cond, width, layers, hidden] = sizes;
        let config = KernelFilmConfig::new(cond, width, layers).with_film_hidden_dim(hidden);
        if let Ok(flops) = config.flops() {
            let [cond, width, layers, hidden] = sizes.map(|size| size as u128);
            let out = layers * 2 * width;
            let total = 2 * cond * hidden + hidden + 2 * hidden * out;
            prop_assert_eq!(u128::from(flops.total()), total);
            let parameters = hidden * (cond + 1) + out * (hidden + 1);
            prop_assert_eq!(u128::from(flops.parameters()), parameters);
        }
    }
}

#[test]
fn an_overflow_is_an_error() {
    let config = |cond, width, layers, hidden| {
        KernelFilmConfig::new(cond, width, layers).with_film_hidden_dim(hidden)
    };
    for (config, expected) in [
        (
            config(1 << 40, 1, 1, 1 << 40),
            "film_hidden_dim · cond_dim overflows: 1099511627776 · 1099511627776",
        ),
        (
            config(1, 1 << 32, 1 << 32, 1),
            "num_film_layers · 2 · kernel_hidden_dim overflows: 4294967296 · 2 · 4294967296",
        ),
        (
            config(1, 1 << 30, 1, 1 << 30),
            "num_film_layers · 2 · kernel_hidden_dim · film_hidden_dim overflows: \
             2147483648 · 1073741824",
        ),
    ] {
        assert_eq!(message(config.flops()), expected);
        assert_eq!(message(config.parameters()), expected);
    }
    assert_eq!(
        message(RegisterPoolingConfig { num_registers: 1 << 40 }.flops(1 << 40)),
        "the FLOP count of pooling overflows: 2 · 1099511627776 · 1099511627776"
    );
    let pooling = RegisterPoolingConfig { num_registers: usize::MAX };
    assert!(message(pooling.flops(1)).contains("overflows"));
    let compress = RegisterCompressConcatConfig {
        num_registers: 1 << 40,
        hidden_dim: 1 << 20,
        compressed_dim: 1 << 20,
    };
    assert_eq!(
        message(compress.flops()),
        "the FLOP count of compress overflows: 2 · 1099511627776 · 1048576 · 1048576"
    );
}

#[test]
fn sums_that_overflow_are_errors() {
    let half = || Item::elementwise("half", 1, &[("n", 1 << 63)]).unwrap();
    assert_eq!(Flops::new(vec![half()]).unwrap().total(), 1 << 63);
    assert_eq!(message(Flops::new(vec![half(), half()])), "the FLOP count overflows: 2 items");
}

#[test]
fn a_zero_size_is_named() {
    assert_eq!(
        message(KernelFilmConfig::new(8, 4, 0).flops()),
        "num_film_layers: expected an integer of at least 1, found 0"
    );
    assert_eq!(
        message(RegisterPoolingConfig { num_registers: 3 }.flops(0)),
        "channels: expected an integer of at least 1, found 0"
    );
}
