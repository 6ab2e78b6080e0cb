//! Readers of a checkpoint that is replaced meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::tempdir;

use crate::support::{film_tools, listing};

#[test]
fn each_reader_sees_the_old_checkpoint_or_the_new() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let init = |seed: &str| {
        let sizes = ["--cond-dim", "64", "--kernel-hidden-dim", "16", "--num-film-layers", "3"];
        let init = ["init", "--output", "gen", "--force", "--init-type", "small_random"];
        let init = [&init[..], &["--seed", seed]].concat();
        assert_eq!(film_tools(path, &[&init[..], &sizes].concat()).code, 0);
    };
    let run = || film_tools(path, &["run", "gen", "--random", "8", "--output", "-"]).stdout();
    let whole = ["0", "1"].map(|seed| {
        init(seed);
        run()
    });
    assert!(whole[0] != whole[1], "nobody could tell them apart");
    let done = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = [0, 0];
                    while !done.load(Ordering::Relaxed) {
                        let found = run();
                        let which = whole.iter().position(|whole| *whole == found);
                        seen[which.expect("neither the old nor the new")] += 1;
                    }
                    seen
                })
            })
            .collect();
        // Two writers at once: the last one wins, and nobody sees anything else.
        let writers: Vec<_> =
            ["0", "1"].map(|seed| scope.spawn(move || (0..20).for_each(|_| init(seed)))).into();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).collect::<Vec<_>>()
    });
    let reads: usize = seen.iter().flatten().sum();
    assert!(reads > 0);
    assert_eq!(listing(path), ["gen", "gen/config.json", "gen/model.safetensors"]);
}
