//! Pickles that are cut, that lie about lengths, that are out to run something, or that ask for much memory in few bytes.

#[path = "../../core/pickle/build.rs"]
#[allow(dead_code, reason = "not every part of a pickle is needed")]
mod build;

use build::{
    archive, dict, floats, global, int, ints, legacy_start, pair, saved, storage, tensor, text,
    tuple,
};

use super::{Case, DELETE, bytes, file, large};

pub(super) const FILE: &str = "x.pt";

/// What is said of those that ask for much memory.
const MEMORY: &str = "x.pt: the pickle asks for more than ";

fn pickle(name: &str, bytes: Vec<u8>, says: &'static str) -> Case {
    file(&format!("a pickle: {name}"), FILE, bytes, says)
}

/// A program in an archive with a storage of eight bytes.
fn program(name: &str, program: &[u8], says: &'static str) -> Case {
    pickle(name, saved(program), says)
}

/// A value that is kept as number `index`, and taken off the stack.
fn kept(value: &[u8], index: u8) -> Vec<u8> {
    [value, &[b'q', index, b'0']].concat()
}

/// A dict with a long key, at which 3,000 times the same stands.
fn repeated(key: &str, value: &[u8]) -> Vec<u8> {
    let entries = [&b"h\x00"[..], value].concat().repeat(3000);
    [kept(&text(key), 0), b"}(".to_vec(), entries, b"u".to_vec()].concat()
}

/// A function that is called with the same arguments a million times.
fn called(function: &str, args: &[u8]) -> Vec<u8> {
    let kept = [kept(&global(function), 0), kept(args, 1)].concat();
    [kept, b"h\x00h\x01R0".repeat(1_000_000)].concat()
}

/// Few bytes that would be much in memory if each use of a value were a copy of it.
fn bombs() -> Vec<Case> {
    const REBUILD: &str = "torch._utils _rebuild_tensor_v2";
    let key = "k".repeat(1_000_000);
    let floats = storage("FloatStorage", "0", 2);
    let axes = |size: i64| {
        tuple(&[floats.clone(), int(0), ints(&[size; 64]), ints(&[1; 64]), b"\x89N".to_vec()])
    };
    let name = |index: u32| [b"X\x04\0\0\0", format!("{index:04x}").as_bytes()].concat();
    let names = (0..60_000).flat_map(|index| [name(index), b"h\x00".to_vec()].concat());
    let many_axes = kept(&tensor(2, 0, &[1; 64], &[1; 64]), 0);
    let memo = (0..4_000_000u32).flat_map(|index| [&b"r"[..], &index.to_le_bytes()].concat());
    let dicts = |count: usize, more: &[u8]| [&b"}"[..], &more.repeat(count)].concat();
    let long_name = format!("pathlib {}", "x".repeat(980));
    let nested = [
        [kept(&text(&key), 0), b"}".to_vec(), b"h\x00}".repeat(59)].concat(),
        [b"h\x00".to_vec(), dict(&[("w", pair())]), b"s".repeat(60)].concat(),
    ];
    vec![
        program("a dict of dicts by one long key", &repeated(&key, b"}"), "holds no state dict"),
        program(
            "a long key of many tensors",
            &[kept(&pair(), 1), repeated(&key, b"h\x01")].concat(),
            "tensor \"kkk",
        ),
        program("dicts in dicts by one long key", &nested.concat(), "holds no state dict"),
        program(
            "a million objects of a long name",
            &called(&long_name, b")"),
            "nothing on the stack",
        ),
        program("a million tensors of 64 axes", &called(REBUILD, &axes(1)), MEMORY),
        program("a million tensors that cannot be", &called(REBUILD, &axes(i64::MIN)), MEMORY),
        program(
            "a tensor of 64 axes by many names",
            &[many_axes, b"}(".to_vec(), names.collect(), b"u".to_vec()].concat(),
            MEMORY,
        ),
        program("16 million values", &b"N".repeat(16_000_000), MEMORY),
        program("4 million values kept", &[b"N".to_vec(), memo.collect()].concat(), ""),
        program("a million lists", &b"]Na0".repeat(1_000_000), MEMORY),
        program("a million dicts", &b"}NNs0".repeat(1_000_000), MEMORY),
        program("a million attributes", &dicts(1_000_000, b"}b"), MEMORY),
        program(
            "one value 8 million times",
            &[&b"Nq\x00"[..], &b"h\x00".repeat(8_000_000)].concat(),
            "",
        ),
    ]
}

