//! The machine: opcodes of all protocols, and programs that would do harm to a reader that follows them.

use super::build::{
    archive, call, dict, floats, global, int, ints, pair, pickle, saved, storage, tensor, text,
    tuple,
};
use super::{content, opened};
use crate::support::message;

/// The bytes of the only tensor of a file.
#[track_caller]
fn only(bytes: &[u8]) -> usize {
    let checkpoint = opened(bytes).unwrap();
    assert_eq!(checkpoint.tensors().len(), 1);
    checkpoint.tensors()[0].count()
}

/// A state dict with something beside it.
fn beside(value: &[u8]) -> Vec<u8> {
    saved(&dict(&[("state_dict", dict(&[("w", pair())])), ("other", value.to_vec())]))
}

/// What is said of the thing beside a state dict.
#[track_caller]
fn described(value: &[u8]) -> String {
    opened(&beside(value)).unwrap().files()[0].skipped()[0].what.clone()
}

#[test]
fn every_kind_of_value_is_understood() {
    for (value, what) in [
        (b"N".as_slice(), "None"),
        (b"\x88", "true"),
        (b"I00\n", "false"),
        (b"I01\n", "true"),
        (b"I-7\n", "-7"),
        (b"L123L\n", "123"),
        (b"L123456789012345678901234567890L\n", "a large integer"),
        (b"J\xff\xff\xff\xff", "-1"),
        (b"K\xff", "255"),
        (b"M\x00\x01", "256"),
        (b"\x8a\x00", "0"),
        (b"\x8a\x01\xff", "-1"),
        (b"\x8a\x02\xff\x00", "255"),
        (b"\x8b\x01\x00\x00\x00\x80", "-128"),
        (b"F2.5\n", "2.5"),
        (b"G\x40\x04\x00\x00\x00\x00\x00\x00", "2.5"),
        (b"S'abc'\n", "\"abc\""),
        (b"S\"abc\"\n", "\"abc\""),
        (b"Vabc\n", "\"abc\""),
        (b"U\x03abc", "\"abc\""),
        (b"U\x01\xff", "1 bytes"),
        (b"T\x03\x00\x00\x00abc", "\"abc\""),
        (b"\x8c\x03abc", "\"abc\""),
        (b"\x8d\x03\x00\x00\x00\x00\x00\x00\x00abc", "\"abc\""),
        (b"C\x03abc", "3 bytes"),
        (b"B\x03\x00\x00\x00abc", "3 bytes"),
        (b"\x8e\x03\x00\x00\x00\x00\x00\x00\x00abc", "3 bytes"),
        (b"\x96\x03\x00\x00\x00\x00\x00\x00\x00abc", "3 bytes"),
        (b")", "a tuple of 0"),
        (b"N\x85", "a tuple of 1"),
        (b"NN\x86", "a tuple of 2"),
        (b"NNN\x87", "a tuple of 3"),
        (b"(NNNNt", "a tuple of 4"),
        (b"(NNl", "a list of 2"),
        (b"]Na", "a list of 1"),
        (b"](NNe", "a list of 2"),
        (b"\x8f(NN\x90", "a list of 2"),
        (b"(NN\x91", "a tuple of 2"),
        (b"(K\x01NK\x02Nd", "a dict of 2"),
        (b"}K\x01Ns", "a dict of 1"),
        (b"N2\x86", "a tuple of 2"),
        (b"NK\x010", "None"),
        (b"N(K\x01K\x021", "None"),
        (b"N(0", "None"),
        (b"Np3\n0g3\n", "None"),
        (b"Nq\x030h\x03", "None"),
        (b"Nr\x03\x00\x00\x000j\x03\x00\x00\x00", "None"),
        (b"N\x940h\x00", "None"),
        (b"\x95\x01\x00\x00\x00\x00\x00\x00\x00N", "None"),
        (b"ctorch\nfloat32\n", "the name torch.float32"),
        (b"c__builtin__\nset\n", "the name builtins.set"),
        (b"\x8c\x08argparse\x8c\x09Namespace\x93)\x81}b", "an object of argparse.Namespace"),
        (b"(K\x01idatetime\ntimedelta\n", "an object of datetime.timedelta"),
        (b"(cdatetime\ntimedelta\nK\x01o", "an object of datetime.timedelta"),
        (b"cdecimal\nDecimal\n(t}\x92", "an object of decimal.Decimal"),
        (
            b"ccopy_reg\n_reconstructor\n(cargparse\nNamespace\nc__builtin__\nobject\nNtR",
            "an object of argparse.Namespace",
        ),
        (b"c__builtin__\nset\n(](NNetR", "a list of 2"),
        (b"ccollections\nOrderedDict\n(](](NNeetR", "a dict of 1"),
        (b"ccollections\ndefaultdict\n(c__builtin__\nlist\ntRK\x01Ns", "a dict of 1"),
        (b"ccollections\ndeque\n(]tRNa", "an object of collections.deque"),
        (b"cpathlib\nPosixPath\n(Vx\ntR", "an object of pathlib.PosixPath"),
    ] {
        assert_eq!(described(value), what, "{}", value.escape_ascii());
    }
}

