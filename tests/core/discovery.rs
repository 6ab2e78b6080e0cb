//! What is found in a checkpoint by names and shapes, and what is not taken for it.

use film_core::checkpoint::Encoder;

use crate::support::{message, small_checkpoint};

/// The four tensors of a generator below `prefix`.
fn generator(prefix: &str) -> Vec<(String, Vec<usize>)> {
    let dot = if prefix.is_empty() { "" } else { "." };
    let name = |name: &str| format!("{prefix}{dot}mlp.{name}");
    vec![
        (name("0.weight"), vec![6, 8]),
        (name("0.bias"), vec![6]),
        (name("2.weight"), vec![24, 6]),
        (name("2.bias"), vec![24]),
    ]
}

fn opened(
    tensors: &[(String, Vec<usize>)],
    config: Option<&str>,
) -> (tempfile::TempDir, std::sync::Arc<film_core::checkpoint::Checkpoint>) {
    let tensors: Vec<(&str, &[usize])> =
        tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
    small_checkpoint(&tensors, config)
}

#[test]
fn generators_are_found_at_any_prefix_and_chosen_without_wrappers() {
    for prefix in [
        "",
        "film",
        "network.blocks.3.kernel.film_generator",
        "_orig_mod.blocks.3.f",
        "network._orig_mod.a.b",
    ] {
        let (_folder, checkpoint) = opened(&generator(prefix), None);
        let discovery = checkpoint.discover().unwrap();
        let found = discovery.generator(None).unwrap();
        assert_eq!(found.prefix, prefix);
        assert_eq!((found.cond_dim, found.film_hidden_dim, found.out_dim), (8, 6, 24));
        assert_eq!((found.kernel_hidden_dim, found.num_film_layers), (None, None));
        assert_eq!(found.parameters(), 48 + 6 + 144 + 24);
        let bare = prefix.replace("network.", "").replace("_orig_mod.", "");
        assert_eq!(discovery.generator(Some(&bare)).unwrap(), found);
        assert_eq!(found.config(Some(4)).unwrap().num_film_layers, 3);
        assert!(message(found.config(None)).contains("kernel_hidden_dim is unknown"));
        assert!(
            message(found.config(Some(5)))
                .contains("expected a number whose double divides the 24 rows")
        );
    }
}

#[test]
fn segments_are_not_cut_in_the_middle() {
    let tensors = [generator("blocks.1"), generator("blocks.10")].concat();
    let (_folder, checkpoint) = opened(&tensors, None);
    let discovery = checkpoint.discover().unwrap();
    assert_eq!(discovery.generator(Some("blocks.1")).unwrap().prefix, "blocks.1");
    let text = message(discovery.generator(Some("blocks")));
    assert_eq!(text, "holds 2 FiLM generators: choose one by its prefix: blocks.1, blocks.10");
    let text = message(discovery.generator(Some("blocks.2")));
    assert_eq!(text, "no FiLM generator at blocks.2; there are blocks.1, blocks.10");
}

#[test]
fn other_networks_are_not_taken_for_generators() {
    let change = |at: usize, name: &str, shape: &[usize]| {
        let mut tensors = generator("x");
        tensors[at] = (name.into(), shape.into());
        tensors
    };
    let mut deeper = generator("x");
    deeper.push(("x.mlp.4.weight".into(), vec![3, 24]));
    let feed_forward = vec![
        ("x.mlp.layer1.weight".to_string(), vec![32, 8]),
        ("x.mlp.layer2.weight".to_string(), vec![8, 32]),
    ];
    let mut missing = generator("x");
    missing.remove(3);
    for (tensors, why) in [
        (feed_forward, "(mlp.0 and mlp.2, each with weight and bias)"),
        (deeper, ": x.mlp.4.weight belongs to another kind of MLP"),
        (missing, ": x.mlp.2.bias is missing"),
        (change(0, "x.mlp.1.weight", &[6, 8]), ": x.mlp.0.weight is missing"),
        (
            change(2, "x.mlp.2.weight", &[24, 7]),
            ": x.mlp.2.weight: expected shape [24, 6], found [24, 7]",
        ),
        (change(1, "x.mlp.0.bias", &[5]), ": x.mlp.0.bias: expected shape [6], found [5]"),
        (
            change(0, "x.mlp.0.weight", &[6, 8, 1]),
            ": x.mlp.0.weight and x.mlp.2.weight are not both matrices",
        ),
    ] {
        let (_folder, checkpoint) = opened(&tensors, None);
        let discovery = checkpoint.discover().unwrap();
        assert!(discovery.generators().is_empty());
        let text = message(discovery.generator(None));
        assert!(text.starts_with("holds no FiLM generator") && text.ends_with(why), "{text}");
    }
}

