//! Two checkpoints against each other: by name, dtype, shape and every value.

use film_core::checkpoint::{Checkpoint, Comparison, Side, Tolerance, compare};
use tempfile::TempDir;

use crate::support::{folder, message, safetensors_bytes};

/// A tensor: name, dtype, shape, bytes.
type Tensor<'a> = (&'a str, &'a str, &'a [usize], Vec<u8>);

fn checkpoint(tensors: &[Tensor]) -> (TempDir, Checkpoint) {
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let start = data.len();
        data.extend(bytes);
        let end = data.len();
        entries.push(format!(
            r#""{name}": {{"dtype": "{dtype}", "shape": {shape:?}, "data_offsets": [{start}, {end}]}}"#
        ));
    }
    let bytes = safetensors_bytes(&format!("{{{}}}", entries.join(", ")), &data);
    let folder = folder(&[("model.safetensors", &bytes)]);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    (folder, checkpoint)
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn side(checkpoint: &Checkpoint) -> Side<'_> {
    Side { checkpoint, strip_prefix: None }
}

/// What becomes of one tensor `x` against another of that name.
fn against(
    a: (&str, &[usize], Vec<u8>),
    b: (&str, &[usize], Vec<u8>),
    tolerance: Tolerance,
    check: impl Fn(&Comparison),
) {
    let (_a, a) = checkpoint(&[("x", a.0, a.1, a.2)]);
    let (_b, b) = checkpoint(&[("x", b.0, b.1, b.2)]);
    check(&compare(side(&a), side(&b), tolerance).unwrap());
}

/// The same, of float32 vectors.
fn floats(a: &[f32], b: &[f32], tolerance: Tolerance, check: impl Fn(&Comparison)) {
    against(("F32", &[a.len()], f32s(a)), ("F32", &[b.len()], f32s(b)), tolerance, check);
}

const EXACT: Tolerance = Tolerance { rtol: 0.0, atol: 0.0 };

#[test]
fn differences_are_measured_in_float64() {
    floats(&[1.0, 2.0, -4.0, 0.0], &[1.0, 2.5, -4.0, 0.25], EXACT, |found| {
        let difference = found.pairs[0].difference.as_ref().unwrap();
        assert_eq!((difference.elements, difference.over, difference.non_finite), (4, 2, 0));
        assert_eq!((difference.max_abs, difference.max_rel), (0.5, 1.0));
        let cosine = 22.0 / (21f64.sqrt() * (1.0 + 6.25 + 16.0 + 0.0625f64).sqrt());
        assert!((difference.cosine.unwrap() - cosine).abs() < 1e-15);
        assert!(!found.is_same());
    });
}

#[test]
fn a_tolerance_is_a_share_of_the_greater_value_and_an_amount() {
    let over = |rtol, atol| {
        let tolerance = Tolerance { rtol, atol };
        let count = std::cell::Cell::new(0);
        floats(&[1.0, 100.0], &[1.5, 101.0], tolerance, |found| {
            count.set(found.pairs[0].difference.as_ref().unwrap().over);
            assert_eq!(found.is_same(), count.get() == 0);
        });
        count.get()
    };
    assert_eq!(over(0.0, 0.0), 2);
    assert_eq!(over(0.0, 0.5), 1);
    assert_eq!(over(0.0, 1.0), 0);
    assert_eq!(over(0.01, 0.0), 1);
    assert_eq!(over(0.34, 0.0), 0);
}

#[test]
fn nan_infinities_and_zeros() {
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    let other_nan = f32::from_bits(0xffc0_0001);
    floats(&[nan, infinity, 0.0], &[other_nan, infinity, -0.0], EXACT, |found| {
        assert!(found.is_same());
        let difference = found.pairs[0].difference.as_ref().unwrap();
        assert!(!difference.same_bytes);
        assert_eq!((difference.over, difference.max_abs), (0, 0.0));
    });
    let loose = Tolerance { rtol: 10.0, atol: 1e30 };
    floats(&[nan, infinity, 1.0, -infinity], &[1.0, -infinity, nan, 3.0], loose, |found| {
        let difference = found.pairs[0].difference.as_ref().unwrap();
        assert_eq!((difference.over, difference.non_finite), (4, 4));
        assert_eq!((difference.max_abs, difference.cosine), (0.0, None));
    });
}

