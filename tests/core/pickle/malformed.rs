//! Pickles and archives that are not what they should be: one line each, and no harm done.

use proptest::prelude::*;

use super::build::{
    archive, call, dict, floats, global, int, ints, legacy_start, pair, pickle, saved, storage,
    tensor, text, tuple,
};
use super::{content, opened};
use crate::support::{fixture, message};

#[test]
fn malformed_pickles_are_refused() {
    let held = "w: expected a tensor that safetensors can hold, found a tensor of size";
    let weight = |value: Vec<u8>| dict(&[("w", value)]);
    for (value, expected) in [
        (b"".to_vec(), "malformed pickle at byte 49: nothing on the stack"),
        (b"NR".to_vec(), "nothing on the stack"),
        (b"t".to_vec(), "no mark on the stack"),
        (b"N(0R".to_vec(), "nothing on the stack"),
        (b"h\x07".to_vec(), "nothing was kept as number 7"),
        (b"gx\n".to_vec(), "expected a number"),
        (b"\xff".to_vec(), "unknown opcode 0xff"),
        (b"\x80\x06".to_vec(), "protocol 6: expected at most 5"),
        (b"\x82\x01".to_vec(), "a name from a registry of extensions"),
        (b"\x97".to_vec(), "a buffer that is not in the file"),
        (
            b"Pabc\n".to_vec(),
            "a persistent id that is text, as protocol 0 has it, which PyTorch does not read either",
        ),
        (b"X\xff\xff\xff\xffabc".to_vec(), "expected 4294967295 more bytes, found 4"),
        (
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
            "expected 18446744073709551615 more bytes, found 1",
        ),
        (b"\x8b\xff\xff\xff\x7f".to_vec(), "expected 2147483647 more bytes, found 1"),
        (b"Ixyz\n".to_vec(), "expected a number, found \"xyz\""),
        (b"L\n".to_vec(), "expected a number, found \"\""),
        (b"Sabc\n".to_vec(), "expected quoted text"),
        (b"X\x01\x00\x00\x00\xff".to_vec(), "text that is not UTF-8"),
        (b"cabc".to_vec(), "expected 1 more bytes, found 0"),
        (b"NNa".to_vec(), "items for None, which takes none"),
        (b"NNNs".to_vec(), "entries for None, which takes none"),
        (b"}(Nu".to_vec(), "a key without a value"),
        (b"N)R".to_vec(), "expected a name to call, found None"),
        (b"NNb".to_vec(), "attributes for None, which takes none"),
        (b"(o".to_vec(), "an object without a class"),
        (b"NN\x93".to_vec(), "a name that is no text"),
        (global(&format!("a {}", "b".repeat(1000))), "expected a name, found one of 1001 bytes"),
        (b"NQ".to_vec(), "expected the id of a storage, found None"),
        (
            [storage("NoStorage", "0", 2)].concat(),
            "expected the id of a storage, found the name torch.NoStorage",
        ),
        (
            [storage("FloatStorage", "0", -1)].concat(),
            "expected the id of a storage, found a size that cannot be",
        ),
        ([storage("FloatStorage", "0", i64::MAX)].concat(), "found a size that cannot be"),
        (
            call("torch._utils _rebuild_tensor_v2", &[]),
            "torch._utils._rebuild_tensor_v2: expected at least 4 arguments, found 0",
        ),
        (
            call("torch._utils _rebuild_tensor", &[int(0), int(0), ints(&[]), ints(&[])]),
            "expected a storage, found 0",
        ),
        (call("torch._utils _rebuild_parameter", &[int(0)]), "expected a tensor, found 0"),
        (
            call(
                "torch._utils _rebuild_tensor",
                &[storage("FloatStorage", "0", 2), text("a"), ints(&[]), ints(&[])],
            ),
            "expected an offset, found \"a\"",
        ),
        (
            call(
                "torch._utils _rebuild_tensor",
                &[storage("FloatStorage", "0", 2), int(0), tuple(&[text("a")]), ints(&[1])],
            ),
            "expected an integer, found \"a\"",
        ),
        (tensor(2, 0, &[1; 65], &[1; 65]), "expected at most 64 sizes, found a tuple of 65"),
        (call("collections OrderedDict", &[int(3)]), "expected pairs of a dict, found 3"),
        (call("torch Size", &[int(3)]), "expected items of a torch.Size, found 3"),
        (
            [tuple(&[text("module"), global("a B"), text(""), text(""), text("")]), b"Q".to_vec()]
                .concat(),
            "holds a whole module (the name a.B), not its state_dict()",
        ),
        (weight(tensor(2, 0, &[-1], &[1])), &format!("{held} [-1] with strides [1] at offset 0")),
        (weight(tensor(2, 0, &[2], &[-1])), &format!("{held} [2] with strides [-1] at offset 0")),
        (weight(tensor(2, -1, &[2], &[1])), &format!("{held} [2] with strides [1] at offset -1")),
        (weight(tensor(2, 0, &[2], &[1, 1])), &format!("{held} [2] with strides [1, 1]")),
        (weight(tensor(2, 1, &[2], &[1])), "at offset 1, beyond its storage of 8 bytes"),
        (weight(tensor(2, 0, &[3], &[1])), "at offset 0, beyond its storage of 8 bytes"),
        (weight(tensor(2, 0, &[2], &[i64::MAX])), "beyond its storage of 8 bytes"),
        (weight(tensor(2, i64::MAX, &[2], &[i64::MAX])), "beyond its storage of 8 bytes"),
        (weight(tensor(2, 0, &[i64::MAX, i64::MAX], &[0, 0])), "with strides [0, 0] at offset 0"),
        (weight(tensor(4, 0, &[4], &[1])), "w: expected a storage of 16 bytes, found 8"),
        (
            weight(call(
                "torch._utils _rebuild_tensor",
                &[storage("FloatStorage", "1", 2), int(0), ints(&[2]), ints(&[1])],
            )),
            "w: expected a storage in the file, found the bytes of storage \"1\" are missing",
        ),
        (dict(&[("w", pair()), ("w", pair())]), "tensor \"w\" stands twice"),
        (
            weight(tensor(2, 0, &[1 << 40], &[0])),
            "4398046511104: its tensors repeat their elements too often",
        ),
        (dict(&[]), "holds no state dict, that is a dict of tensors by name, but a dict of 0"),
        (
            b"}K\x00Ns".to_vec(),
            "holds no state dict, that is a dict of tensors by name, but a dict of 1",
        ),
    ] {
        let text = message(opened(&saved(&value)));
        assert!(text.ends_with(expected), "{}\n{text}\n{expected}", value.escape_ascii());
    }
    let unended = archive(&[("data.pkl", b"\x80\x02N")]);
    assert!(message(opened(&unended)).ends_with("expected 1 more bytes, found 0"));
}

