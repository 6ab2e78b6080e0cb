//! What stands in a pickle, as plain data.
//!
//! Values refer to each other by number. So a value that stands in many places is kept once, and neither
//! cycles nor depth can do harm: nothing is followed, copied or dropped by recursion.

use std::collections::HashMap;
use std::rc::Rc;

use safetensors::Dtype;

use super::globals::Element;
use super::stream::MAX_PICKLE;
use crate::error::{Error, Result};

/// What the values of a small file may take in memory.
const FLOOR: u64 = 64 << 20;
/// What a byte of the pickle may add to that, …
const PER_PICKLE_BYTE: u64 = 16;
/// … or a byte of the file, if that is less. Of a pickle that `torch.save` wrote a byte takes about ten; beside it
/// stand the tensors.
const PER_FILE_BYTE: u64 = 4;
/// Attributes of a value: an entry of a hash table that is being enlarged, and a vector.
const STATE: usize = 144;
/// A storage but for its key: an entry of a hash table that is being enlarged, and of two vectors.
const STORAGE: usize = 144;

/// The memory for so many bytes on the heap: what an allocator makes of them.
pub(super) const fn block(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=24 => 32,
        _ => (bytes + 8).next_multiple_of(16),
    }
}

/// The memory for members of a container: where they stand, as much to spare, and as much for who follows them.
pub(super) const fn members(count: usize) -> usize {
    block(3 * count * size_of::<Id>())
}

/// A value's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id(u32);

#[derive(Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// An integer of more than 64 bits, little-endian.
    Long(Box<[u8]>),
    Float(f64),
    Text(Box<str>),
    /// How many bytes.
    Bytes(u64),
    Tuple(Vec<Id>),
    /// Sets too: what is in a list or a set is never asked for.
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A name of a function or class, which is never looked up.
    Global(Box<str>),
    Storage(Box<StorageRef>),
    Tensor(Box<TensorRef>),
    /// A tensor that safetensors cannot hold, and what it is.
    Unstorable(Box<str>),
    /// An object of a class that does not matter here, which is never made: the class, and what it would be made of.
    Object(Id, Vec<Id>),
}

impl Value {
    /// The memory that it takes.
    fn taken(&self) -> usize {
        let heap = match self {
            Self::Text(text) | Self::Global(text) | Self::Unstorable(text) => block(text.len()),
            Self::Long(bytes) => block(bytes.len()),
            Self::Tuple(items) | Self::List(items) | Self::Object(_, items) => members(items.len()),
            Self::Dict(pairs) => members(2 * pairs.len()),
            Self::Storage(_) => block(size_of::<StorageRef>()),
            Self::Tensor(tensor) => {
                block(size_of::<TensorRef>()) + 2 * block(tensor.shape.len() * size_of::<usize>())
            }
            Self::None | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Bytes(_) => 0,
        };
        // And a byte in `Seen`.
        size_of::<Self>() + 1 + heap
    }
}

/// A storage as a pickle refers to it.
#[derive(Debug, Clone)]
pub(super) struct StorageRef {
    /// Which of [`Values::storages`].
    pub(super) storage: usize,
    pub(super) element: &'static Element,
    /// Where it begins in that one, in bytes.
    pub(super) start: u64,
    pub(super) bytes: u64,
}

/// A tensor as a pickle describes it; sizes, strides and offset are in elements.
#[derive(Debug, Clone)]
pub(super) struct TensorRef {
    pub(super) storage: StorageRef,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
    pub(super) offset: u64,
}

/// The bytes behind a key.
#[derive(Debug)]
pub(super) struct Storage {
    pub(super) key: Rc<str>,
    /// Bytes an element, as the first reference has it.
    pub(super) element_bytes: u64,
}

/// All values of a file.
#[derive(Debug)]
pub(super) struct Values {
    values: Vec<Value>,
    /// What values were given as attributes.
    states: HashMap<Id, Vec<Id>>,
    storages: Vec<Storage>,
    by_key: HashMap<Rc<str>, usize>,
    tensors: usize,
    /// The memory that has been taken, in bytes, and how much may be.
    taken: u64,
    budget: u64,
}

/// Which values have been met.
pub(super) struct Seen(Vec<bool>);

impl Seen {
    /// Whether the value is new.
    pub(super) fn insert(&mut self, id: Id) -> bool {
        !std::mem::replace(&mut self.0[id.0 as usize], true)
    }
}

impl Values {
    /// None yet, of a pickle of so many bytes in a file of so many.
    pub(super) fn new(pickle: u64, file: u64) -> Self {
        let pickle = pickle.min(MAX_PICKLE);
        let more = (pickle * PER_PICKLE_BYTE).min(file.saturating_mul(PER_FILE_BYTE));
        Self {
            values: Vec::new(),
            states: HashMap::new(),
            storages: Vec::new(),
            by_key: HashMap::new(),
            tensors: 0,
            taken: 0,
            budget: FLOOR + more,
        }
    }

