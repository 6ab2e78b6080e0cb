//! What the program prints, word for word: `snapshots/*.md`, and the README's tour.
//!
//! `TRYCMD=overwrite` writes what it prints now into the files; what changed is then read in the diff.

use std::path::PathBuf;

use crate::support::{PROGRAM, root};

#[test]
fn everything_is_printed_as_before() {
    // The files name the fixtures from here.
    std::env::set_current_dir(root()).unwrap();
    let folder = root().join("tests/cli/snapshots");
    // Files that are not found would be no failure.
    let no_device = ["no_cuda.md", "no_metal.md"].map(|file| folder.join(file));
    assert!(no_device.iter().all(|file| file.is_file()));

    let cases = trycmd::TestCases::new();
    cases.register_bin("film-tools", PathBuf::from(PROGRAM));
    cases.env("NO_COLOR", "1").env("COLUMNS", "80");
    cases.case(folder.join("*.md"));
    cases.case(root().join("README.md"));
    for (file, built) in no_device.iter().zip([cfg!(feature = "cuda"), cfg!(feature = "metal")]) {
        if built {
            cases.skip(file);
        }
    }
    cases.run();
}
