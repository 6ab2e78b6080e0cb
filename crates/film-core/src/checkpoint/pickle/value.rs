//! What stands in a pickle, as plain data.
//!
//! Values refer to each other by number. So a value that stands in many places is kept once, and neither
//! cycles nor depth can do harm: nothing is followed, copied or dropped by recursion.

use std::collections::{HashMap, HashSet};

use safetensors::Dtype;

use super::globals::Element;
use crate::error::{Error, Result};

/// At most this many values, of 32 bytes each.
const MAX_VALUES: usize = 1 << 24;

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
    /// An object of a class that does not matter here, which is never made; what it would be made of.
    Object(Box<str>, Vec<Id>),
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
    pub(super) key: String,
    /// Bytes an element, as the first reference has it.
    pub(super) element_bytes: u64,
}

/// All values of a file.
#[derive(Debug, Default)]
pub(super) struct Values {
    values: Vec<Value>,
    /// What values were given as attributes.
    states: HashMap<Id, Vec<Id>>,
    storages: Vec<Storage>,
    by_key: HashMap<String, usize>,
    /// Values copied out of others, which count like new ones.
    copied: usize,
    tensors: usize,
}

impl Values {
    pub(super) fn add(&mut self, value: Value) -> Result<Id> {
        self.charge(0)?;
        if matches!(value, Value::Tensor(_) | Value::Unstorable(_)) {
            self.tensors += 1;
        }
        self.values.push(value);
        Ok(Id(self.values.len() as u32 - 1))
    }

    /// Counts `copies` of values against what a file may hold.
    pub(super) fn charge(&mut self, copies: usize) -> Result<()> {
        self.copied = self.copied.saturating_add(copies);
        if self.values.len().saturating_add(self.copied) >= MAX_VALUES {
            let text = format!("the pickle holds more than {MAX_VALUES} values");
            return Err(Error::Format(text));
        }
        Ok(())
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
    pub(super) fn set_state(&mut self, id: Id, state: Id) {
        self.states.entry(id).or_default().push(state);
    }

    /// The storage of that key, new if no reference to it was there.
    pub(super) fn storage(&mut self, key: String, element_bytes: u64) -> usize {
        *self.by_key.entry(key).or_insert_with_key(|key| {
            self.storages.push(Storage { key: key.clone(), element_bytes });
            self.storages.len() - 1
        })
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
    pub(super) fn tensors_below(&self, id: Id, seen: &mut HashSet<Id>) -> usize {
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
            Value::Text(text) if text.chars().count() <= 40 => format!("{text:?}"),
            Value::Text(text) => format!("text of {} bytes", text.len()),
            Value::Bytes(bytes) => format!("{bytes} bytes"),
            Value::Tuple(items) => format!("a tuple of {}", items.len()),
            Value::List(items) => format!("a list of {}", items.len()),
            Value::Dict(pairs) => format!("a dict of {}", pairs.len()),
            Value::Global(name) => format!("the name {name}"),
            Value::Storage(_) => "a storage".into(),
            Value::Tensor(tensor) => format!("a tensor {:?} of {}", tensor.shape, tensor.dtype),
            Value::Unstorable(what) => what.to_string(),
            Value::Object(name, _) => format!("an object of {name}"),
        }
    }
}