/// An archive whose directory lists record `first`, of these bytes, and a million empty ones, some with a comment as long as
/// can be.
fn crowded(first: &str, content: &[u8]) -> Vec<u8> {
    const RECORDS: u32 = 1_000_000;
    let listed = |name: &str, size: usize, offset: usize, comment: u16| {
        let mut header = b"PK\x01\x02\x14\0\x14\0".to_vec();
        header.resize(20, 0);
        header.extend([(size as u32).to_le_bytes(); 2].concat());
        header.extend([name.len() as u8, 0, 0, 0]);
        header.extend(comment.to_le_bytes());
        header.resize(42, 0);
        header.extend((offset as u32).to_le_bytes());
        [&header, name.as_bytes(), &vec![b'c'; comment.into()]].concat()
    };
    let local = [&b"PK\x03\x04\x14\0"[..], &[0; 24]].concat();
    let mut bytes = [&local, content, &local].concat();
    let (empty, start) = (local.len() + content.len(), bytes.len() as u64);
    bytes.extend(listed(first, content.len(), 0, 0));
    for index in 0..RECORDS {
        let comment = if index.is_multiple_of(100_000) { u16::MAX } else { 0 };
        bytes.extend(listed(&format!("a/data/{index:x}"), 0, empty, comment));
    }
    let end = bytes.len() as u64;
    let count = u64::from(RECORDS + 1);
    bytes.extend([&b"PK\x06\x06"[..], &44u64.to_le_bytes(), b"\x2d\0\x2d\0", &[0; 8]].concat());
    for number in [count, count, end - start, start] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend([&b"PK\x06\x07\0\0\0\0"[..], &end.to_le_bytes(), b"\x01\0\0\0"].concat());
    bytes.extend([&b"PK\x05\x06"[..], &[0; 4], &[0xff; 12], &[0; 2]].concat());
    bytes
}

/// Archives with many records, some of a pickle that asks for much as well.
fn crowds() -> Vec<Case> {
    let case = |name, bytes, make: fn() -> Vec<u8>, says| {
        large(&format!("a pickle: a million records, {name}"), FILE, bytes, make, says)
    };
    const PICKLE: usize = 14_000_000;
    vec![
        case("none a pickle", 57_000_000, || crowded("a/data.pk", b""), "without data.pkl"),
        case("the pickle too far up", 57_000_000, || crowded("data.pkl", b""), "without data.pkl"),
        case("and no byte", 57_000_000, || crowded("a/data.pkl", b""), "more bytes, found 0"),
        case(
            "of none a word",
            57_000_000,
            || crowded("a/data.pkl", b"\x80\x02}."),
            "no state dict",
        ),
        case(
            "and as many values",
            57_000_000 + PICKLE as u64,
            || crowded("a/data.pkl", &b"N".repeat(PICKLE)),
            "",
        ),
    ]
}

