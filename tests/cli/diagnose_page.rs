//! `diagnose --html` writes a page that is whole, safe to open and bounded.

use std::path::Path;

use tempfile::tempdir;

use crate::diagnose::{generator, number, write};
use crate::support::{film_tools, fixture, listing, refused, report};

/// Writes the page of a checkpoint and reads it.
#[track_caller]
fn page(folder: &Path, arguments: &[&str]) -> String {
    let arguments = [&["diagnose"], arguments, &["--html", "page.html", "--force"]].concat();
    let outcome = film_tools(folder, &arguments);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(outcome.stderr.ends_with("wrote page.html\n"), "{}", outcome.stderr);
    std::fs::read_to_string(folder.join("page.html")).unwrap()
}

#[test]
fn the_page_is_whole_and_always_the_same() {
    let folder = tempdir().unwrap();
    let hybrid = fixture("hybrid_model");
    let first = page(folder.path(), &[&hybrid]);
    assert_eq!(page(folder.path(), &[&hybrid]), first);
    assert_ne!(page(folder.path(), &[&hybrid, "--seed", "1"]), first);
    // Nothing is fetched: not by a link, a picture, a style or a script.
    for fetched in
        ["http:", "https:", "//", "url(", "@import", "<link", "<script", "<iframe", "srcset"]
    {
        let rest = first.replace("data:image/png;base64,", "");
        let rest =
            rest.split("src=\"").map(|part| part.split_once('"').map_or(part, |(_, rest)| rest));
        assert!(!rest.collect::<String>().contains(fetched), "{fetched}");
    }
    assert!(first.contains("content=\"default-src 'none'; "));
    for part in first.split("src=\"").skip(1) {
        assert!(part.starts_with("data:image/png;base64,"), "{}", &part[..40]);
    }
    // What there is to see: a card, six charts and 3 × 6 kernels for each of two generators.
    let count = |what: &str| first.matches(what).count();
    assert_eq!((count("<details class=\"card generator\""), count("<svg ")), (2, 12));
    assert_eq!(count("<img src"), 2 * (3 * 6 + 1));
    assert_eq!(count("class=\"map\""), 8);
    // The numbers of the report are on it.
    let said = report(folder.path(), &["diagnose", &hybrid, "--json"]);
    let share = number(&said["generators"][1]["outputs"]["layers"][2]["gamma"]["negative"]);
    let title = format!("title=\"blocks.1, layer 2: γ &lt; 0 {:.1}%;", 100.0 * share);
    assert!(first.contains(&title), "{title}");
    assert!(first.len() < 300_000, "{} bytes", first.len());
}

#[test]
fn bars_add_up_to_all_values() {
    let folder = tempdir().unwrap();
    let page = page(folder.path(), &[&fixture("generator/small_8x4x2_h6"), "--random", "500"]);
    let charts: Vec<&str> = page.split("<svg ").skip(1).collect();
    assert_eq!(charts.len(), 4);
    for chart in charts {
        let chart = chart.split("</svg>").next().unwrap();
        // "… to 0.25: 1,234, 5.6%" of each bar, and what is beyond the axis.
        let count = |text: &str| text.replace(',', "").parse::<u64>().unwrap();
        let bars = chart
            .split(": ")
            .skip(2)
            .filter_map(|text| text.split_once(", "))
            .map(|(text, _)| count(text));
        let outside = chart
            .split(" below<")
            .take(chart.matches(" below<").count())
            .map(|text| count(text.rsplit("‹ ").next().unwrap()));
        let beyond = chart
            .split(" beyond ›")
            .take(chart.matches(" beyond ›").count())
            .map(|text| count(text.rsplit('>').next().unwrap()));
        assert_eq!(bars.chain(outside).chain(beyond).sum::<u64>(), 500 * 4, "{chart}");
    }
}