#[test]
fn config_json_tells_what_shapes_do_not_and_may_not_contradict_them() {
    let root = |config: &str| {
        let (_folder, checkpoint) = opened(&generator(""), Some(config));
        let discovery = checkpoint.discover();
        discovery.map(|discovery| {
            let found = &discovery.generators()[0];
            (found.kernel_hidden_dim, found.num_film_layers)
        })
    };
    assert_eq!(root(r#"{"kernel_hidden_dim": 4}"#).unwrap(), (Some(4), Some(3)));
    assert_eq!(root(r#"{"num_film_layers": 2, "x": []}"#).unwrap(), (Some(6), Some(2)));
    assert_eq!(
        root(r#"{"film_generator": {"kernel_hidden_dim": 3}}"#).unwrap(),
        (Some(3), Some(4))
    );
    assert_eq!(root(r#"{"hidden_dim": 4}"#).unwrap(), (None, None));
    let with_null = r#"{"num_film_layers": 2, "kernel_hidden_dim": null}"#;
    assert_eq!(root(with_null).unwrap(), (Some(6), Some(2)));
    for (config, expected) in [
        (
            r#"{"kernel_hidden_dim": 5}"#,
            "kernel_hidden_dim: expected a number whose double divides the 24 rows of mlp.2, found 5",
        ),
        (
            r#"{"num_film_layers": 5}"#,
            "num_film_layers: expected a number whose double divides the 24 rows of mlp.2, found 5",
        ),
        (
            r#"{"kernel_hidden_dim": 4, "cond_dim": 9}"#,
            "cond_dim: expected 8, as the weights have it, found 9",
        ),
        (
            r#"{"kernel_hidden_dim": 4, "num_film_layers": 2}"#,
            "num_film_layers · 2 · kernel_hidden_dim: expected 24, as the weights have it, found 16",
        ),
        (
            r#"{"kernel_hidden_dim": 0}"#,
            "kernel_hidden_dim: expected an integer of at least 1, found 0",
        ),
        ("[]", "not a JSON object: invalid type: sequence, expected an object at line 1 column 0"),
    ] {
        let text = message(root(config));
        assert!(text.ends_with(&format!("config.json: {expected}")), "{text}");
    }
}

#[test]
fn a_neighbour_tells_the_width_before_config_json_does() {
    let mut tensors = generator("kernel.film_generator");
    tensors.push(("kernel.hidden_linears.0.weight".into(), vec![6, 6]));
    let (_folder, checkpoint) =
        opened(&tensors, Some(r#"{"kernel_hidden_dim": 4, "cond_dim": 77}"#));
    let discovery = checkpoint.discover().unwrap();
    let found = discovery.generator(None).unwrap();
    assert_eq!((found.kernel_hidden_dim, found.num_film_layers), (Some(6), Some(2)));
    assert_eq!(
        message(found.config(Some(4))),
        "kernel_hidden_dim: expected 6, as the checkpoint tells, found 4"
    );
}

#[test]
fn a_wrappers_name_alone_is_a_place() {
    use film_core::checkpoint::is_below;
    assert!(is_below("network.a", "network") && is_below("network.a", "a"));
    assert!(!is_below("ema.a", "network") && !is_below("ema.a", "_orig_mod"));
    assert!(is_below("ema.a", ""));
}

#[test]
fn the_nearest_register_encoder_feeds_a_generator() {
    let mut tensors =
        [generator("blocks.0.conv.film"), generator("blocks.1.conv.film"), generator("other.film")]
            .concat();
    tensors.push(("blocks.0.register_pooling.logits".into(), vec![5]));
    tensors.push(("blocks.1.register_pooling.logits".into(), vec![7]));
    tensors.push(("blocks.1.head.logits".into(), vec![9]));
    tensors.push(("blocks.1.conv.registers.compress.weight".into(), vec![3, 5]));
    let (_folder, checkpoint) = opened(&tensors, None);
    let discovery = checkpoint.discover().unwrap();
    let encoder = |prefix: &str| {
        let found = discovery.generator(Some(prefix)).unwrap();
        discovery.encoder_of(found).map(|encoder| (encoder.prefix.clone(), encoder.kind))
    };
    let pooling = |num_registers| Encoder::Pooling { num_registers };
    assert_eq!(encoder("blocks.0").unwrap(), ("blocks.0.register_pooling".into(), pooling(5)));
    // 3 does not divide cond_dim 8: the one further out is taken.
    assert_eq!(encoder("blocks.1").unwrap(), ("blocks.1.register_pooling".into(), pooling(7)));
    assert!(message(encoder("other")).contains("holds no register encoder"));
}
