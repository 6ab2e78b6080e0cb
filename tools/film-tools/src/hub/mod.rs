//! Checkpoints by their names on the Hugging Face hub: `org/name[@revision]`, out of the local cache.
//!
//! The cache is laid out as `huggingface_hub` does it: models--org--name/refs/REVISION holds a commit, and
//! snapshots/COMMIT the files. Nothing is fetched unless `--download` asks for it, in a build with the feature `hub`.

#[cfg(feature = "hub")]
mod download;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, anyhow};

use film_core::checkpoint::stays_inside;

use crate::commands::Usage;

/// Fewest digits by which a commit may be named.
const SHORTEST_COMMIT: usize = 7;

/// A model on the hub.
#[derive(Debug, Clone, PartialEq)]
struct Reference {
    /// org/name
    id: String,
    revision: String,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.revision)
    }
}

static DOWNLOAD: AtomicBool = AtomicBool::new(false);

/// Whether `--download` was given. Holds from now on, for the whole program.
pub(crate) fn allow_download(allow: bool) {
    DOWNLOAD.store(allow, Ordering::Relaxed);
}

/// The path that the user's words mean: a path that is there, or else a snapshot in the hub's cache.
pub(crate) fn locate(path: &Path) -> Result<PathBuf> {
    let download = DOWNLOAD.load(Ordering::Relaxed);
    let reference = path.to_str().and_then(Reference::parse);
    let reference = match reference {
        // What may not be looked at is a path all the same.
        Some(reference) if matches!(path.try_exists(), Ok(false)) => reference,
        _ if download => {
            let text = "--download: expected CHECKPOINT as org/name or org/name@revision";
            return Err(Usage(format!("{text}, found {}", path.display())).into());
        }
        _ => return Ok(path.into()),
    };
    let cache = cache(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
        .with_context(|| format!("{reference}: no home directory, and HF_HOME is not set"))?;
    if download {
        fetch(&reference, &cache).with_context(|| reference.to_string())?;
    }
    let snapshot = reference.snapshot(&cache)?;
    log::debug!("{reference}: {}", snapshot.display());
    Ok(snapshot)
}

#[cfg(feature = "hub")]
fn fetch(reference: &Reference, cache: &Path) -> Result<()> {
    let offline = std::env::var("HF_HUB_OFFLINE").unwrap_or_default();
    if ["1", "on", "yes", "true"].contains(&offline.to_lowercase().as_str()) {
        anyhow::bail!("HF_HUB_OFFLINE={offline} forbids --download");
    }
    download::fetch(reference, cache)
}

#[cfg(not(feature = "hub"))]
fn fetch(_: &Reference, _: &Path) -> Result<()> {
    let text = "--download: this build cannot; one with `--features hub` can";
    Err(Usage(text.into()).into())
}

/// Where the cache is, by the variables that `huggingface_hub` heeds.
fn cache(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name| {
        let path = PathBuf::from(variable(name)?);
        match (path.strip_prefix("~"), std::env::home_dir()) {
            (Ok(below), Some(home)) => Some(home.join(below)),
            _ => Some(path),
        }
    };
    path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")).or_else(|| {
        let home = path("HF_HOME")
            .or_else(|| Some(path("XDG_CACHE_HOME")?.join("huggingface")))
            .or_else(|| Some(std::env::home_dir()?.join(".cache/huggingface")));
        Some(home?.join("hub"))
    })
}

impl Reference {
    fn parse(text: &str) -> Option<Self> {
        let (id, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (org, name) = id.split_once('/')?;
        let word = |word: &str| {
            !word.is_empty()
                && !word.starts_with(['.', '-'])
                && !word.contains("..")
                && word.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        let known = word(org) && word(name) && stays_inside(revision);
        known.then(|| Self { id: id.into(), revision: revision.into() })
    }

    /// The folder of the revision's files.
    fn snapshot(&self, cache: &Path) -> Result<PathBuf> {
        let folder = cache.join(format!("models--{}", self.id.replace('/', "--")));
        if !folder.is_dir() {
            let how = if cfg!(feature = "hub") { "; --download fetches it" } else { "" };
            return Err(anyhow!(
                "{}: neither a path nor a model in the cache of the Hugging Face hub, {}{how}",
                self.id,
                cache.display()
            ));
        }
        let snapshots = folder.join("snapshots");
        let commit = match std::fs::read_to_string(folder.join("refs").join(&self.revision)) {
            Ok(commit) => commit.trim().to_string(),
            Err(_) => self.commit(&snapshots)?,
        };
        let plain = commit.chars().all(|digit| digit.is_ascii_alphanumeric()) && !commit.is_empty();
        let snapshot = snapshots.join(&commit);
        if plain && snapshot.is_dir() {
            return Ok(snapshot);
        }
        Err(anyhow!("{self}: its commit {commit:?} has no folder in {}", snapshots.display()))
    }

    /// The one commit whose digits begin as the revision does.
    fn commit(&self, snapshots: &Path) -> Result<String> {
        let names = std::fs::read_dir(snapshots).into_iter().flatten();
        let mut names: Vec<String> =
            names.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        let begins = |name: &&String| {
            self.revision.len() >= SHORTEST_COMMIT && name.starts_with(&self.revision)
        };
        let mut fitting = names.iter().filter(begins);
        match (fitting.next(), fitting.next()) {
            (Some(one), None) => Ok(one.clone()),
            (None, _) => Err(anyhow!(
                "{self}: no such revision in the cache; it holds the commits {}",
                if names.is_empty() { "(none)".into() } else { names.join(", ") }
            )),
            (Some(_), Some(_)) => Err(anyhow!("{self}: more than one commit begins so")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_models_are_told_from_paths() {
        let parsed = |text| Reference::parse(text).map(|found| (found.id, found.revision));
        let is = |id: &str, revision: &str| Some((id.to_string(), revision.to_string()));
        assert_eq!(parsed("org/name"), is("org/name", "main"));
        assert_eq!(parsed("org/name-1.5_b@refs/pr/3"), is("org/name-1.5_b", "refs/pr/3"));
        for path in [
            "name",
            "/org/name",
            "./name",
            "../name",
            "a/b/c",
            "org/",
            "org/name@",
            "org/..",
            "org/name@../../x",
            "org/name@/etc",
            "org/na me",
            "-org/name",
            "org/name@a\0b",
        ] {
            assert_eq!(parsed(path), None, "{path}");
        }
    }

    #[test]
    fn the_cache_is_where_the_variables_say() {
        let with = |pairs: &'static [(&str, &str)]| {
            let value = |name: &str| {
                let found = pairs.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| OsString::from(value))
            };
            cache(value).unwrap()
        };
        assert_eq!(with(&[("HF_HOME", "/h")]), Path::new("/h/hub"));
        let home = std::env::home_dir().unwrap();
        assert_eq!(with(&[("HF_HOME", "~/h")]), home.join("h/hub"));
        assert_eq!(with(&[("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(with(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c")]), Path::new("/c"));
        assert_eq!(with(&[("HF_HOME", "/h"), ("HUGGINGFACE_HUB_CACHE", "/c")]), Path::new("/c"));
    }
}