#[test]
fn broken_archives_are_refused() {
    let whole = saved(&dict(&[("w", pair())]));
    let replaced = |from: &[u8], to: &[u8]| {
        let mut bytes = whole.clone();
        for at in 0..=bytes.len() - from.len() {
            if &bytes[at..at + from.len()] == from {
                bytes[at..at + to.len()].copy_from_slice(to);
            }
        }
        bytes
    };
    // Both headers of the records say how they are compressed, at these places behind their signatures.
    let deflated = {
        let mut bytes = whole.clone();
        for at in 0..bytes.len() - 12 {
            match &bytes[at..at + 4] {
                b"PK\x03\x04" => bytes[at + 8] = 8,
                b"PK\x01\x02" => bytes[at + 10] = 8,
                _ => {}
            }
        }
        bytes
    };
    let sizes_differ = {
        let mut bytes = whole.clone();
        let directory =
            (0..bytes.len()).find(|&at| bytes[at..].starts_with(b"PK\x01\x02")).unwrap();
        bytes[directory + 24] += 1;
        bytes
    };
    let pickle = pickle(&dict(&[("w", pair())]));
    let with = |name: &str, bytes: &[u8]| {
        archive(&[("data.pkl", &pickle), ("data/0", &floats(&[1.0, 2.0])), (name, bytes)])
    };
    for (bytes, expected) in [
        (whole[..whole.len() - 30].to_vec(), "a zip archive that is broken or cut off: "),
        (whole[..100].to_vec(), "a zip archive that is broken or cut off: "),
        (
            replaced(b"data.pkl", b"data.pki"),
            "a zip archive without data.pkl: torch.save wrote none such",
        ),
        (replaced(b"archive/data.pkl", b"archive_data.pkl"), "a zip archive without data.pkl"),
        (sizes_differ, "record \"data.pkl\" is of "),
        (deflated, "record \"data.pkl\" is compressed or encrypted; PyTorch's are neither"),
        (
            with("constants.pkl", b""),
            "a TorchScript program, not a checkpoint: save its state_dict()",
        ),
        (with("byteorder", b"middle"), "byteorder: expected little or big, found \"middle\""),
        (
            {
                let mut bytes = with("data/1", b"x");
                for at in 0..bytes.len() - 6 {
                    if &bytes[at..at + 6] == b"data/1" {
                        bytes[at + 5] = b'0';
                    }
                }
                bytes
            },
            r#"record "data/0" stands twice"#,
        ),
    ] {
        let text = message(opened(&bytes));
        assert!(text.starts_with(expected), "{text}\n{expected}");
    }
    assert_eq!(opened(&with("byteorder", b"little")).unwrap().tensors().len(), 1);
}