    pub(super) fn add(&mut self, value: Value) -> Result<Id> {
        self.charge(value.taken())?;
        if matches!(value, Value::Tensor(_) | Value::Unstorable(_)) {
            self.tensors += 1;
        }
        self.values.push(value);
        Ok(Id(self.values.len() as u32 - 1))
    }

    /// Counts so many bytes of memory against what the file may take.
    pub(super) fn charge(&mut self, bytes: usize) -> Result<()> {
        self.afford(bytes)?;
        self.taken += bytes as u64;
        Ok(())
    }

    /// Takes back so many bytes that were counted.
    pub(super) fn release(&mut self, bytes: usize) {
        self.taken -= bytes as u64;
    }

    /// An error unless so many bytes more may be taken, for a while.
    pub(super) fn afford(&self, bytes: usize) -> Result<()> {
        if self.taken.saturating_add(bytes as u64) > self.budget {
            let text = format!("the pickle asks for more than {} bytes of memory", self.budget);
            return Err(Error::Format(text));
        }
        Ok(())
    }

    /// That none of the values has been met.
    pub(super) fn unseen(&self) -> Seen {
        Seen(vec![false; self.values.len()])
    }

    pub(super) fn get(&self, id: Id) -> &Value {
        &self.values[id.0 as usize]
    }

    pub(super) fn get_mut(&mut self, id: Id) -> &mut Value {
        &mut self.values[id.0 as usize]
    }

    /// The text that stands there, if it is one.
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether a tensor stands there, one that can be stored or not.
    pub(super) fn is_tensor(&self, id: Id) -> bool {
        matches!(self.get(id), Value::Tensor(_) | Value::Unstorable(_))
    }

    /// Whether a tensor stands there that is more than one number, or may be.
    pub(super) fn is_tensor_with_axes(&self, id: Id) -> bool {
        match self.get(id) {
            Value::Tensor(tensor) => !tensor.shape.is_empty(),
            _ => self.is_tensor(id),
        }
    }

    /// The members of a tuple or list.
    pub(super) fn sequence(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(items) | Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// Gives a value attributes.
    pub(super) fn set_state(&mut self, id: Id, state: Id) -> Result<()> {
        self.charge(STATE)?;
        self.states.entry(id).or_default().push(state);
        Ok(())
    }

    /// The storage of that key, new if no reference to it was there.
    pub(super) fn storage(&mut self, key: &str, element_bytes: u64) -> Result<usize> {
        if let Some(storage) = self.storage_of(key) {
            return Ok(storage);
        }
        self.charge(STORAGE + block(key.len()))?;
        let (key, storage) = (Rc::<str>::from(key), self.storages.len());
        self.storages.push(Storage { key: key.clone(), element_bytes });
        self.by_key.insert(key, storage);
        Ok(storage)
    }

    /// The number of the storage of that key, if there is a reference to it.
    pub(super) fn storage_of(&self, key: &str) -> Option<usize> {
        self.by_key.get(key).copied()
    }

    pub(super) fn storages(&self) -> &[Storage] {
        &self.storages
    }

    /// How many tensors stand anywhere in the file.
    pub(super) fn tensors(&self) -> usize {
        self.tensors
    }

    /// How many tensors stand in a value or below it that are not among `seen`, which they join.
    pub(super) fn tensors_below(&self, id: Id, seen: &mut Seen) -> usize {
        let (mut tensors, mut left) = (0, vec![id]);
        while let Some(id) = left.pop() {
            if !seen.insert(id) {
                continue;
            }
            match self.get(id) {
                Value::Tensor(_) | Value::Unstorable(_) => tensors += 1,
                Value::Tuple(items) | Value::List(items) | Value::Object(_, items) => {
                    left.extend(items);
                }
                Value::Dict(pairs) => {
                    left.extend(pairs.iter().flat_map(|&(key, value)| [key, value]));
                }
                _ => {}
            }
            left.extend(self.states.get(&id).into_iter().flatten());
        }
        tensors
    }

    /// A value in a few words.
    pub(super) fn describe(&self, id: Id) -> String {
        match self.get(id) {
            Value::None => "None".into(),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Long(_) => "a large integer".into(),
            Value::Float(value) => value.to_string(),
            Value::Text(text) if text.chars().nth(40).is_none() => format!("{text:?}"),
            Value::Text(text) => format!("text of {} bytes", text.len()),
            Value::Bytes(bytes) => format!("{bytes} bytes"),
            Value::Tuple(items) => format!("a tuple of {}", items.len()),
            Value::List(items) => format!("a list of {}", items.len()),
            Value::Dict(pairs) => format!("a dict of {}", pairs.len()),
            Value::Global(name) => format!("the name {name}"),
            Value::Storage(_) => "a storage".into(),
            Value::Tensor(tensor) => format!("a tensor {:?} of {}", tensor.shape, tensor.dtype),
            Value::Unstorable(what) => what.to_string(),
            Value::Object(class, _) => match self.get(*class) {
                Value::Global(name) => format!("an object of {name}"),
                _ => "an object".into(),
            },
        }
    }
}
