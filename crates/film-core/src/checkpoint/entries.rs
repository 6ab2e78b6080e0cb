//! A header's JSON → its entries. All are kept: a name that stands twice is seen, and a bad value hides no other.

use std::fmt;
use std::marker::PhantomData;

use safetensors::Dtype;
use serde::de::{
    Deserialize, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde_json::Value;

use super::names;
use super::problems::Problems;
use crate::json::OfObject;
use crate::short::short;

/// What is no tensor's name.
pub(super) const METADATA: &str = "__metadata__";
/// As many axes as a tensor may have in NumPy and PyTorch.
const MAX_RANK: usize = 64;
/// Metadata are for a few lines of text; a header full of them would take many times its size in memory.
const MAX_METADATA: usize = 1 << 16;
/// The largest broken header that is taken apart, which takes many times its size in memory.
const TAKEN_APART: usize = 1 << 20;

/// A JSON object's pairs, in their order; no more than metadata may have.
#[derive(Debug)]
struct Pairs<V>(Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Pairs<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Object<V> {
            type Value = Pairs<V>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<V>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    if pairs.len() == MAX_METADATA {
                        let text = format!("it has more than {MAX_METADATA} keys");
                        return Err(A::Error::custom(text));
                    }
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(Object(PhantomData))
    }
}

impl<V> Pairs<V> {
    /// The keys that stand more than once, each once, sorted.
    fn repeated(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let groups = names.chunk_by(|a, b| a == b);
        groups.filter(|group| group.len() > 1).map(|group| group[0]).collect()
    }
}

/// One tensor's entry, as JSON has it. There may be millions.
#[derive(Debug, serde::Deserialize)]
pub(super) struct RawTensor {
    pub(super) dtype: RawDtype,
    #[serde(deserialize_with = "shape")]
    pub(super) shape: Box<[u64]>,
    pub(super) data_offsets: (u64, u64),
}

/// A dtype, or its name where that is none.
#[derive(Debug)]
pub(super) struct RawDtype(pub(super) Result<Dtype, Box<str>>);

impl<'de> Deserialize<'de> for RawDtype {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let dtype: Result<_, serde::de::value::Error> =
            Dtype::deserialize((&*name).into_deserializer());
        Ok(Self(dtype.map_err(|_| name.into())))
    }
}

fn shape<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<[u64]>, D::Error> {
    struct Sizes;

    impl<'de> Visitor<'de> for Sizes {
        type Value = Box<[u64]>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a list of sizes")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sizes: A) -> Result<Box<[u64]>, A::Error> {
            let mut shape = [0; MAX_RANK];
            let mut rank = 0;
            while let Some(size) = sizes.next_element()? {
                *shape.get_mut(rank).ok_or_else(|| {
                    A::Error::custom(format!("the shape has more than {MAX_RANK} axes"))
                })? = size;
                rank += 1;
            }
            Ok(shape[..rank].into())
        }
    }

    deserializer.deserialize_seq(Sizes)
}

/// The entries of a header, and what is wrong with those that are none.
#[derive(Debug, Default)]
pub(super) struct RawHeader {
    /// Sorted by name.
    pub(super) tensors: Vec<(String, RawTensor)>,
    /// Sorted by key.
    pub(super) metadata: Vec<(String, String)>,
    pub(super) problems: Problems,
}

/// Reads a header. One that is sound is read in one pass; of another every entry is tried by itself, unless it is large.
pub(super) fn parse(json: &[u8]) -> RawHeader {
    if let Some(problem) = names::too_long(json) {
        let mut header = RawHeader::default();
        header.problems.push(|| problem);
        return header;
    }
    let mut header = match serde_json::from_slice::<RawHeader>(json) {
        Ok(header) => header,
        Err(first) if json.len() > TAKEN_APART => {
            let mut header = RawHeader::default();
            header.problems.push(|| first.to_string());
            header
        }
        Err(first) => match serde_json::from_slice(json) {
            Ok(Pairs(entries)) => {
                let mut header = one_by_one(entries);
                // What is lost on the way, such as a key that stands twice.
                if header.problems.is_empty() {
                    header.problems.push(|| first.to_string());
                }
                header
            }
            // No JSON behind some point: what stands before it may be broken, too.
            Err(last) => {
                let mut header = RawHeader::default();
                let (first, syntax, last) = (first.to_string(), last.is_syntax(), last.to_string());
                let other = syntax && !first.ends_with(&last);
                header.problems.push(|| first);
                if other {
                    header.problems.push(|| last);
                }
                header
            }
        },
    };
    let place = |raw: &RawTensor| raw.data_offsets;
    header.tensors.sort_unstable_by(|(a, x), (b, y)| a.cmp(b).then(place(x).cmp(&place(y))));
    header.metadata.sort();
    header
}

fn one_by_one(entries: Vec<(String, Value)>) -> RawHeader {
    let mut header = RawHeader::default();
    let mut metadata = 0;
    for (name, value) in entries {
        let problem = |error| format!("entry {:?}: {error}", short(&name));
        match value {
            Value::Object(pairs) if name == METADATA => {
                metadata += 1;
                for (key, value) in pairs {
                    match value {
                        Value::String(text) => header.metadata.push((key, text)),
                        other => header.problems.push(|| {
                            let key = short(&key);
                            problem(format!("{key:?}: expected a string, found {other}"))
                        }),
                    }
                }
            }
            other if name == METADATA => {
                header.problems.push(|| problem(format!("expected an object, found {other}")));
            }
            value => match OfObject::deserialize(value) {
                Ok(OfObject(raw)) => header.tensors.push((name, raw)),
                Err(error) => header.problems.push(|| problem(error.to_string())),
            },
        }
    }
    if metadata > 1 {
        header.problems.push(|| format!("entry {METADATA:?} stands twice"));
    }
    header
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut header = RawHeader::default();
                let mut has_metadata = false;
                while let Some(name) = map.next_key::<String>()? {
                    let in_entry =
                        |error| A::Error::custom(format!("entry {:?}: {error}", short(&name)));
                    if name == METADATA {
                        if std::mem::replace(&mut has_metadata, true) {
                            return Err(A::Error::custom(format!(
                                "entry {METADATA:?} stands twice"
                            )));
                        }
                        let pairs: Pairs<String> = map.next_value().map_err(in_entry)?;
                        for key in pairs.repeated() {
                            let key = short(key);
                            header
                                .problems
                                .push(|| format!("entry {METADATA:?}: {key:?} stands twice"));
                        }
                        header.metadata = pairs.0;
                    } else {
                        let OfObject(raw) = map.next_value().map_err(in_entry)?;
                        header.tensors.push((name, raw));
                    }
                }
                Ok(header)
            }
        }

        deserializer.deserialize_map(Entries)
    }
}