#[test]
fn every_way_of_building_a_tensor_is_understood() {
    let args = [storage("FloatStorage", "0", 2), int(0), ints(&[2]), ints(&[1])];
    let old = call("torch._utils _rebuild_tensor", &args);
    let parameter =
        call("torch._utils _rebuild_parameter", &[pair(), b"\x88".to_vec(), b"}".to_vec()]);
    let state = [pair(), b"\x88".to_vec(), b"}".to_vec(), b"}".to_vec()];
    let with_state = call("torch._utils _rebuild_parameter_with_state", &state);
    let untyped = tuple(&[
        text("storage"),
        global("torch.storage UntypedStorage"),
        text("0"),
        text("cpu"),
        int(8),
    ]);
    let untyped = [untyped, b"Q".to_vec()].concat();
    let rest = [b"\x89".to_vec(), b"}".to_vec(), global("torch float32")];
    let third = [&[untyped, int(0), ints(&[2]), ints(&[1])], rest.as_slice()].concat();
    let third = call("torch._utils _rebuild_tensor_v3", &third);
    let args = tuple(&[storage("FloatStorage", "0", 2), int(0), ints(&[2]), ints(&[1])]);
    let class = |class: &str| {
        let args =
            [global("torch._utils _rebuild_tensor"), global(class), args.clone(), b"}".to_vec()];
        call("torch._tensor _rebuild_from_type_v2", &args)
    };
    let cuda = tuple(&[
        text("storage"),
        global("torch.cuda FloatStorage"),
        text("0"),
        text("cuda:0"),
        int(2),
    ]);
    let cuda = call(
        "torch._utils _rebuild_tensor",
        &[[cuda, b"Q".to_vec()].concat(), int(0), ints(&[2]), ints(&[1])],
    );
    for value in [
        pair(),
        old,
        parameter,
        with_state,
        third,
        class("torch Tensor"),
        class("torch.nn.parameter Parameter"),
        cuda,
    ] {
        let checkpoint = saved(&dict(&[("w", value.clone())]));
        assert_eq!(only(&checkpoint), 2, "{}", value.escape_ascii());
    }
    let text = message(opened(&saved(&dict(&[("w", class("somewhere Subclass"))]))));
    assert!(text.ends_with("found a tensor of the subclass somewhere.Subclass"), "{text}");
}

