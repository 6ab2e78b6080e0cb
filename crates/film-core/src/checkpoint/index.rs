//! An index: which shard holds which tensor.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::read::Source;
use crate::error::{Error, Result};
use crate::json::OfObject;

/// As large as a header may be.
const MAX_BYTES: u64 = 100_000_000;

/// What an index says. There may be millions of tensors.
#[derive(Debug)]
pub(super) struct Index {
    path: PathBuf,
    /// The shards, sorted.
    pub(super) files: Vec<PathBuf>,
    /// Tensors, sorted by name, each with the number of its shard.
    tensors: Vec<(Box<str>, u32)>,
}

impl Index {
    /// Reads the index at `path`, whose shards are in `directory`.
    pub(super) fn read(path: &Path, directory: &Path) -> Result<Self> {
        let json = Source::open(path)?.read_at_most(MAX_BYTES)?;
        let raw: std::result::Result<OfObject<RawIndex>, _> = serde_json::from_slice(&json);
        let invalid = |problem: String| Error::Format(problem).in_file(path);
        let raw = raw.map_err(|error| invalid(format!("not a valid index: {error}")))?;
        let WeightMap { shards, mut tensors } = raw.0.weight_map;
        if tensors.is_empty() {
            return Err(invalid("weight_map names no tensor".into()));
        }
        // Shards were numbered as they were met; their order is by name.
        let mut number = vec![0; shards.len()];
        (0..).zip(shards.values()).for_each(|(sorted, met)| number[*met as usize] = sorted);
        tensors.iter_mut().for_each(|(_, shard)| *shard = number[*shard as usize]);
        tensors.sort_unstable();
        let files = shards.into_keys().map(|file| directory.join(file)).collect();
        Ok(Self { path: path.into(), files, tensors })
    }

    /// Every tensor that the index names must be where it says. `tensors` are those of its files, sorted by name; `of` gives a
    /// tensor's name and the number of its file.
    pub(super) fn check<T>(&self, tensors: &[T], of: impl Fn(&T) -> (&str, usize)) -> Result<()> {
        for (name, shard) in &self.tensors {
            let first = tensors.partition_point(|tensor| *of(tensor).0 < **name);
            let mut named =
                tensors[first..].iter().map(&of).take_while(|(found, _)| **found == **name);
            if !named.any(|(_, file)| file == *shard as usize) {
                let file = self.files[*shard as usize].display();
                let text = format!("weight_map: tensor {name:?} is not in {file}");
                return Err(Error::Format(text).in_file(&self.path));
            }
        }
        Ok(())
    }
}

/// The object in the file; of its entries only one matters.
#[derive(serde::Deserialize)]
struct RawIndex {
    weight_map: WeightMap,
}

#[derive(Default)]
struct WeightMap {
    shards: BTreeMap<String, u32>,
    tensors: Vec<(Box<str>, u32)>,
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
                    let in_entry =
                        |error| A::Error::custom(format!("weight_map: {tensor:?}: {error}"));
                    let Shard(shard) = map.next_value().map_err(in_entry)?;
                    let next = weights.shards.len() as u32;
                    let number = *weights.shards.entry(shard).or_insert(next);
                    weights.tensors.push((tensor, number));
                }
                Ok(weights)
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

/// A shard's name.
struct Shard(String);

impl<'de> Deserialize<'de> for Shard {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Name;

        impl Visitor<'_> for Name {
            type Value = Shard;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a file in the same directory")
            }

            fn visit_str<E: serde::de::Error>(self, file: &str) -> std::result::Result<Shard, E> {
                match stays_inside(file) {
                    true => Ok(Shard(file.into())),
                    false => {
                        let text = format!("expected a file in the same directory, found {file:?}");
                        Err(E::custom(text))
                    }
                }
            }
        }

        deserializer.deserialize_str(Name)
    }
}

/// Whether a shard's name can only mean a file in the index's own directory or below it.
fn stays_inside(file: &str) -> bool {
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
