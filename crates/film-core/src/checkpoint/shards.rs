//! Which tensor goes into which file, by the names that Hugging Face's libraries give them.

use serde::{Serialize, Serializer};

use super::layout::{Entry, Layout, describe, stored_bytes};
use super::locate::{INDEX, WEIGHTS};
use crate::error::{Error, Result};

/// One file to be written.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) name: String,
    pub(super) layout: Layout,
}

/// The files of a checkpoint to be written.
#[derive(Debug)]
pub(super) struct Shards {
    pub(super) shards: Vec<Shard>,
    /// The index's content, where there are several.
    pub(super) index: Option<String>,
}

impl Shards {
    /// Fills one file after the other, in the order of the tensors' names, with at most `max_bytes` each, header
    /// included. A tensor that takes more has a file of its own.
    pub(super) fn plan(mut tensors: Vec<Entry>, max_bytes: Option<u64>) -> Result<Self> {
        tensors.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        if let Some(pair) = tensors.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::tensor(&pair[0].0, "one tensor of that name", "two"));
        }
        let limit = max_bytes.unwrap_or(u64::MAX);
        let mut begins = vec![0];
        let (mut room, mut total) = (limit.saturating_sub(HEADER), 0u64);
        for (index, tensor) in tensors.iter().enumerate() {
            let (bytes, header) = cost(tensor)?;
            total = total.saturating_add(bytes);
            let taken = bytes.saturating_add(header);
            if taken > room && index > 0 {
                begins.push(index);
                room = limit.saturating_sub(HEADER);
            }
            room = room.saturating_sub(taken);
        }
        let count = begins.len();
        let name = |number: usize| match count {
            1 => WEIGHTS.to_string(),
            _ => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
        };
        let mut shards = Vec::with_capacity(count);
        for (number, begin) in begins.into_iter().enumerate().rev() {
            let layout = Layout::new(tensors.split_off(begin))?;
            shards.push(Shard { name: name(number), layout });
        }
        shards.reverse();
        let index = if count > 1 { Some(index(&shards, total)?) } else { None };
        Ok(Self { shards, index })
    }
}

/// At most what a header takes beside its entries.
const HEADER: u64 = 64;

/// A tensor's bytes, and at most those of its entry in the header.
fn cost((name, dtype, shape): &Entry) -> Result<(u64, u64)> {
    let mut entry = Vec::new();
    describe(&mut entry, name, *dtype, shape, (u64::MAX, u64::MAX))?;
    let braces = 2;
    Ok((stored_bytes(name, *dtype, shape)?, entry.len() as u64 + braces))
}

/// The index of several files.
fn index(shards: &[Shard], total_size: u64) -> Result<String> {
    #[derive(Serialize)]
    struct Content<'a> {
        metadata: Metadata,
        weight_map: WeightMap<'a>,
    }
    #[derive(Serialize)]
    struct Metadata {
        total_size: u64,
    }
    struct WeightMap<'a>(&'a [Shard]);

    impl Serialize for WeightMap<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
            let shards = self.0.iter();
            let tensors =
                shards.flat_map(|shard| shard.layout.names().map(|name| (name, &shard.name)));
            serializer.collect_map(tensors)
        }
    }

    let content = Content { metadata: Metadata { total_size }, weight_map: WeightMap(shards) };
    let mut text = serde_json::to_string_pretty(&content)
        .map_err(|error| Error::Format(format!("{INDEX}: {error}")))?;
    text.push('\n');
    Ok(text)
}

/// Whether a file of that name is part of a checkpoint that this module wrote, or one like it.
pub(super) fn is_part(name: &str) -> bool {
    let numbers = || {
        let (number, count) =
            name.strip_prefix("model-")?.strip_suffix(".safetensors")?.split_once("-of-")?;
        Some(
            [number, count]
                .iter()
                .all(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())),
        )
    };
    name == WEIGHTS || name == INDEX || numbers() == Some(true)
}

#[cfg(test)]
mod tests {
    use safetensors::Dtype;
    use serde_json::Value;

    use super::*;

    fn entries(sizes: &[usize]) -> Vec<Entry> {
        let entry = |(index, &size)| (format!("t{index}"), Dtype::F32, vec![size]);
        sizes.iter().enumerate().map(entry).collect()
    }

    fn names(shards: &Shards) -> Vec<Vec<String>> {
        let names = |shard: &Shard| shard.layout.names().map(String::from).collect();
        shards.shards.iter().map(names).collect()
    }

    #[test]
    fn files_stay_below_the_limit_unless_a_tensor_does_not() {
        let tensors = entries(&[1000, 1000, 5000, 100, 100, 100]);
        for limit in [1, 300, 1000, 5_000, 10_000, 20_500, 100_000] {
            let shards = Shards::plan(tensors.clone(), Some(limit)).unwrap();
            let all: Vec<String> = names(&shards).concat();
            assert_eq!(all, ["t0", "t1", "t2", "t3", "t4", "t5"]);
            for shard in &shards.shards {
                assert!(
                    shard.layout.bytes() <= limit || shard.layout.names().count() == 1,
                    "{limit}: {shard:?}"
                );
            }
            assert_eq!(shards.index.is_some(), shards.shards.len() > 1);
        }
        let shards = Shards::plan(tensors.clone(), Some(10_000)).unwrap();
        assert_eq!(names(&shards), [vec!["t0", "t1"], vec!["t2"], vec!["t3", "t4", "t5"]]);
        assert_eq!(shards.shards[1].name, "model-00002-of-00003.safetensors");
        let index: Value = serde_json::from_str(&shards.index.unwrap()).unwrap();
        assert_eq!(index["metadata"]["total_size"], 4 * 7300);
        assert_eq!(index["weight_map"]["t4"], "model-00003-of-00003.safetensors");
        let one = Shards::plan(tensors, None).unwrap();
        assert_eq!((one.shards.len(), one.shards[0].name.as_str()), (1, "model.safetensors"));
    }

    #[test]
    fn parts_are_known_by_their_names() {
        for name in [
            "model.safetensors",
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
        ] {
            assert!(is_part(name), "{name}");
        }
        for name in [
            "model-a-of-b.safetensors",
            "model-.safetensors",
            "my-model.safetensors",
            "config.json",
        ] {
            assert!(!is_part(name), "{name}");
        }
    }
}
