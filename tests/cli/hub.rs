//! Checkpoints by their names on the Hugging Face hub: out of its cache, and over the network only when asked.

use std::path::{Path, PathBuf};

use tempfile::{TempDir, tempdir};

use crate::support::{Outcome, fixture, program, root};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A cache with the model `lab/film`, as `huggingface_hub` lays it out: the files of a fixture as links to blobs.
fn cache(fixture_folder: &str) -> TempDir {
    let home = tempdir().unwrap();
    let model = home.path().join("hub/models--lab--film");
    for folder in ["refs/pr", "blobs", "snapshots"] {
        std::fs::create_dir_all(model.join(folder)).unwrap();
    }
    let snapshot = model.join("snapshots").join(COMMIT);
    std::fs::create_dir(&snapshot).unwrap();
    for revision in ["main", "v1.0", "pr/7"] {
        std::fs::write(model.join("refs").join(revision), COMMIT).unwrap();
    }
    for (number, file) in files(fixture_folder).iter().enumerate() {
        let blob = format!("{number:040x}");
        std::fs::copy(file, model.join("blobs").join(&blob)).unwrap();
        let link = snapshot.join(file.file_name().unwrap());
        std::os::unix::fs::symlink(Path::new("../../blobs").join(blob), link).unwrap();
    }
    home
}

/// The checkpoint's files in a folder of fixtures.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(fixture(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| !path.ends_with("io.safetensors")).collect();
    files.sort();
    files
}

fn run(home: &Path, args: &[&str], environment: &[(&str, &str)]) -> Outcome {
    let mut command = program(home);
    command.args(args).env("HF_HOME", home).envs(environment.iter().copied());
    Outcome::of(command.output().unwrap())
}

#[test]
fn a_model_in_the_cache_is_opened_by_its_name() {
    let home = cache("hybrid_model");
    let there = home.path().join("hub/models--lab--film/snapshots").join(COMMIT);
    let there = there.to_str().unwrap();
    let expected = run(home.path(), &["inspect", there, "--json"], &[]).stdout();
    for name in ["lab/film", "lab/film@v1.0", "lab/film@pr/7", "lab/film@0123456"] {
        assert_eq!(
            run(home.path(), &["inspect", name, "--json"], &[]).stdout(),
            expected,
            "{name}"
        );
    }
    let commit = format!("lab/film@{COMMIT}");
    // The cache itself may be named, and every command takes such names.
    let hub = home.path().join("hub");
    let elsewhere = [("HF_HOME", "/nowhere"), ("HF_HUB_CACHE", hub.to_str().unwrap())];
    let args = ["run", &commit, "--prefix", "blocks.0", "--random", "2"];
    let report = run(home.path(), &args, &elsewhere).stdout();
    assert_eq!(
        report,
        run(home.path(), &["run", there, "--prefix", "blocks.0", "--random", "2"], &[]).stdout()
    );
}

#[test]
fn a_path_that_is_there_wins() {
    let home = cache("hybrid_model");
    std::fs::create_dir(home.path().join("lab")).unwrap();
    let target = root().join("tests/fixtures/generator/small_8x4x2_h6");
    std::os::unix::fs::symlink(target, home.path().join("lab/film")).unwrap();
    let report = run(home.path(), &["inspect", "lab/film"], &[]).stdout();
    assert!(report.starts_with("lab/film\n1 file, "), "{report}");
}