#[test]
fn names_are_text() {
    let folder = tempdir().unwrap();
    let names =
        ["\"><script>alert(1)</script>", "<img src=x onerror=alert(2)>\u{202e}\u{1b}[2J&amp;"];
    let generators: Vec<_> = names.iter().map(|name| generator(name, 9.0, 0.0, 0.3)).collect();
    write(&folder.path().join("<b>.safetensors"), &generators);
    let page = page(folder.path(), &["<b>.safetensors", "--kernel-hidden-dim", "2"]);
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("<b>."));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(
        !page.contains(['\u{202e}', '\u{1b}']) && page.contains("\\u{202e}\\u{1b}[2J&amp;amp;")
    );
    assert!(page.contains("<title>FiLM health: &lt;b&gt;.safetensors</title>"));
}

#[test]
fn kernels_are_drawn_where_the_checkpoint_tells_enough() {
    let folder = tempdir().unwrap();
    let curves = page(folder.path(), &[&fixture("siren_kernel/1d")]);
    assert_eq!(curves.matches("<svg class=\"curve\"").count(), 3 * 6);
    let slices = page(folder.path(), &[&fixture("siren_kernel/3d")]);
    assert!(slices.contains("the middle slice of axis 0"));
    // Without config.json L_cache is not known, unless a flag tells it.
    std::fs::copy(
        fixture("siren_kernel/2d_anisotropic/model.safetensors"),
        folder.path().join("k.safetensors"),
    )
    .unwrap();
    let without = page(folder.path(), &["k.safetensors"]);
    assert!(!without.contains("<img") && without.contains("Kernels are not drawn: "), "{without}");
    assert!(page(folder.path(), &["k.safetensors", "--l-cache", "5"]).contains("<img"));
    // A flag that cannot be is no reason to go on without kernels.
    let wrong = ["diagnose", "k.safetensors", "--l-cache", "5x5x5", "--html", "k.html"];
    let outcome = film_tools(folder.path(), &wrong);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{}", outcome.stderr);
    assert!(!listing(folder.path()).contains(&"k.html".to_string()));
    // No generator, nothing to diagnose.
    let line = refused(folder.path(), &["diagnose", &fixture("siren_kernel/2d_unconditioned")]);
    assert!(line.contains("holds no FiLM generator"), "{line}");
}

#[test]
fn a_page_replaces_nothing_unless_asked() {
    let folder = tempdir().unwrap();
    let checkpoint = fixture("generator/small_8x4x2_h6");
    std::fs::write(folder.path().join("page.html"), "mine").unwrap();
    let arguments = ["diagnose", &checkpoint, "--html", "page.html"];
    let line = refused(folder.path(), &arguments);
    assert_eq!(line, "page.html: exists already: --force replaces it");
    assert_eq!(std::fs::read(folder.path().join("page.html")).unwrap(), b"mine");
    // What fails later leaves it as well.
    let more = ["--force", "--conditioning", "none.npy"];
    refused(folder.path(), &[&arguments[..], &more].concat());
    assert_eq!(std::fs::read(folder.path().join("page.html")).unwrap(), b"mine");
    assert_eq!(listing(folder.path()), ["page.html"]);
}

#[test]
fn a_page_of_many_generators_is_bounded() {
    let folder = tempdir().unwrap();
    let name = |index: usize| format!("blocks.{index}.film");
    let mut generators: Vec<_> =
        (0..199).map(|index| generator(&name(index), 1.0, 0.2, 0.3)).collect();
    generators.push(generator(&name(199), -1.0, 0.2, 0.3));
    write(&folder.path().join("many.safetensors"), &generators);
    let page = page(folder.path(), &["many.safetensors", "--kernel-hidden-dim", "2"]);
    // Charts of the one there is something to say of, folded out; a line of each.
    assert_eq!(page.matches("<svg ").count(), 2);
    assert_eq!(page.matches("<details class=\"card generator\"").count(), 200);
    assert_eq!(page.matches(" open>").count(), 1);
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
}
