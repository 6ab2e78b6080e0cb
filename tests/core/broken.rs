//! Parts that are broken are named, not passed over, and config.json may not contradict tensors.

use film_core::checkpoint::{Checkpoint, KernelSettings};

use crate::support::{message, small_checkpoint};

type Tensors = Vec<(String, Vec<usize>)>;

/// A kernel with two hidden layers, learned frequencies, a generator of three pairs and a mask.
fn kernel(parent: &str) -> Tensors {
    let tensors: [(&str, &[usize]); 14] = [
        ("mask.std_param", &[2, 3]),
        ("kernel.positional_embedding.linear.weight", &[4, 2]),
        ("kernel.positional_embedding.linear.bias", &[4]),
        ("kernel.positional_embedding.omega_0_scale", &[4]),
        ("kernel.hidden_linears.0.weight", &[4, 4]),
        ("kernel.hidden_linears.0.bias", &[4]),
        ("kernel.hidden_linears.1.weight", &[4, 4]),
        ("kernel.hidden_linears.1.bias", &[4]),
        ("kernel.out_linear.weight", &[3, 4]),
        ("kernel.out_linear.bias", &[3]),
        ("kernel.film_generator.mlp.0.weight", &[6, 8]),
        ("kernel.film_generator.mlp.0.bias", &[6]),
        ("kernel.film_generator.mlp.2.weight", &[24, 6]),
        ("kernel.film_generator.mlp.2.bias", &[24]),
    ];
    tensors.iter().map(|(name, shape)| (format!("{parent}.{name}"), shape.to_vec())).collect()
}

fn without(names: &[&str], mut tensors: Tensors) -> Tensors {
    let before = tensors.len();
    tensors.retain(|(name, _)| !names.contains(&name.as_str()));
    assert_eq!(tensors.len(), before - names.len());
    tensors
}

fn opened(
    tensors: &Tensors,
    config: Option<&str>,
) -> (tempfile::TempDir, std::sync::Arc<Checkpoint>) {
    let tensors: Vec<(&str, &[usize])> =
        tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
    small_checkpoint(&tensors, config)
}

#[test]
fn a_broken_one_is_named_and_the_other_not_taken_for_it() {
    let bias = "a.kernel.film_generator.mlp.2.bias";
    let (_folder, checkpoint) =
        opened(&[without(&[bias], kernel("a")), kernel("b")].concat(), None);
    let discovery = checkpoint.discover().unwrap();
    assert_eq!(discovery.near_misses()[0].prefix, "a.kernel.film_generator");
    for (generator, kernel) in [(Some("a"), Some("a")), (Some("a.kernel"), Some("a.kernel"))] {
        let text = message(discovery.generator(generator));
        let place = generator.unwrap();
        assert_eq!(text, format!("holds no FiLM generator at {place}: {bias} is missing"));
        let text = message(discovery.kernel(kernel));
        assert_eq!(text, format!("holds no SIREN kernel at {place}: {bias} is missing"));
    }
    assert_eq!(
        message(discovery.generator(None)),
        format!(
            "holds a FiLM generator at b.kernel.film_generator and a broken one ({bias} is missing): \
             choose one by its prefix"
        )
    );
    assert!(message(discovery.kernel(None)).contains("and a broken one"));
    assert_eq!(discovery.generator(Some("b")).unwrap().prefix, "b.kernel.film_generator");
    assert_eq!(discovery.kernel(Some("b.kernel")).unwrap().prefix, "b.kernel");
}

