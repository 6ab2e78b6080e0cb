//! The folder of a run: a checkpoint that film-tools opens, what it takes to go on, and pictures.
//!
//! | file | what |
//! |---|---|
//! | config.json, model.safetensors | the model |
//! | state.safetensors | weights and moments, from which a run goes on |
//! | training.json | settings and history |
//! | held_out.safetensors | registers and targets of the held-out kernels |
//! | loss.png, kernels.png | pictures |

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use film_core::checkpoint::{self, AtomicFile, save_tensors};
use film_core::optim::{load_state, save_state};
use serde::{Deserialize, Serialize};

use super::model::config;
use super::pictures;
use super::task::LENGTHS;
use super::training::{History, Settings, Training};

const STATE: &str = "state.safetensors";
const TRAINING: &str = "training.json";
const HELD_OUT: &str = "held_out.safetensors";
const LOSS: &str = "loss.png";
const KERNELS: &str = "kernels.png";
const FILES: [&str; 7] =
    ["config.json", "model.safetensors", STATE, TRAINING, HELD_OUT, LOSS, KERNELS];

/// The folder.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

/// training.json.
#[derive(Serialize, Deserialize)]
struct Record {
    settings: Settings,
    history: History,
}

impl Folder {
    /// A folder for a new run. If it holds one already, that one is to be replaced (`force`) or it is an error.
    pub(crate) fn create(path: &Path, force: bool) -> Result<Self> {
        let folder = Self(path.into());
        if !force && let Some(file) = FILES.iter().find(|file| folder.file(file).exists()) {
            bail!(
                "{}: exists already: give --resume to go on, --force to start over",
                folder.file(file).display()
            );
        }
        std::fs::create_dir_all(path)
            .with_context(|| format!("{}: cannot create", path.display()))?;
        // The old run's state must not be taken for the new one's.
        match std::fs::remove_file(folder.file(STATE)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error)
                .with_context(|| format!("{}: cannot remove", folder.file(STATE).display())),
            _ => Ok(folder),
        }
    }

    /// The run in a folder, as it was when it was last saved.
    pub(crate) fn resume(path: &Path) -> Result<(Self, Training)> {
        let folder = Self(path.into());
        let name = || folder.file(TRAINING).display().to_string();
        let record = std::fs::read(folder.file(TRAINING))
            .with_context(|| format!("{}: cannot open", name()))?;
        let Record { settings, history } = serde_json::from_slice(&record).with_context(name)?;
        let mut training = Training::new(settings).with_context(name)?;
        load_state(&folder.file(STATE), &mut training.optimizer, None)?;
        training.history = history;
        let steps = training.steps();
        let known = training.history.losses.len() as u64;
        if known < steps || steps > settings.steps {
            let state = folder.file(STATE);
            bail!("{}: expected a state of {known} steps or fewer, found {steps}", state.display());
        }
        // The record is written before the state: it may be ahead of it.
        training.history.losses.truncate(steps as usize);
        training.history.errors.retain(|(step, _)| *step <= steps);
        Ok((folder, training))
    }

    /// Saves the run: a checkpoint, and what it takes to go on.
    pub(crate) fn save(&self, training: &Training) -> Result<()> {
        let (settings, history) = (training.settings, training.history.clone());
        let record = serde_json::to_vec(&Record { settings, history })?;
        self.write(TRAINING, &record)?;
        save_state(&self.file(STATE), &training.optimizer, None, true)?;
        let tensors = training.model.tensors()?;
        let tensors = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
        checkpoint::save(&self.0, &config(LENGTHS), tensors, true)?;
        Ok(())
    }

    /// Draws the pictures, and writes what they show.
    pub(crate) fn illustrate(&self, training: &Training) -> Result<()> {
        let held_out = &training.held_out;
        let tensors = [("registers", &held_out.registers), ("target", &held_out.targets)];
        save_tensors(&self.file(HELD_OUT), tensors, true)?;
        self.write(LOSS, &film_picture::png(&pictures::loss(&training.history))?)?;
        self.write(KERNELS, &film_picture::png(&pictures::kernels(training)?)?)
    }

    /// Where a file of that name is.
    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut file = AtomicFile::create(&self.file(name), true)?;
        file.write(bytes)?;
        Ok(file.commit()?)
    }
}
