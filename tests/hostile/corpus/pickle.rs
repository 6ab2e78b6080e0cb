//! Pickles that are cut, that lie about lengths, or that are out to run something. What may be wrong inside of the program that a
//! pickle is, the library's own tests have.

use super::{Case, bytes, file};

pub(super) const FILE: &str = "x.pt";

fn pickle(name: &str, bytes: Vec<u8>, says: &'static str) -> Case {
    file(&format!("a pickle: {name}"), FILE, bytes, says)
}

/// A program of its own, which stands where a legacy file has its first pickle.
fn program(name: &str, program: &[u8], says: &'static str) -> Case {
    pickle(name, [&b"\x80\x02"[..], program, b"."].concat(), says)
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
        program("an opcode that is none", b"\xff", ""),
    ];
    for parts in 1..8 {
        cases.push(pickle(&format!("an archive, {parts}/8 of it"), cut(&archive, parts), ""));
        cases.push(pickle(&format!("of the old format, {parts}/8 of it"), cut(&legacy, parts), ""));
    }
    cases
}
