//! Pickles and archives put together by hand.

use std::io::Write;

use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

/// `text` as a value.
pub(super) fn text(text: &str) -> Vec<u8> {
    [b"X", (text.len() as u32).to_le_bytes().as_slice(), text.as_bytes()].concat()
}

/// An integer as a value.
pub(super) fn int(value: i64) -> Vec<u8> {
    [b"\x8a\x08", value.to_le_bytes().as_slice()].concat()
}

/// A tuple of values.
pub(super) fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(", items.concat().as_slice(), b"t"].concat()
}

/// A tuple of integers.
pub(super) fn ints(values: &[i64]) -> Vec<u8> {
    tuple(&values.iter().map(|&value| int(value)).collect::<Vec<_>>())
}

/// A name: "module name".
pub(super) fn global(name: &str) -> Vec<u8> {
    format!("c{}\n", name.replace(' ', "\n")).into_bytes()
}

/// A call of a name.
pub(super) fn call(name: &str, args: &[Vec<u8>]) -> Vec<u8> {
    [global(name), tuple(args), b"R".to_vec()].concat()
}

/// A dict by text keys.
pub(super) fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries: Vec<Vec<u8>> =
        entries.iter().map(|(key, value)| [text(key), value.clone()].concat()).collect();
    [b"}(", entries.concat().as_slice(), b"u"].concat()
}

/// The storage of a key, of so many elements.
pub(super) fn storage(class: &str, key: &str, count: i64) -> Vec<u8> {
    let id =
        [text("storage"), global(&format!("torch {class}")), text(key), text("cpu"), int(count)];
    [tuple(&id), b"Q".to_vec()].concat()
}

/// A float32 tensor of storage "0", which has so many elements.
pub(super) fn tensor(count: i64, offset: i64, size: &[i64], stride: &[i64]) -> Vec<u8> {
    let hooks = call("collections OrderedDict", &[]);
    let args = [
        storage("FloatStorage", "0", count),
        int(offset),
        ints(size),
        ints(stride),
        b"\x89".to_vec(),
        hooks,
    ];
    call("torch._utils _rebuild_tensor_v2", &args)
}

/// A tensor of two elements.
pub(super) fn pair() -> Vec<u8> {
    tensor(2, 0, &[2], &[1])
}

/// A whole pickle.
pub(super) fn pickle(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02", value, b"."].concat()
}

/// An archive of these records.
pub(super) fn archive(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in records {
        zip.start_file(format!("archive/{name}"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The archive of a value; storage "0" holds 1 and 2.
pub(super) fn saved(value: &[u8]) -> Vec<u8> {
    archive(&[("data.pkl", &pickle(value)), ("data/0", &floats(&[1.0, 2.0]))])
}

pub(super) fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// What stands in front of the object in the legacy format.
pub(super) fn legacy_start() -> Vec<u8> {
    let magic = pickle(b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19");
    [magic, pickle(b"M\xe9\x03"), pickle(&dict(&[("little_endian", b"\x88".to_vec())]))].concat()
}