#[test]
fn what_the_cache_lacks_is_said() {
    let home = cache("hybrid_model");
    let model = home.path().join("hub/models--lab--film");
    std::fs::write(model.join("refs/gone"), "fedcba9").unwrap();
    std::fs::write(model.join("refs/odd"), "../../../..").unwrap();
    std::fs::create_dir(model.join("snapshots/0123456x")).unwrap();
    std::fs::create_dir(model.join("snapshots/empty77")).unwrap();
    let hub = home.path().join("hub").display().to_string();
    let cases = [
        (
            "lab/other",
            format!(
                "lab/other: neither a path nor a model in the cache of the Hugging Face hub, {hub}"
            ),
        ),
        (
            "lab/film@v2",
            format!(
                "lab/film@v2: no such revision in the cache; it holds the commits {COMMIT}, 0123456x, empty77"
            ),
        ),
        ("lab/film@0123456", "lab/film@0123456: more than one commit begins so".into()),
        (
            "lab/film@gone",
            format!(
                "lab/film@gone: its commit \"fedcba9\" has no folder in {hub}/models--lab--film/snapshots"
            ),
        ),
        (
            "lab/film@odd",
            format!(
                "lab/film@odd: its commit \"../../../..\" has no folder in {hub}/models--lab--film/snapshots"
            ),
        ),
        (
            "lab/film@empty77",
            format!(
                "{hub}/models--lab--film/snapshots/empty77: holds neither model.safetensors nor model.safetensors.index.json"
            ),
        ),
    ];
    for (name, expected) in cases {
        let line = run(home.path(), &["inspect", name], &[]).refusal();
        assert_eq!(line.replace("; --download fetches it", ""), expected);
    }
}

#[test]
fn only_names_of_models_are_downloaded() {
    let checkpoint = fixture("generator/small_8x4x2_h6");
    let home = tempdir().unwrap();
    let outcome = run(home.path(), &["inspect", "--download", &checkpoint], &[]);
    assert_eq!(outcome.code, 2);
    let expected =
        "error: --download: expected CHECKPOINT as org/name or org/name@revision, found ";
    assert_eq!(outcome.stderr, format!("{expected}{checkpoint}\n"));
}

#[cfg(not(feature = "hub"))]
#[test]
fn a_build_that_cannot_download_says_which_can() {
    let home = cache("hybrid_model");
    let outcome = run(home.path(), &["inspect", "--download", "lab/film"], &[]);
    assert_eq!(outcome.code, 2);
    let expected = "lab/film@main: --download: this build cannot; one with `--features hub` can";
    assert_eq!(outcome.stderr, format!("error: {expected}\n"));
}

