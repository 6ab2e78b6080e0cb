//! Running the program on a case: what it may do, and what it may take.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::corpus::{Case, cases};
use crate::support::{PROGRAM, fixture, listing};

/// What the program takes without any input, with a wide margin, in MiB; `FILM_MEMORY` says otherwise. A sanitizer's own
/// memory counts, too.
fn base() -> u64 {
    std::env::var("FILM_MEMORY").ok().and_then(|text| text.parse().ok()).unwrap_or(96)
}

/// A process that has not ended by then never will. Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(300);

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The most memory it took, in bytes, where the system tells (0 elsewhere).
    pub(crate) memory: u64,
}

/// Runs `command` to its end, stopped by force if it does not come to one.
pub(crate) fn watch(folder: &Path, program: &[&str]) -> Ending {
    // Files, not pipes: nobody has to read while it runs.
    let (mut stdout, mut stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    let stream = |file: &File| Stdio::from(file.try_clone().unwrap());
    let mut child = Command::new(program[0])
        .args(&program[1..])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(stream(&stdout))
        .stderr(stream(&stderr))
        .spawn()
        .unwrap();
    let (begun, mut memory) = (Instant::now(), 0);
    let own_name = std::fs::read_to_string("/proc/thread-self/comm").unwrap_or_default();
    let status = loop {
        memory = memory.max(peak(child.id(), own_name.trim_end()));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let text = |file: &mut File| {
        let mut text = vec![];
        std::io::Seek::rewind(file).unwrap();
        // A report of a million lines is not kept.
        file.take(1 << 20).read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    };
    Ending { code: status.code(), stdout: text(&mut stdout), stderr: text(&mut stderr), memory }
}

/// The most memory that a process has taken so far. Asked again and again, as nothing tells when it is over: what the
/// kernel reports then counts the memory of this process, too. For a moment it does so while the process begins, which still
/// has the name of the thread that started it then.
fn peak(process: u32, own_name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let kilobytes = value("VmHWM:").and_then(|size| size.strip_suffix(" kB")?.parse::<u64>().ok());
    match value("Name:") {
        Some(name) if name != own_name => kilobytes.unwrap_or(0) * 1024,
        _ => 0,
    }
}

/// Runs film-tools.
pub(crate) fn film_tools(folder: &Path, arguments: &[&str]) -> Ending {
    watch(folder, &[&[PROGRAM], arguments].concat())
}

impl Ending {
    /// The one line with which it refused, fit for a terminal.
    fn refusal(&self, code: i32) -> Result<&str, String> {
        let line = self.stderr.strip_prefix("error: ").and_then(|line| line.strip_suffix('\n'));
        match line {
            Some(line) if self.code == Some(code) && self.stdout.is_empty() => fit(line),
            _ => Err(format!("status {:?}, {:?}", self.code, self.stderr)),
        }
    }

    /// The findings of `verify`, each a line that is fit for a terminal.
    fn findings(&self) -> Result<Vec<&str>, String> {
        match self.code {
            Some(1) if self.stderr.is_empty() && !self.stdout.is_empty() => {
                self.stdout.lines().map(fit).collect()
            }
            _ => Err(format!("status {:?}, {:?}", self.code, self.stderr)),
        }
    }

    /// The same, which must be.
    #[track_caller]
    pub(crate) fn line(&self) -> &str {
        self.refusal(1).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// It took no more than `times` the bytes it had to look at.
    fn took(&self, times: u64, bytes: u64) -> Result<(), String> {
        let (memory, most) = (self.memory >> 20, ((times * bytes) >> 20) + base());
        if memory <= most { Ok(()) } else { Err(format!("{memory} MiB, expected at most {most}")) }
    }

    /// The same, which must be.
    #[track_caller]
    pub(crate) fn took_at_most(&self, times: u64, bytes: u64) {
        self.took(times, bytes).unwrap_or_else(|problem| panic!("{problem}"));
    }
}

/// The line, if it may be printed.
fn fit(line: &str) -> Result<&str, String> {
    let fit = line.chars().count() <= 4096 && !line.chars().any(char::is_control);
    if fit { Ok(line) } else { Err(format!("not a line for a terminal: {line:?}")) }
}

/// The names, kinds and sizes of everything in a folder: what a refusal must not change.
fn inventory(folder: &Path) -> Vec<(String, u64)> {
    let size = |name: &String| folder.join(name).symlink_metadata().unwrap().len();
    listing(folder).into_iter().map(|name| (name.clone(), size(&name))).collect()
}

/// The command lines by which a case's file comes to be read. Beside the usual ones each case is tried by one of the others,
/// in turn.
fn commands(case: &Case, turn: usize) -> Vec<Vec<String>> {
    let words = |line: &str| line.split(' ').map(String::from).collect::<Vec<_>>();
    let with = |line: &str, more: &[&str]| {
        [words(line), more.iter().map(|word| (*word).into()).collect()].concat()
    };
    let open = case.open;
    if case.is_input() {
        let generator = fixture("generator/small_8x4x2_h6");
        return vec![
            with("run", &[&generator, "--conditioning", open, "--output", "o.safetensors"]),
            with("run", &[&generator, "--conditioning", open, "--json"]),
            with("diagnose", &[&generator, "--conditioning", open]),
        ];
    }
    if case.is_pickle() {
        return vec![
            with("convert", &[open, "o.safetensors"]),
            with("convert --json --skip-unknown", &[open, "o"]),
        ];
    }
    let (model, sound) = (fixture("hybrid_model"), fixture("generator/small_8x4x2_h6"));
    let signal = "io.safetensors:blocks.0.sequence_mixer.inner_mixer.mixer.global_conv.input";
    let signal = format!("{model}/{signal}");
    let mut others = vec![
        with("diagnose --random 2", &[open]),
        with("conv --channels-first --random 1 --input", &[&signal, open]),
        with("extract --output part --prefix a", &[open]),
    ];
    // Neither asks what is in it.
    if !case.is_config() {
        others.push(with("diff", &[open, &sound]));
        others.push(with("diff", &[&sound, open]));
        others.push(with("convert", &[open, "o.safetensors"]));
    }
    vec![
        others.swap_remove(turn % others.len()),
        with(
            if turn.is_multiple_of(2) { "verify --quiet" } else { "verify --quiet --values" },
            &[open],
        ),
        with("inspect", &[open]),
        with("inspect --json", &[open]),
        with("flops", &[open]),
        with("run --random 2 --output o.npz", &[open]),
        with("kernel --grid 3x3 --random 2 --output o.safetensors", &[open]),
    ]
}

/// Tries one case by its commands; gives how many, or what was wrong.
fn attempt(case: &Case, turn: usize) -> Result<usize, String> {
    let folder = tempfile::tempdir().unwrap();
    (case.make)(folder.path());
    let before = inventory(folder.path());
    let commands = commands(case, turn);
    for arguments in &commands {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ending = film_tools(folder.path(), &arguments);
        let in_command = |problem| format!("{arguments:?}: {problem}");
        let lines = match arguments[0] {
            "verify" => ending.findings(),
            "diff" => ending.refusal(2).map(|line| vec![line]),
            _ => ending.refusal(1).map(|line| vec![line]),
        };
        let lines = lines.map_err(in_command)?;
        if !lines.iter().any(|line| line.starts_with(case.file) && line.contains(case.says)) {
            return Err(in_command(lines.join("\n")));
        }
        ending.took(4, case.bytes).map_err(in_command)?;
        if inventory(folder.path()) != before {
            return Err(format!("{arguments:?} changed the folder"));
        }
    }
    Ok(commands.len())
}

/// Tries all cases of a kind. They are many and most of them small: each is made, tried and thrown away.
fn attempt_all(cases: impl Iterator<Item = Case>) {
    let (mut files, mut runs, mut problems) = (0, 0, vec![]);
    for (turn, case) in cases.enumerate() {
        files += 1;
        match attempt(&case, turn) {
            Ok(tried) => runs += tried,
            Err(problem) => problems.push(format!("{}: {problem}", case.name)),
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    eprintln!("{files} files, {runs} runs");
    assert!(files >= 40);
}

#[test]
fn every_checkpoint_of_the_corpus_is_refused_in_one_line() {
    attempt_all(cases().into_iter().filter(Case::is_checkpoint));
}

#[test]
fn every_other_file_of_the_corpus_is_refused_in_one_line() {
    attempt_all(cases().into_iter().filter(|case| !case.is_checkpoint()));
}

/// Every length that a file can be cut to.
#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = crate::corpus::whole();
    let folder = tempfile::tempdir().unwrap();
    for length in 0..whole.len() {
        std::fs::write(folder.path().join("m.safetensors"), &whole[..length]).unwrap();
        let ending = film_tools(folder.path(), &["inspect", "m.safetensors"]);
        assert!(ending.line().starts_with("m.safetensors: "), "{length}: {}", ending.stderr);
    }
    std::fs::write(folder.path().join("m.safetensors"), &whole).unwrap();
    assert_eq!(film_tools(folder.path(), &["inspect", "m.safetensors"]).code, Some(0));
}