/// Programs and archives that are wrong in one place.
fn malformed() -> Vec<Case> {
    let weight = |value: Vec<u8>| dict(&[("w", value)]);
    let far = [&(1u64 << 63).to_le_bytes()[..], b"abc"].concat();
    let claims = "expected 9223372036854775808 more bytes, found 4";
    let lists = [b"]".repeat(100_000), b"a".repeat(99_999)].concat();
    let no_pickle = archive(&[("data/0", &floats(&[1.0, 2.0]))]);
    let object = |value: &[u8]| [legacy_start(), build::pickle(value)].concat();
    vec![
        pickle("an archive without data.pkl", no_pickle, "without data.pkl"),
        pickle("of the old format, without keys", object(&weight(pair())), "more bytes, found 0"),
        program("an opcode that is none", b"\xff", "unknown opcode 0xff"),
        program("protocol 6", b"\x80\x06", "protocol 6: expected at most 5"),
        program(
            "100,000 tuples in each other",
            &[&b"N"[..], &[0x85; 100_000]].concat(),
            "a tuple of 1",
        ),
        program("100,000 lists in each other", &lists, "a list of 1"),
        program("nothing kept", b"h\x07", "nothing was kept as number 7"),
        program(
            "a persistent id that is no tuple",
            b"NQ",
            "expected the id of a storage, found None",
        ),
        program("a persistent id that is text", b"Pabc\n", "a persistent id that is text"),
        program("text of 2^63 bytes", &[&b"\x8d"[..], &far].concat(), claims),
        program("bytes of 2^63 bytes", &[&b"\x8e"[..], &far].concat(), claims),
        program(
            "a line without end",
            &[&b"L"[..], &b"9".repeat(2_000_000)].concat(),
            "a line of more than",
        ),
        program(
            "a short storage",
            &weight(tensor(4, 0, &[4], &[1])),
            "expected a storage of 16 bytes, found 8",
        ),
        program(
            "beyond its storage",
            &weight(tensor(2, 1, &[2], &[1])),
            "beyond its storage of 8 bytes",
        ),
        program("a negative stride", &weight(tensor(2, 0, &[2], &[-1])), "with strides [-1]"),
        program("a negative size", &weight(tensor(2, 0, &[-2], &[1])), "of size [-2]"),
        program(
            "a size that overflows",
            &weight(tensor(2, 0, &[i64::MAX, 4], &[0, 0])),
            "of size [9223372036854775807, 4]",
        ),
        program(
            "a terabyte of one number",
            &weight(tensor(2, 0, &[1 << 38], &[0])),
            "repeat their elements",
        ),
        program("a key that is no UTF-8", b"}X\x02\0\0\0\xff\xfe", "text that is not UTF-8"),
        program(
            "a key that clears the screen",
            &dict(&[("\u{1b}[2J\n\u{202e}\u{e0041}", tensor(4, 0, &[4], &[1]))]),
            r"\u{1b}[2J\n\u{202e}\u{e0041}: expected a storage of 16 bytes",
        ),
        program(
            "a key of 1 MB that escapes, twice",
            &dict(&[(&DELETE.repeat(1 << 20), pair()), (&DELETE.repeat(1 << 20), pair())]),
            r#"\u{7f}" stands twice"#,
        ),
        large(
            "a pickle: a key of 60 MB that escapes",
            FILE,
            60_000_000,
            || saved(&dict(&[(&DELETE.repeat(60_000_000), pair())])),
            "expected a name of at most 1048576 bytes, found 60000000",
        ),
        pickle(
            "of the old format, protocol 0",
            b"L119547037146038801333356L\n.I1001\n.(dp0\n.P('storage', 'torch.FloatStorage')\n."
                .to_vec(),
            "a persistent id that is text, as protocol 0 has it",
        ),
        program("a storage that is not there", &weight(missing()), "\"1\" are missing"),
    ]
}

/// A tensor of a storage that the archive lacks.
fn missing() -> Vec<u8> {
    let args = [storage("FloatStorage", "1", 2), int(0), ints(&[2]), ints(&[1])];
    build::call("torch._utils _rebuild_tensor", &args)
}

pub(super) fn cases() -> Vec<Case> {
    let archive = bytes("pickle/state_dict.pt");
    let legacy = bytes("pickle/legacy_format.pt");
    let cut = |whole: &[u8], parts: usize| whole[..whole.len() * parts / 8].to_vec();
    let mut cases = vec![
        pickle("cut in its magic", b"PK\x03".to_vec(), ""),
        pickle("a command to run", bytes("pickle/executes_code.pt"), "system"),
        pickle("a whole module", bytes("pickle/refused_whole_module.pt"), ""),
        pickle("a sparse tensor", bytes("pickle/refused_sparse.pt"), ""),
        program("a text of 4 GB", b"X\xff\xff\xff\xffabc", ""),
        program("a text of 2^64 - 1 bytes", b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc", ""),
        program("a million marks", &b"(".repeat(1_000_000), ""),
        program(
            "a million lists in each other",
            &[b"]".repeat(1_000_000), b"a".repeat(999_999)].concat(),
            "",
        ),
        program(
            "a number of a million digits",
            &[&b"L"[..], &b"9".repeat(1_000_000), b"L\n"].concat(),
            "",
        ),
    ];
    cases.extend(malformed());
    cases.extend(bombs());
    cases.extend(crowds());
    for parts in 1..8 {
        cases.push(pickle(&format!("an archive, {parts}/8 of it"), cut(&archive, parts), ""));
        cases.push(pickle(&format!("of the old format, {parts}/8 of it"), cut(&legacy, parts), ""));
    }
    cases
}