#[cfg(feature = "hub")]
mod download {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A hub on the loopback that holds one model, `lab/film`, and notes what it is asked.
    struct Hub {
        endpoint: String,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Hub {
        fn start(files: Vec<(String, Vec<u8>)>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let endpoint = format!("http://{}", listener.local_addr().unwrap());
            let asked = Arc::new(Mutex::new(Vec::new()));
            let notes = Arc::clone(&asked);
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let _ = answer(&stream.unwrap(), &files, &notes);
                }
            });
            Self { endpoint, asked }
        }

        fn holding(folder: &str) -> Self {
            let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_string();
            let files = files(folder);
            Self::start(
                files.iter().map(|path| (name(path), std::fs::read(path).unwrap())).collect(),
            )
        }

        fn run(&self, home: &Path, args: &[&str]) -> Outcome {
            run(home, args, &[("HF_ENDPOINT", &self.endpoint)])
        }

        fn asked(&self) -> Vec<String> {
            self.asked.lock().unwrap().clone()
        }
    }

    fn answer(
        mut stream: &TcpStream,
        files: &[(String, Vec<u8>)],
        notes: &Mutex<Vec<String>>,
    ) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream).lines();
        let path = lines.next().unwrap()?.split(' ').nth(1).unwrap().to_string();
        let mut range = None;
        for line in lines.by_ref() {
            let line = line?.to_lowercase();
            if let Some(bytes) = line.strip_prefix("range: bytes=") {
                let (start, end) = bytes.split_once('-').unwrap();
                range = Some((start.parse::<usize>().unwrap(), end.parse::<usize>().ok()));
            }
            if line.is_empty() {
                break;
            }
        }
        notes.lock().unwrap().push(path.clone());
        let file = path.strip_prefix("/lab/film/resolve/main/");
        let file = file.and_then(|file| files.iter().find(|(name, _)| name == file));
        let (status, headers, body) = if path == "/api/models/lab/film/revision/main" {
            let siblings: Vec<_> =
                files.iter().map(|(name, _)| serde_json::json!({"rfilename": name})).collect();
            let json = serde_json::json!({"sha": COMMIT, "siblings": siblings});
            ("200 OK", String::new(), json.to_string().into_bytes())
        } else if let Some((name, bytes)) = file {
            let (start, end) = range.unwrap_or((0, None));
            let part = bytes[start..end.map_or(bytes.len(), |end| end + 1)].to_vec();
            let headers = format!(
                "etag: \"{name}-etag\"\r\nx-repo-commit: {COMMIT}\r\ncontent-range: bytes {start}-{}/{}\r\n",
                start + part.len() - 1,
                bytes.len()
            );
            ("206 Partial Content", headers, part)
        } else {
            ("404 Not Found", String::new(), Vec::new())
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n"
        )?;
        stream.write_all(&body)
    }

    #[test]
    fn nothing_is_asked_of_the_hub_unless_told_to() {
        let (home, hub) = (tempdir().unwrap(), Hub::holding("hybrid_model"));
        let line = hub.run(home.path(), &["inspect", "lab/film"]).refusal();
        assert!(line.ends_with("; --download fetches it"), "{line}");
        assert_eq!(hub.asked(), [""; 0]);
    }

    #[test]
    fn a_sharded_model_is_fetched_once_and_then_is_in_the_cache() {
        let (home, hub) = (tempdir().unwrap(), Hub::holding("hybrid_model"));
        let fetched =
            hub.run(home.path(), &["inspect", "lab/film", "--download", "--flat"]).stdout();
        let asked = hub.asked();
        assert!(
            asked.iter().any(|path| path.ends_with("model-00003-of-00003.safetensors")),
            "{asked:?}"
        );
        let again = run(home.path(), &["inspect", "lab/film", "--flat"], &[]).stdout();
        assert_eq!(fetched, again);
        let original =
            run(home.path(), &["inspect", &fixture("hybrid_model"), "--flat"], &[]).stdout();
        let below_the_path = |text: &str| text.split_once('\n').unwrap().1.to_string();
        assert_eq!(below_the_path(&fetched), below_the_path(&original));
        // What is there already is not fetched again.
        hub.run(home.path(), &["inspect", "lab/film", "--download"]).stdout();
        let resolved = hub.asked().iter().filter(|path| path.contains("/resolve/")).count();
        assert_eq!(resolved, asked.iter().filter(|path| path.contains("/resolve/")).count());
    }

    #[test]
    fn what_the_hub_lacks_is_said() {
        let home = tempdir().unwrap();
        let hub = Hub::start(vec![("README.md".into(), b"none".to_vec())]);
        let line = hub.run(home.path(), &["inspect", "lab/film", "--download"]).refusal();
        let expected =
            "lab/film@main: holds neither model.safetensors nor model.safetensors.index.json";
        assert_eq!(line, expected);
        let line = hub.run(home.path(), &["inspect", "lab/none", "--download"]).refusal();
        assert!(line.starts_with("lab/none@main: cannot ask the hub for its files: "), "{line}");
        let index = r#"{"weight_map": {"a": "../../../escaped"}}"#;
        let hub = Hub::start(vec![
            ("model.safetensors.index.json".into(), index.into()),
            ("../../../escaped".into(), b"x".to_vec()),
        ]);
        let line = hub.run(home.path(), &["inspect", "lab/film", "--download"]).refusal();
        assert_eq!(
            line,
            "lab/film@main: model.safetensors.index.json names ../../../escaped, which is no file of the repository"
        );
        assert!(!home.path().join("escaped").exists());
    }

    #[test]
    fn offline_is_offline() {
        let (home, hub) = (tempdir().unwrap(), Hub::holding("hybrid_model"));
        let environment = [("HF_ENDPOINT", hub.endpoint.as_str()), ("HF_HUB_OFFLINE", "1")];
        let line = run(home.path(), &["inspect", "lab/film", "--download"], &environment).refusal();
        assert_eq!(line, "lab/film@main: HF_HUB_OFFLINE=1 forbids --download");
        assert_eq!(hub.asked(), [""; 0]);
    }
}