#[test]
fn integers_are_compared_exactly() {
    let i64s = |values: &[i64]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    // Both are the same float64.
    let (a, b) = (i64s(&[i64::MAX, 5]), i64s(&[i64::MAX - 1, 5]));
    let loose = Tolerance { rtol: 1.0, atol: 1e9 };
    against(("I64", &[2], a), ("I64", &[2], b), loose, |found| {
        let difference = found.pairs[0].difference.as_ref().unwrap();
        assert_eq!((difference.over, difference.max_abs), (1, 1.0));
        assert!(!found.is_same());
    });
    let u64s = u64::MAX.to_le_bytes().to_vec();
    against(("I64", &[1], i64s(&[-1])), ("U64", &[1], u64s), EXACT, |found| {
        assert!(found.pairs[0].recast());
        assert_eq!(found.pairs[0].difference.as_ref().unwrap().over, 1);
    });
    against(("BOOL", &[2], vec![0, 1]), ("BOOL", &[2], vec![1, 1]), loose, |found| {
        assert_eq!(found.pairs[0].difference.as_ref().unwrap().over, 1);
    });
    // 2^53 + 1 is no float64.
    let (integer, float) = ((1i64 << 53) + 1, ((1i64 << 53) as f64).to_le_bytes().to_vec());
    against(("I64", &[1], i64s(&[integer])), ("F64", &[1], float), EXACT, |found| {
        let difference = found.pairs[0].difference.as_ref().unwrap();
        assert_eq!((difference.over, difference.max_abs), (1, 1.0));
    });
}

