//! The one error of this crate: what was expected, what was found, and which tensor, key or file.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use crate::short::short;

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, in terms of the thing that a user can mend.
///
/// `?` turns it into a [`candle_core::Error`], so it works inside a candle `forward`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration value that cannot be.
    #[error("{key}: expected {expected}, found {}", short(found))]
    Config {
        /// The configuration key, by its JSON name.
        key: String,
        /// What the key takes.
        expected: String,
        /// What stood there.
        found: String,
    },
    /// A tensor of the wrong shape, rank or dtype.
    #[error("{}: expected {expected}, found {}", short(tensor), short(found))]
    Tensor {
        /// The tensor's name, or the argument's.
        tensor: String,
        /// What was asked for.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A tensor that a module needs is not there.
    #[error("{}: no such tensor", short(tensor))]
    MissingTensor {
        /// The tensor's full name.
        tensor: String,
    },
    /// A file whose content is not what its format allows.
    #[error("{0}")]
    Format(String),
    /// Nothing, or more than one thing, fits what was asked for.
    #[error("{0}")]
    Selection(String),
    /// Sizes whose product does not fit.
    #[error("{what} overflows: {detail}")]
    Overflow {
        /// The quantity.
        what: String,
        /// The factors.
        detail: String,
    },
    /// The operating system said no.
    #[error("cannot {action}: {}", plain(error))]
    Io {
        /// What was being done ("open", "read", …).
        action: &'static str,
        /// What the system answered.
        error: std::io::Error,
    },
    /// A file that is there already and was not to be replaced.
    #[error("exists already")]
    Exists,
    /// More memory than there is.
    #[error("{}: not enough memory for {bytes} bytes", short(what))]
    Memory {
        /// What it was to hold.
        what: String,
        /// How much it takes.
        bytes: u64,
    },
    /// The file that another error is about.
    #[error("{}: {error}", file.display())]
    InFile {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        error: Box<Error>,
    },
    /// Anything that candle reports and that has no better name here.
    #[error("{0}")]
    Candle(candle_core::Error),
}

/// The system's message without Rust's "(os error N)".
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_string(),
        None => text,
    }
}

impl Error {
    /// A configuration value that cannot be.
    pub fn config(
        key: impl Into<String>,
        expected: impl Into<String>,
        found: impl Display,
    ) -> Self {
        let (key, expected) = (key.into(), expected.into());
        Self::Config { key, expected, found: found.to_string() }
    }

    /// A tensor of the wrong shape, rank or dtype.
    pub fn tensor(
        tensor: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Tensor { tensor: tensor.into(), expected: expected.into(), found: found.into() }
    }

    /// The same error, said of `file` (unless it names a file already).
    #[must_use]
    pub fn in_file(self, file: &Path) -> Self {
        match self {
            Self::InFile { .. } => self,
            error => Self::InFile { file: file.to_path_buf(), error: Box::new(error) },
        }
    }

    /// The error without the file it is about.
    pub fn cause(&self) -> &Self {
        match self {
            Self::InFile { error, .. } => error.cause(),
            other => other,
        }
    }

    /// What the system answered to `action` on `file`.
    pub fn io(action: &'static str, file: &Path, error: std::io::Error) -> Self {
        Self::Io { action, error }.in_file(file)
    }
}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Candle(inner) => inner,
            // What candle wraps cannot be taken out again; its own kinds can.
            Error::InFile { file, error } => Self::from(*error).with_path(file),
            Error::MissingTensor { tensor } => Self::CannotFindTensor { path: tensor },
            other => Self::Wrapped(Box::new(other)),
        }
    }
}

impl From<candle_core::Error> for Error {
    /// Keeps the file, the tensor and the shapes where candle's error has them.
    fn from(error: candle_core::Error) -> Self {
        use candle_core::Error as Candle;
        match error {
            Candle::WithPath { inner, path } => Self::from(*inner).in_file(&path),
            Candle::WithBacktrace { inner, .. } => Self::from(*inner),
            Candle::CannotFindTensor { path } => Self::MissingTensor { tensor: path },
            Candle::UnexpectedShape { msg, expected, got } => Self::tensor(
                msg.strip_prefix("shape mismatch for ").unwrap_or(&msg),
                format!("shape {:?}", expected.dims()),
                format!("{:?}", got.dims()),
            ),
            other => Self::Candle(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn works_inside_a_candle_result() {
        fn forward() -> candle_core::Result<()> {
            Err(Error::config("cond_dim", "an integer of at least 1", 0))?
        }
        let text = forward().unwrap_err().to_string();
        assert_eq!(text, "cond_dim: expected an integer of at least 1, found 0");
    }

    #[test]
    fn candle_errors_keep_file_tensor_and_shapes() {
        let inner = candle_core::Error::UnexpectedShape {
            msg: "shape mismatch for mlp.0.weight".into(),
            expected: (6, 8).into(),
            got: (6, 7).into(),
        };
        let text = Error::from(inner.with_path("model.safetensors")).to_string();
        assert_eq!(text, "model.safetensors: mlp.0.weight: expected shape [6, 8], found [6, 7]");
    }

    #[test]
    fn a_file_is_named_once_after_a_way_through_candle() {
        let file = Path::new("model.safetensors");
        for error in [
            Error::tensor("mlp.0.weight", "shape [6, 8]", "[6, 7]"),
            Error::MissingTensor { tensor: "mlp.0.weight".into() },
        ] {
            let text = format!("model.safetensors: {error}");
            let through = candle_core::Error::from(error.in_file(file)).bt();
            assert_eq!(Error::from(through).in_file(file).to_string(), text);
        }
    }

    #[test]
    fn the_first_file_named_stays() {
        let error =
            Error::Format("it is empty".into()).in_file(Path::new("a")).in_file(Path::new("b"));
        assert_eq!(error.to_string(), "a: it is empty");
    }
}
