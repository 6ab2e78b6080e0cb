//! An index: which shard holds which tensor.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::locate::Report;
use super::names;
use super::problems::{LINE, Problems};
use super::read::Source;
use crate::error::{Error, Result};
use crate::json::OfObject;
use crate::short::{Short, short};

/// As large as a header may be.
const MAX_BYTES: u64 = 100_000_000;
/// Shards of the largest models are hundreds.
const MAX_FILES: usize = 1 << 16;

/// What an index says. There may be millions of tensors.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) path: PathBuf,
    /// The shards, sorted.
    pub(super) files: Vec<PathBuf>,
    /// `metadata.total_size`, in words.
    pub(super) total_size: Option<String>,
    /// Tensors, sorted by name, each with the number of its shard.
    tensors: Vec<(Box<str>, u32)>,
}

impl Index {
    /// Reads the index at `path`, whose shards are in `directory`.
    pub(super) fn read(path: &Path, directory: &Path, report: &mut Report) -> Result<Self> {
        let json = Source::open(path)?.read_at_most(MAX_BYTES)?;
        let says = |problem: String| Error::Format(problem).in_file(path);
        let invalid =
            |problem: String| says(format!("not a valid index: {}", Short::within(&problem, LINE)));
        if let Some(problem) = names::too_long(&json) {
            return Err(invalid(problem));
        }
        let raw: std::result::Result<OfObject<RawIndex>, _> = serde_json::from_slice(&json);
        drop(json);
        let OfObject(RawIndex { weight_map, metadata }) =
            raw.map_err(|error| invalid(error.to_string()))?;
        let WeightMap { shards, mut tensors, problems } = weight_map;
        // Shards were numbered as they were met; their order is by name.
        let mut number = vec![0; shards.len()];
        (0..).zip(shards.values()).for_each(|(sorted, met)| number[*met as usize] = sorted);
        tensors.iter_mut().for_each(|(_, shard)| *shard = number[*shard as usize]);
        tensors.sort_unstable();
        for same in tensors.chunk_by(|(a, _), (b, _)| a == b).filter(|same| same.len() > 1) {
            report(says(format!("weight_map: {:?} stands twice", short(&same[0].0))))?;
        }
        for problem in problems.lines() {
            report(says(format!("weight_map: {problem}")))?;
        }
        if tensors.is_empty() {
            report(says("weight_map names no tensor".into()))?;
        }
        tensors.dedup();
        let files = shards.into_keys().map(|file| directory.join(file)).collect();
        let total_size =
            metadata.and_then(|OfObject(metadata)| metadata.total_size).map(|it| it.to_string());
        Ok(Self { path: path.into(), files, total_size, tensors })
    }

    /// Whether it says where `tensor` is.
    pub(super) fn names(&self, tensor: &str) -> bool {
        self.tensors.binary_search_by(|(name, _)| (**name).cmp(tensor)).is_ok()
    }

    /// Every tensor that the index names must be where it says, as far as that file is among those that were read.
    /// `tensors` are those of these files, sorted by name; `of` gives a tensor's name and the number of its file.
    pub(super) fn check<T>(
        &self,
        files: &[&Path],
        tensors: &[T],
        of: impl Fn(&T) -> (&str, usize),
        report: &mut Report,
    ) -> Result<()> {
        let read: HashSet<&Path> = files.iter().copied().collect();
        let mut problems = Problems::default();
        for (name, shard) in &self.tensors {
            let file = &self.files[*shard as usize];
            let first = tensors.partition_point(|tensor| *of(tensor).0 < **name);
            let mut named =
                tensors[first..].iter().map(&of).take_while(|(found, _)| **found == **name);
            if !named.any(|(_, number)| files[number] == file) && read.contains(file.as_path()) {
                problems.push(|| {
                    let name = short(name);
                    format!("weight_map: tensor {name:?} is not in {}", file.display())
                });
            }
        }
        let mut lines = problems.lines().into_iter();
        lines.try_for_each(|line| report(Error::Format(line).in_file(&self.path)))
    }
}

/// The object in the file.
#[derive(serde::Deserialize)]
struct RawIndex {
    weight_map: WeightMap,
    metadata: Option<OfObject<Metadata>>,
}

#[derive(serde::Deserialize)]
struct Metadata {
    total_size: Option<Entry>,
}

#[derive(Default)]
struct WeightMap {
    shards: BTreeMap<String, u32>,
    tensors: Vec<(Box<str>, u32)>,
    problems: Problems,
}

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = WeightMap;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object weight_map of files by tensor")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<WeightMap, A::Error> {
                let mut weights = WeightMap::default();
                while let Some(tensor) = map.next_key::<Box<str>>()? {
                    let shard = match map.next_value()? {
                        Entry::File(file) if stays_inside(&file) => file,
                        wrong => {
                            let expected = "expected a file in the same directory";
                            let text =
                                || format!("{:?}: {expected}, found {wrong}", short(&tensor));
                            weights.problems.push(text);
                            continue;
                        }
                    };
                    let next = weights.shards.len() as u32;
                    if weights.shards.len() == MAX_FILES && !weights.shards.contains_key(&shard) {
                        let text = format!("it names more than {MAX_FILES} files");
                        return Err(A::Error::custom(text));
                    }
                    let number = *weights.shards.entry(shard).or_insert(next);
                    weights.tensors.push((tensor, number));
                }
                Ok(weights)
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

/// What stands at a tensor's name.
enum Entry {
    File(String),
    /// What is no file's name, in words.
    Other(String),
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "{:?}", short(file)),
            Self::Other(words) => f.write_str(words),
        }
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a file in the same directory")
            }

            fn visit_str<E>(self, file: &str) -> std::result::Result<Entry, E> {
                Ok(Entry::File(file.strip_prefix("./").unwrap_or(file).into()))
            }

            fn visit_bool<E>(self, value: bool) -> std::result::Result<Entry, E> {
                Ok(Entry::Other(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> std::result::Result<Entry, E> {
                Ok(Entry::Other(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> std::result::Result<Entry, E> {
                Ok(Entry::Other(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> std::result::Result<Entry, E> {
                Ok(Entry::Other(value.to_string()))
            }

            fn visit_unit<E>(self) -> std::result::Result<Entry, E> {
                Ok(Entry::Other("null".into()))
            }

            // Passed over as they are: they may be nested to any depth.
            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut items: A,
            ) -> std::result::Result<Entry, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Entry::Other("a list".into()))
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut entries: A,
            ) -> std::result::Result<Entry, A::Error> {
                while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Entry::Other("an object".into()))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// Whether a relative path can only mean something in the directory that it is looked for in, or below it: it is not empty,
/// and has no `..`, root, drive, NUL or backslash.
pub fn stays_inside(file: &str) -> bool {
    let plain = |component| matches!(component, Component::Normal(_));
    !file.is_empty() && !file.contains(['\0', '\\']) && Path::new(file).components().all(plain)
}

#[cfg(test)]
mod tests {
    use super::stays_inside;

    #[test]
    fn shards_stay_inside_their_directory() {
        assert!(stays_inside("model-00001-of-00002.safetensors"));
        assert!(stays_inside("shards/1.safetensors"));
        for outside in ["", "/etc/passwd", "../x", "a/../../x", ".", "a\0b", "..\\x"] {
            assert!(!stays_inside(outside), "{outside:?}");
        }
    }
}
