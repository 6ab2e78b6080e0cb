//! stdout is data, stderr is talk.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use film_core::Short;
use serde::Serialize;

/// Emphasis for headings.
pub(crate) const BOLD: Style = Style::new().bold();
/// For what matters less.
pub(crate) const DIM: Style = Style::new().dimmed();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();

/// How much is said on stderr. Errors always are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Talkative {
    /// No notes, warnings or progress.
    Quiet,
    Normal,
    /// What is logged, too.
    Verbose,
}

static QUIET: AtomicBool = AtomicBool::new(false);

impl Talkative {
    /// Holds from now on, for the whole program.
    pub(crate) fn write_global(self) {
        QUIET.store(self == Self::Quiet, Ordering::Relaxed);
        if self == Self::Verbose && log::set_logger(&Log).is_ok() {
            BEGUN.get_or_init(Instant::now);
            log::set_max_level(log::LevelFilter::Debug);
        }
    }
}

/// Whether nothing but errors is said.
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Whether a progress bar would be seen.
pub(crate) fn shows_progress() -> bool {
    !is_quiet() && io::stderr().is_terminal()
}

/// What film itself logs, on stderr, each line with the time since the start.
struct Log;

static BEGUN: OnceLock<Instant> = OnceLock::new();

impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata) -> bool {
        metadata.target().starts_with("film_")
    }

    fn log(&self, record: &log::Record) {
        if self.enabled(record.metadata()) {
            let milliseconds = 1e3 * BEGUN.get_or_init(Instant::now).elapsed().as_secs_f64();
            let text = sentence(record.args());
            talk(&format!("{DIM}{milliseconds:>8.1} ms  {text}{DIM:#}"));
        }
    }

    fn flush(&self) {}
}

/// Standard output, buffered; styles are dropped where they are not wanted.
pub(crate) fn stdout() -> impl Write {
    io::BufWriter::new(AutoStream::auto(io::stdout()))
}

/// The columns a table may take: the terminal's, at most 80 elsewhere.
pub(crate) fn columns() -> usize {
    terminal_columns().unwrap_or(80).clamp(40, 80)
}

/// The terminal's columns when they were first asked for, if stdout is one.
pub(crate) fn terminal_columns() -> Option<usize> {
    static COLUMNS: OnceLock<Option<usize>> = OnceLock::new();
    *COLUMNS.get_or_init(|| {
        let (terminal_size::Width(width), _) = terminal_size::terminal_size_of(io::stdout())?;
        io::stdout().is_terminal().then_some(usize::from(width))
    })
}

/// Prints a value as JSON.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = io::BufWriter::new(io::stdout());
    serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// A line to the person at the terminal.
pub(crate) fn say(message: impl Display) {
    if !is_quiet() {
        talk(&sentence(&message));
    }
}

/// Something the person should know before trusting the result.
pub(crate) fn warn(message: impl Display) {
    if !is_quiet() {
        talk(&format!("{WARNING}warning:{WARNING:#} {}", sentence(&message)));
    }
}

/// Why it did not work.
pub(crate) fn error(error: &anyhow::Error) {
    talk(&format!("{ERROR}error:{ERROR:#} {}", sentence(format_args!("{error:#}"))));
}

/// A closed stderr is nobody's business.
fn talk(line: &str) {
    let _ = writeln!(AutoStream::auto(io::stderr()).lock(), "{line}");
}

/// A message that steers no terminal and fills none: a name in it may be of any length.
fn sentence(message: impl Display) -> String {
    const MOST: usize = 2000;
    let shortened = |text: &str| Short::within(text, MOST).to_string();
    // Once more, as escapes are longer than what they stand for.
    shortened(&escape(&shortened(&message.to_string())))
}

/// The same, unless all that happened is that the reader of stdout went away.
pub(crate) fn unless_closed(printed: anyhow::Result<()>) -> anyhow::Result<()> {
    printed.or_else(|error| if is_closed_pipe(&error) { Ok(()) } else { Err(error) })
}

/// Whether all that happened is that the reader of stdout went away.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let broken = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    error.chain().any(broken)
}

/// The text with its control characters made visible: a name out of a file must not steer the terminal.
pub(crate) fn escape(text: &str) -> String {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_deceptive(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Whether a character breaks, reorders or hides text without being a control character.
fn is_deceptive(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// A name out of a file as listings show it: of a very long one the start and the end, escaped.
pub(crate) fn label(name: &str) -> String {
    const MOST: usize = 1000;
    escape(&Short::within(name, MOST).to_string())
}

#[cfg(test)]
mod tests {
    use super::{escape, label, sentence};

    #[test]
    fn control_characters_become_visible() {
        assert_eq!(escape("a\u{1b}[2Jb\nc\u{202e}d"), "a\\u{1b}[2Jb\\nc\\u{202e}d");
        assert_eq!(escape("γ ≈ 1"), "γ ≈ 1");
    }

    #[test]
    fn what_hides_or_turns_text_becomes_visible() {
        for character in
            "\u{ad}\u{61c}\u{200b}\u{2028}\u{2029}\u{2069}\u{feff}\u{e0001}\u{e0041}\u{e007f}"
                .chars()
        {
            let escaped = escape(&format!("a{character}b"));
            assert_eq!(escaped, format!("a{}b", character.escape_default()));
            assert!(escaped.is_ascii(), "{escaped}");
        }
    }

    #[test]
    fn long_names_are_shortened_before_they_are_escaped() {
        assert_eq!(label("a\u{7f}"), "a\\u{7f}");
        let label = label(&format!("a{}z", "\u{7f}".repeat(1 << 20)));
        assert!(
            label.starts_with("a\\u{7f}") && label.contains(" … ") && label.ends_with("\\u{7f}z")
        );
        assert!(label.len() < 6100, "{}", label.len());
    }

    #[test]
    fn long_messages_keep_their_ends() {
        assert_eq!(sentence("a: b"), "a: b");
        let long = sentence(format!("file: {}: expected 1", "γ".repeat(1 << 20)));
        assert!(long.starts_with("file: γ") && long.ends_with("γ: expected 1"), "{long}");
        assert_eq!(long.chars().count(), 2003);
        let long = sentence("\u{7f}".repeat(1 << 20));
        assert_eq!(long.chars().count(), 2003);
    }
}