#[test]
fn broken_legacy_files_are_refused() {
    let key = "7";
    let args = [storage("FloatStorage", key, 2), int(0), ints(&[2]), ints(&[1])];
    let object = pickle(&dict(&[("w", call("torch._utils _rebuild_tensor", &args))]));
    let keys = |keys: &[&str]| {
        let keys: Vec<Vec<u8>> = keys.iter().map(|key| text(key)).collect();
        pickle(&[b"](".to_vec(), keys.concat(), b"e".to_vec()].concat())
    };
    let data = [2u64.to_le_bytes().to_vec(), floats(&[1.0, 2.0])].concat();
    let file = |parts: &[&[u8]]| [&[legacy_start().as_slice()], parts].concat().concat();
    let whole = file(&[&object, &keys(&[key]), &data]);
    assert_eq!(opened(&whole).unwrap().tensors().len(), 1);
    let huge = [u64::MAX.to_le_bytes().to_vec(), floats(&[1.0, 2.0])].concat();
    for (bytes, expected) in [
        (whole[..whole.len() - 1].to_vec(), "storages: \"7\" is cut off: 7 bytes are left"),
        (whole[..whole.len() - 12].to_vec(), "storages: \"7\" is cut off: 4 bytes are left"),
        (file(&[&object, &keys(&[key]), &huge]), "storages: \"7\" is cut off: 8 bytes are left"),
        (
            file(&[&object, &keys(&[])]),
            "w: expected a storage in the file, found the bytes of storage \"7\" are missing",
        ),
        (
            file(&[&object, &keys(&[key, "8"]), &data]),
            "storages: nothing in the pickle says what \"8\" consists of",
        ),
        (file(&[&object, &keys(&[key, key]), &data, &data]), "storages: \"7\" stands there twice"),
        (file(&[&object, &pickle(b"N")]), "storages: expected a list of keys, found None"),
        (file(&[&object]), "expected 1 more bytes, found 0"),
        (
            [&legacy_start()[..15], &pickle(b"K\x01")].concat(),
            "expected a PyTorch pickle of protocol 1001, found 1",
        ),
        (pickle(&dict(&[])), "a Python pickle, but not one that torch.save wrote"),
        (
            pickle(&call("os system", &[text("touch pickle_was_executed")])),
            "a Python pickle, but not one that torch.save wrote",
        ),
        (b"\x80\x02".to_vec(), "a Python pickle, but not one that torch.save wrote"),
        (Vec::new(), "not a PyTorch pickle"),
        (b"abc".to_vec(), "not a PyTorch pickle"),
        (
            [vec![0; 257], b"ustar".to_vec()].concat(),
            "a tar archive, PyTorch's format before 2017: load it with PyTorch and save it again",
        ),
    ] {
        let text = message(opened(&bytes));
        assert!(text.ends_with(expected), "{text}\n{expected}");
    }
}

#[test]
fn a_safetensors_header_that_begins_like_a_pickle_is_none() {
    // A header of 0x0280 bytes: its length begins with the bytes of a pickle of protocol 2.
    let header = format!("{:640}", "{}");
    let bytes = crate::support::safetensors_bytes(&header, &[]);
    assert_eq!(&bytes[..2], b"\x80\x02");
    assert_eq!(message(opened(&bytes)), "not a PyTorch pickle");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damage_is_no_worse_than_an_error(
        case in prop::sample::select(vec![
            "strided.pt", "strided_legacy.pt", "training.ckpt", "protocol_4.pt", "kinds.pt", "big_endian.pt",
        ]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = std::fs::read(fixture("pickle").join(case)).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let folder = crate::support::folder(&[("x.pt", &bytes)]);
        match super::open(&folder.path().join("x.pt")) {
            Ok(checkpoint) => drop(content(&checkpoint)),
            Err(error) => prop_assert!(!error.to_string().contains('\n'), "{}", error),
        }
    }
}