#[test]
fn calls_that_are_not_understood_are_refused_by_name() {
    let arg = text("touch pickle_was_executed");
    let args = [arg.clone()];
    for name in [
        "os system",
        "posix system",
        "nt system",
        "builtins eval",
        "builtins getattr",
        "subprocess Popen",
        "importlib.util find_spec",
    ] {
        let text = message(opened(&beside(&call(name, &args))));
        let name = name.replace(' ', ".");
        assert_eq!(text, format!("calls {name}, which runs code: refused, and nothing was run"));
    }
    for name in ["torch.storage _load_from_bytes", "torch.hub load", "project Settings"] {
        let text = message(opened(&beside(&call(name, &args))));
        let name = name.replace(' ', ".");
        assert_eq!(
            text,
            format!("calls {name}, which is not known to make plain data: nothing was run")
        );
    }
    // All that makes something, by all that names something.
    let system = global("os system");
    for value in [
        call("copy_reg _reconstructor", std::slice::from_ref(&system)),
        [b"(".to_vec(), arg.clone(), b"ios\nsystem\n".to_vec()].concat(),
        [b"(".to_vec(), system.clone(), arg, b"o".to_vec()].concat(),
        [system.clone(), tuple(&args), b"\x81".to_vec()].concat(),
        [system, tuple(&args), b"}\x92".to_vec()].concat(),
        b"\x8c\x02os\x8c\x06system\x93)R".to_vec(),
        b"\x8c\x02os\x8c\x06system\x93q\x000h\x00)R".to_vec(),
    ] {
        let text = message(opened(&beside(&value)));
        assert!(text.starts_with("calls os.system, which runs code"), "{text}");
    }
    assert!(!std::path::Path::new("pickle_was_executed").exists());
    // A name that is not called does nothing.
    assert_eq!(described(&global("os system")), "the name os.system");
}

#[test]
fn depth_and_cycles_do_no_harm() {
    const DEPTH: usize = 300_000;
    // Tuples in tuples, lists in lists, dicts in dicts.
    let tuples = [b"N".to_vec(), vec![0x85; DEPTH]].concat();
    assert_eq!(described(&tuples), "a tuple of 1");
    let lists = [vec![b']'; DEPTH], vec![b'a'; DEPTH - 1]].concat();
    assert_eq!(described(&lists), "a list of 1");
    let dicts = [b"}Vx\n".repeat(DEPTH), b"N".to_vec(), vec![b's'; DEPTH]].concat();
    assert_eq!(described(&dicts), "a dict of 1");
    let marks = vec![b'('; DEPTH];
    let text = message(opened(&saved(&marks)));
    assert!(text.ends_with("nothing on the stack"), "{text}");
    // A list, and a dict, in itself.
    assert_eq!(described(b"]q\x00h\x00a"), "a list of 1");
    assert_eq!(described(b"}q\x00Vx\nh\x00s"), "a dict of 1");
    // Each is twice the one before: 2^1000 tensors to one who follows them all.
    let doubled =
        [b"](".to_vec(), pair(), b"e".to_vec(), b"q\x00(h\x00h\x00l".repeat(1000)].concat();
    let checkpoint = opened(&beside(&doubled)).unwrap();
    assert_eq!(checkpoint.files()[0].skipped()[0].tensors, 1);
    // A tensor with attributes, made by a function that makes tensors with attributes, and so on.
    let args = [storage("FloatStorage", "0", 2), int(0), ints(&[2]), ints(&[1])];
    let from_type = global("torch._tensor _rebuild_from_type_v2");
    let mut start = [global("torch._utils _rebuild_tensor"), global("torch Tensor")].concat();
    start.extend([tuple(&args), b"}".to_vec()].concat());
    let around: Vec<u8> = [b"(".to_vec(), from_type.clone(), global("torch Tensor")].concat();
    let nested =
        [around.repeat(10_000), b"(".to_vec(), start, b"t".to_vec(), b"}t".repeat(10_000)].concat();
    let value = [from_type, nested, b"R".to_vec()].concat();
    assert_eq!(only(&saved(&dict(&[("w", value)]))), 2);
}

#[test]
fn what_is_copied_counts() {
    // A list of 100,000 pairs, made into a dict again and again: 2 bytes a copy.
    let pairs = [b"](".to_vec(), b"NN\x86".repeat(100_000), b"eq\x00\x85q\x010".to_vec()].concat();
    let name = [global("collections OrderedDict"), b"q\x020".to_vec()].concat();
    let copies = b"h\x02h\x01R0".repeat(1000);
    let text = message(opened(&saved(&[pairs, name, copies, b"N".to_vec()].concat())));
    assert!(text.starts_with("the pickle asks for more than "), "{text}");
}

