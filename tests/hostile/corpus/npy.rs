//! NumPy files that hold no matrix of numbers.

use super::{Case, file};
use crate::support::npy_bytes;

pub(super) const FILE: &str = "c.npy";

fn npy(name: &str, bytes: Vec<u8>, says: &'static str) -> Case {
    file(&format!("an .npy file: {name}"), FILE, bytes, says)
}

pub(super) fn cases() -> Vec<Case> {
    let data = [0; 32];
    let good = npy_bytes("'<f4'", false, "(1, 8)", &data);
    let of = |descr: &str, shape: &str| npy_bytes(descr, false, shape, &data);
    let invalid = "not a valid .npy file";
    // Version 2 has a length of four bytes.
    let length =
        |length: u32| [&b"\x93NUMPY\x02\x00"[..], &length.to_le_bytes(), &good[10..]].concat();
    let axes = format!("(8{})", ", 1".repeat(20_000));
    vec![
        npy("nothing", vec![], invalid),
        npy("cut in the magic", good[..5].to_vec(), invalid),
        npy("cut in the length", good[..9].to_vec(), invalid),
        npy("cut in the header", good[..30].to_vec(), invalid),
        npy("cut in the data", good[..good.len() - 1].to_vec(), "31 bytes of data"),
        npy("more behind it", [&good, &b"more"[..]].concat(), "36 bytes of data"),
        npy("another magic", [&b"\x93NUMBY"[..], &good[6..]].concat(), invalid),
        npy("version 9", [&b"\x93NUMPY\x09"[..], &good[7..]].concat(), "version 9 is unknown"),
        npy("a web page", b"<html></html>".to_vec(), invalid),
        npy("a header of 4 GB", length(u32::MAX), "claims 4294967295 bytes"),
        npy("no header", length(0), invalid),
        npy("a header that is no text", [&good[..20], &[0xff; 8], &good[28..]].concat(), invalid),
        npy("a header that clears the screen", of("\u{1b}[2J", "(1, 8)"), r"\u{1b}[2J"),
        npy(
            "a header of 64 KB that escapes",
            of(&crate::corpus::DELETE.repeat(65_000), "(1, 8)"),
            r"\u{7f}",
        ),
        npy("a header of another kind", of("nonsense", "(1, 8)"), invalid),
        npy("objects", of("'|O'", "(1, 8)"), "'|O'"),
        npy("text", of("'<U8'", "(1, 1)"), "'<U8'"),
        npy("complex numbers", of("'<c8'", "(1, 4)"), "'<c8'"),
        npy("truth values", of("'|b1'", "(4, 8)"), "'|b1'"),
        npy("numbers of 16 bytes", of("'<f16'", "(1, 2)"), "'<f16'"),
        npy("an empty dtype", of("''", "(1, 8)"), "''"),
        npy("a dtype cut in a character", of("'é'", "(1, 8)"), "'é'"),
        npy("fields", of("[('a', '<f4'), ('b', '<f4')]", "(4,)"), "'a'"),
        npy("too large a shape", of("'<f4'", "(2, 8)"), "[2, 8]"),
        npy("a shape that overflows", of("'<f4'", "(4294967296, 4294967296)"), "4294967296"),
        npy(
            "a shape that overflows to nothing",
            npy_bytes("'<f4'", false, "(4294967296, 4294967296, 0)", &[]),
            "4294967296",
        ),
        npy("a shape of 2^64", of("'<f4'", "(18446744073709551616, 8)"), invalid),
        npy("a negative shape", of("'<f4'", "(-1, 8)"), invalid),
        npy("20,000 axes", of("'<f4'", &axes), "expected shape [*, 8]"),
        npy(
            "a column-major array of no such size",
            npy_bytes("'<f4'", true, "(99999999999, 8)", &data),
            "99999999999",
        ),
        npy(
            "another width",
            of("'<f4'", "(8, 1)"),
            "expected shape [*, 8] (cond_dim), found [8, 1]",
        ),
        npy(
            "a single number",
            npy_bytes("'<f4'", false, "()", &[0; 4]),
            "expected shape [*, 8] (cond_dim), found []",
        ),
    ]
}