#[test]
fn every_dtype_is_decoded() {
    let half = |x: f32| half::f16::from_f32(x).to_le_bytes().to_vec();
    let brain = |x: f32| half::bf16::from_f32(x).to_le_bytes().to_vec();
    for (dtype, bytes) in [
        ("F64", 2f64.to_le_bytes().to_vec()),
        ("F16", half(2.0)),
        ("BF16", brain(2.0)),
        ("F8_E5M2", vec![0x40]),
        ("F8_E4M3", vec![0x40]),
        ("F8_E5M2FNUZ", vec![0x44]),
        ("F8_E4M3FNUZ", vec![0x48]),
        ("F8_E8M0", vec![0x80]),
        ("U8", vec![2]),
        ("I8", vec![2]),
        ("U16", vec![2, 0]),
        ("I16", vec![2, 0]),
        ("U32", vec![2, 0, 0, 0]),
        ("I32", vec![2, 0, 0, 0]),
        ("U64", vec![2, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        against((dtype, &[1], bytes), ("F32", &[1], f32s(&[3.0])), EXACT, |found| {
            let difference = found.pairs[0].difference.as_ref().unwrap();
            assert_eq!((difference.max_abs, difference.over), (1.0, 1), "{dtype}");
            assert!(found.pairs[0].recast() && !found.is_same());
        });
    }
    // With a tolerance the dtype alone is no difference.
    let tolerance = Tolerance { rtol: 0.5, atol: 0.0 };
    against(("U8", &[1], vec![2]), ("F32", &[1], f32s(&[3.0])), tolerance, |found| {
        assert!(found.pairs[0].recast() && found.is_same());
    });
    // Recast without a loss is told of, too.
    against(("BF16", &[1], brain(3.0)), ("F32", &[1], f32s(&[3.0])), EXACT, |found| {
        assert_eq!(found.pairs[0].difference.as_ref().unwrap().over, 0);
        assert!(!found.is_same());
    });
    // What is not known as numbers is compared byte by byte, and with nothing else.
    against(("F4", &[6], vec![1, 2, 3]), ("F4", &[6], vec![1, 0, 3]), EXACT, |found| {
        let difference = found.pairs[0].difference.as_ref().unwrap();
        assert_eq!((difference.elements, difference.over), (3, 1));
    });
    against(("F4", &[2], vec![1]), ("U8", &[2], vec![1, 0]), EXACT, |found| {
        assert!(found.pairs[0].difference.is_none() && !found.is_same());
    });
    let complex = |re: f32, im: f32| ("C64", &[1][..], f32s(&[re, im]));
    against(complex(1.0, 2.0), complex(1.0, 3.0), EXACT, |found| {
        let difference = found.pairs[0].difference.as_ref().unwrap();
        assert_eq!((difference.elements, difference.over), (2, 1));
    });
}

#[test]
fn shapes_may_differ() {
    let values = f32s(&[1.0, 2.0, 3.0, 4.0]);
    against(("F32", &[2, 2], values.clone()), ("F32", &[4], values.clone()), EXACT, |found| {
        assert!(found.pairs[0].reshaped() && !found.is_same());
        assert_eq!(found.pairs[0].difference.as_ref().unwrap().over, 0);
    });
    against(("F32", &[4], values), ("F32", &[1], f32s(&[1.0])), EXACT, |found| {
        assert!(found.pairs[0].difference.is_none());
    });
}

#[test]
fn blocks_do_not_matter() {
    // Several blocks, and a difference in the last element of the last.
    let count = (1usize << 18) + 3;
    let a: Vec<f32> = (0..count).map(|index| index as f32).collect();
    let mut b = a.clone();
    b[count - 1] += 1.0;
    floats(&a, &b, EXACT, |found| {
        let difference = found.pairs[0].difference.as_ref().unwrap();
        assert_eq!((difference.elements, difference.over), (count as u64, 1));
        assert_eq!(difference.max_abs, 1.0);
    });
    // As float64, so that the blocks of the two hold other numbers of bytes.
    let wide: Vec<u8> = a.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect();
    against(("F64", &[count], wide), ("F32", &[count], f32s(&b)), EXACT, |found| {
        assert_eq!(found.pairs[0].difference.as_ref().unwrap().over, 1);
    });
}

#[test]
fn renamed_added_and_removed() {
    let (one, two, three) = (f32s(&[1.0]), f32s(&[2.0]), f32s(&[3.0]));
    let (_a, a) = checkpoint(&[
        ("old.x.weight", "F32", &[1], one.clone()),
        ("old.y.weight", "F32", &[1], one.clone()),
        ("gone", "F32", &[1], two.clone()),
        ("kept", "F32", &[1], three.clone()),
        ("form", "F32", &[1], two.clone()),
    ]);
    let (_b, b) = checkpoint(&[
        ("new.y.weight", "F32", &[1], one.clone()),
        ("new.x.weight", "F32", &[1], one.clone()),
        ("fresh", "F32", &[1], f32s(&[9.0])),
        ("kept", "F32", &[1], three),
        // The same bytes in another shape are another tensor.
        ("form2", "F32", &[1, 1], two),
    ]);
    let found = compare(side(&a), side(&b), EXACT).unwrap();
    let renamed: Vec<_> = found.renamed.iter().map(|x| (x.from, x.to)).collect();
    assert_eq!(renamed, [("old.x.weight", "new.x.weight"), ("old.y.weight", "new.y.weight")]);
    assert!(found.removed.iter().map(|(name, _)| *name).eq(["form", "gone"]));
    assert!(found.added.iter().map(|(name, _)| *name).eq(["form2", "fresh"]));
    assert_eq!(found.pairs.len(), 1);
    assert!(!found.is_same());
}

#[test]
fn prefixes_come_off() {
    let (_a, a) =
        checkpoint(&[("net.x", "F32", &[1], f32s(&[1.0])), ("y", "F32", &[1], f32s(&[2.0]))]);
    let (_b, b) = checkpoint(&[("x", "F32", &[1], f32s(&[1.0])), ("y", "F32", &[1], f32s(&[2.0]))]);
    for prefix in ["net", "net."] {
        let stripped = Side { checkpoint: &a, strip_prefix: Some(prefix) };
        assert!(compare(stripped, side(&b), EXACT).unwrap().is_same());
    }
    let none = Side { checkpoint: &b, strip_prefix: Some("ne") };
    assert!(
        message(compare(side(&a), none, EXACT)).ends_with("no tensor stands below the prefix ne")
    );
    let (_c, c) =
        checkpoint(&[("net.y", "F32", &[1], f32s(&[1.0])), ("y", "F32", &[1], f32s(&[2.0]))]);
    let twice = Side { checkpoint: &c, strip_prefix: Some("net") };
    assert!(message(compare(twice, side(&b), EXACT)).ends_with("net.y and y would both be y"));
}

#[test]
fn many_equal_tensors_are_paired_in_the_order_of_their_names() {
    let names = |prefix: &str| (0..1000).map(|index| format!("{prefix}.{index:03}.s")).collect();
    let (from, to): (Vec<String>, Vec<String>) = (names("a"), names("b"));
    let scalars = |names: &[String]| {
        let tensors: Vec<Tensor> =
            names.iter().map(|name| (name.as_str(), "U8", &[][..], vec![7])).collect();
        checkpoint(&tensors)
    };
    let ((_a, a), (_b, b)) = (scalars(&from), scalars(&to));
    let found = compare(side(&a), side(&b), EXACT).unwrap();
    let pairs = found.renamed.iter().map(|renamed| (renamed.from, renamed.to));
    assert!(pairs.eq(from.iter().map(String::as_str).zip(to.iter().map(String::as_str))));
    assert!(found.removed.is_empty() && found.added.is_empty());
}

#[test]
fn what_float64_does_not_hold_is_infinite() {
    let f64s = |value: f64| ("F64", &[1][..], value.to_le_bytes().to_vec());
    against(f64s(1e308), f64s(-1e308), EXACT, |found| {
        let difference = found.pairs[0].difference.as_ref().unwrap();
        assert_eq!((difference.over, difference.non_finite), (1, 0));
        assert_eq!((difference.max_abs, difference.max_rel), (f64::INFINITY, f64::INFINITY));
        assert_eq!(difference.cosine, None);
    });
}