#[test]
fn state_dicts_deep_down_are_found_to_a_limit() {
    let nested = |depth: usize| {
        let open: Vec<u8> = [b"}".to_vec(), text("x")].concat().repeat(depth);
        saved(&[open, dict(&[("w", pair())]), vec![b's'; depth]].concat())
    };
    let checkpoint = opened(&nested(64)).unwrap();
    assert_eq!(checkpoint.files()[0].key(), ["x"; 64].join("."));
    assert!(message(opened(&nested(65))).contains("holds no state dict"));
}

#[test]
fn long_lists_of_what_is_skipped_are_cut() {
    let key = "k".repeat(300);
    let mut entries: Vec<(&str, Vec<u8>)> = vec![(key.as_str(), b"N".to_vec()); 3000];
    entries.push(("state_dict", dict(&[("w", pair())])));
    entries.push(("last", pair()));
    let checkpoint = opened(&saved(&dict(&entries))).unwrap();
    let skipped = checkpoint.files()[0].skipped();
    assert_eq!(skipped.len(), 1001);
    let half = "k".repeat(50);
    assert_eq!(skipped[0].path, format!("{half} … {half}"));
    let last = &skipped[1000];
    assert_eq!(
        (last.path.as_str(), last.what.as_str(), last.tensors),
        ("…", "2001 more entries", 1)
    );
}

#[test]
fn tensors_larger_than_a_block_come_in_order() {
    // 1,500 × 1,300 float32 numbers are 7.8 MB: transposed, every third column, repeated, in windows.
    let (rows, columns) = (1500usize, 1300usize);
    let count = rows * columns;
    let values: Vec<f32> = (0..count).map(|index| index as f32).collect();
    let (r, c) = (rows as i64, columns as i64);
    let all = count as i64;
    let root = dict(&[
        ("contiguous", tensor(all, 0, &[r, c], &[c, 1])),
        ("gaps", tensor(all, 1, &[r, c / 3], &[c, 3])),
        ("repeated", tensor(all, 5, &[3, 2, c], &[0, c, 1])),
        ("transposed", tensor(all, 0, &[c, r], &[1, c])),
        ("windows", tensor(all, 0, &[all - 3, 4], &[1, 1])),
        ("wide_gaps", tensor(all, 0, &[20, 70], &[1, 20_000])),
    ]);
    let bytes = archive(&[("data.pkl", &pickle(&root)), ("data/0", &floats(&values))]);
    let folder = crate::support::folder(&[("x.pt", &bytes)]);
    let checkpoint = super::open(&folder.path().join("x.pt")).unwrap();
    let found = content(&checkpoint);
    let at = |name: &str| -> &[u8] { &found.iter().find(|(found, ..)| found == name).unwrap().3 };
    let expected = |shape: &[usize], element: &dyn Fn(&[usize]) -> usize| -> Vec<u8> {
        let mut index = vec![0; shape.len()];
        let mut bytes = Vec::new();
        for _ in 0..shape.iter().product() {
            bytes.extend(values[element(&index)].to_le_bytes());
            for axis in (0..shape.len()).rev() {
                index[axis] += 1;
                if index[axis] < shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        bytes
    };
    assert!(at("contiguous") == floats(&values));
    assert!(at("transposed") == expected(&[columns, rows], &|x| x[0] + x[1] * columns));
    assert!(at("gaps") == expected(&[rows, columns / 3], &|x| 1 + x[0] * columns + 3 * x[1]));
    assert!(at("repeated") == expected(&[3, 2, columns], &|x| 5 + x[1] * columns + x[2]));
    assert!(at("windows") == expected(&[count - 3, 4], &|x| x[0] + x[1]));
    assert!(at("wide_gaps") == expected(&[20, 70], &|x| x[0] + 20_000 * x[1]));
}