#[test]
fn kernels_with_something_missing_or_misshapen_are_none() {
    let change = |name: &str, shape: &[usize]| {
        let mut tensors = without(&[name], kernel("x"));
        tensors.push((name.into(), shape.to_vec()));
        tensors
    };
    let gap = ["x.kernel.hidden_linears.0.weight", "x.kernel.hidden_linears.0.bias"];
    let films = ["0.weight", "2.weight", "2.bias"];
    let films = films.map(|name| format!("x.kernel.film_generator.mlp.{name}"));
    for (tensors, why) in [
        (without(&gap, kernel("x")), "x.kernel.hidden_linears.0.weight is missing, but"),
        (
            without(&["x.kernel.hidden_linears.1.weight"], kernel("x")),
            "x.kernel.hidden_linears.1.weight is missing, but x.kernel.hidden_linears.1.bias is",
        ),
        (
            without(&["x.kernel.hidden_linears.1.bias"], kernel("x")),
            "x.kernel.hidden_linears.1.bias is missing",
        ),
        (
            without(&["x.kernel.positional_embedding.linear.bias"], kernel("x")),
            "x.kernel.positional_embedding.linear.bias is missing",
        ),
        (
            without(&["x.kernel.positional_embedding.linear.weight"], kernel("x")),
            "x.kernel.positional_embedding.linear.weight is missing",
        ),
        (
            without(&[films[0].as_str(), &films[1], &films[2]], kernel("x")),
            "x.kernel.film_generator.mlp.0.weight is missing",
        ),
        (
            change("x.mask.std_param", &[2, 4]),
            "x.mask.std_param: expected shape [2, 3] (axes, channels), found [2, 4]",
        ),
        (
            change("x.mask.std_param", &[1, 3]),
            "x.mask.std_param: expected shape [2, 3] (axes, channels), found [1, 3]",
        ),
    ] {
        let (_folder, checkpoint) = opened(&tensors, None);
        let discovery = checkpoint.discover().unwrap();
        assert!(discovery.kernels().is_empty());
        let text = message(discovery.kernel(Some("x")));
        assert!(text.starts_with(&format!("holds no SIREN kernel at x: {why}")), "{text}");
    }
}

#[test]
fn numbers_of_pairs_that_fit_no_layers_are_named() {
    let mut tensors = kernel("x");
    for (name, shape) in &mut tensors {
        if name.contains("mlp.2.") {
            shape[0] = 40;
        }
    }
    let (_folder, checkpoint) = opened(&tensors, None);
    let discovery = checkpoint.discover().unwrap();
    let text = message(discovery.kernel(None).unwrap().config(&KernelSettings::default()));
    assert_eq!(text, "num_film_layers: expected 2, as there are hidden layers, or 3, found 5");
}

#[test]
fn config_json_may_not_contradict_a_kernels_tensors() {
    let settings = |tensors: &Tensors, config: &str| {
        let (_folder, checkpoint) = opened(tensors, Some(config));
        let discovery = checkpoint.discover().unwrap();
        checkpoint.kernel_settings(discovery.kernel(None).unwrap())
    };
    let whole = kernel("x");
    let scale = "x.kernel.positional_embedding.omega_0_scale";
    let fixed = without(&[scale], kernel("x"));
    for (tensors, section, problem) in [
        (&whole, r#""num_layers": 4"#, "num_layers: expected 3, as the tensors have it, found 4"),
        (&whole, r#""out_dim": 4"#, "out_dim: expected 3, as the tensors have it, found 4"),
        (&whole, r#""data_dim": 1"#, "data_dim: expected 2, as the tensors have it, found 1"),
        (
            &whole,
            r#""embedding_dim": 5"#,
            "embedding_dim: expected 4, as the tensors have it, found 5",
        ),
        (
            &whole,
            r#""mlp_hidden_dim": 5"#,
            "mlp_hidden_dim: expected 4, as the tensors have it, found 5",
        ),
        (
            &whole,
            r#""learnable_omega_0": false"#,
            &format!("learnable_omega_0: expected true, as there is {scale}, found false"),
        ),
        (
            &fixed,
            r#""learnable_omega_0": true"#,
            &format!("learnable_omega_0: expected false, as there is no {scale}, found true"),
        ),
        (
            &fixed,
            r#""omega_0_scale_max": 2"#,
            &format!("omega_0_scale_max: expected a tensor {scale} that it bounds, found none"),
        ),
    ] {
        let text = message(settings(tensors, &format!(r#"{{"kernel": {{{section}}}}}"#)));
        assert!(text.ends_with(&format!("config.json: {problem}")), "{text}");
    }
    // What the tensors have, null, and a network's own sizes at the top are no contradiction.
    for config in [
        r#"{"kernel": {"num_layers": 3, "out_dim": 3, "data_dim": 2, "learnable_omega_0": true}}"#,
        r#"{"kernel": {"num_layers": null, "omega_0": null}}"#,
        r#"{"num_layers": 12, "embedding_dim": 768}"#,
    ] {
        assert!(settings(&whole, config).is_ok(), "{config}");
    }
    assert!(message(settings(&whole, r#"{"mlp_hidden_dim": 4, "num_layers": 9}"#)).contains("9"));
}
