//! A machine for pickles: opcodes → values.
//!
//! The opcodes are those of protocols 0 to 5, as Python's `pickletools` describes them. Nothing is imported
//! and nothing is called: a call gives a container, a tensor's description or a note ([`call`]).
//!
//! [`call`]: super::call

use std::collections::HashMap;

use super::call;
use super::stream::Stream;
use super::value::{Id, Value, Values, members};
use crate::error::{Error, Result};
use crate::short::short;

/// The memory for one more value in the memo: a number, an id and a byte, a seventh of room, half of all while it grows.
const MEMO: usize = 32;

/// Runs one pickle to its end, which leaves the stream behind it; what it holds.
pub(super) fn load(stream: &mut Stream, values: &mut Values, skip_unknown: bool) -> Result<Id> {
    let machine = Machine {
        stream,
        values,
        skip_unknown,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        taken: 0,
    };
    machine.run()
}

/// The memory that one more element adds to a vector, which is enlarged to twice its size when it is full.
fn enlarged<T>(vec: &Vec<T>) -> usize {
    if vec.len() == vec.capacity() { vec.capacity() * size_of::<T>() } else { 0 }
}

struct Machine<'a, 's> {
    stream: &'a mut Stream<'s>,
    values: &'a mut Values,
    skip_unknown: bool,
    stack: Vec<Id>,
    /// How high the stack was at each mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    /// The memory that stack, marks and memo take.
    taken: usize,
}

impl Machine<'_, '_> {
    fn run(mut self) -> Result<Id> {
        loop {
            let opcode = self.stream.byte()?;
            if opcode == b'.' {
                self.values.release(self.taken);
                return self.pop();
            }
            self.step(opcode)?;
        }
    }

    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            // The pickle itself.
            0x80 => match self.stream.byte()? {
                0..=5 => Ok(()),
                other => Err(self.stream.fault(format!("protocol {other}: expected at most 5"))),
            },
            0x95 => self.stream.array::<8>().map(drop),
            // The stack.
            b'(' => {
                self.charge(enlarged(&self.marks))?;
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' if self.marks.last() == Some(&self.stack.len()) => self.above_mark().map(drop),
            b'0' => self.pop().map(drop),
            b'1' => self.above_mark().map(drop),
            b'2' => self.top().and_then(|top| self.put(top)),
            // Constants.
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            // Numbers.
            b'K' => self.stream.byte().and_then(|value| self.push(Value::Int(value.into()))),
            b'M' => {
                let value = u16::from_le_bytes(self.stream.array()?);
                self.push(Value::Int(value.into()))
            }
            b'J' => {
                let value = i32::from_le_bytes(self.stream.array()?);
                self.push(Value::Int(value.into()))
            }
            0x8a => self.stream.byte().and_then(|bytes| self.long(bytes.into())),
            0x8b => self.length4().and_then(|bytes| self.long(bytes)),
            b'G' => {
                let value = f64::from_be_bytes(self.stream.array()?);
                self.push(Value::Float(value))
            }
            b'I' | b'L' | b'F' => self.number_line(opcode),
            // Text and bytes.
            0x8c => self.stream.byte().and_then(|bytes| self.text(bytes.into())),
            b'X' => self.length4().and_then(|bytes| self.text(bytes)),
            0x8d => self.length8().and_then(|bytes| self.text(bytes)),
            b'U' => self.stream.byte().and_then(|bytes| self.old_text(bytes.into())),
            b'T' => self.length4().and_then(|bytes| self.old_text(bytes)),
            b'S' | b'V' => self.text_line(opcode),
            b'C' => self.stream.byte().and_then(|bytes| self.bytes(bytes.into())),
            b'B' => self.length4().and_then(|bytes| self.bytes(bytes)),
            0x8e | 0x96 => self.length8().and_then(|bytes| self.bytes(bytes)),
            // Containers.
            b')' => self.push(Value::Tuple(Vec::new())),
            0x85..=0x87 => self.tuple(usize::from(opcode - 0x84)),
            b't' | 0x91 => self.above_mark().and_then(|items| self.push(Value::Tuple(items))),
            b']' | 0x8f => self.push(Value::List(Vec::new())),
            b'l' => self.above_mark().and_then(|items| self.push(Value::List(items))),
            b'}' => self.push(Value::Dict(Vec::new())),
            b'd' => {
                let items = self.above_mark()?;
                self.push(Value::Dict(Vec::new()))?;
                self.extend_dict(items)
            }
            b'a' => self.pop().and_then(|item| self.extend_list(vec![item])),
            b'e' | 0x90 => self.above_mark().and_then(|items| self.extend_list(items)),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend_dict(vec![key, value])
            }
            b'u' => self.above_mark().and_then(|items| self.extend_dict(items)),
            // The memo.
            b'p' => self.index_line().and_then(|index| self.remember(index)),
            b'q' => self.stream.byte().and_then(|index| self.remember(index.into())),
            b'r' => self.length4().and_then(|index| self.remember(index)),
            0x94 => self.remember(self.memo.len() as u64),
            b'g' => self.index_line().and_then(|index| self.recall(index)),
            b'h' => self.stream.byte().and_then(|index| self.recall(index.into())),
            b'j' => self.length4().and_then(|index| self.recall(index)),
            // Names and what is made by them.
            b'c' => self.global_lines().and_then(|global| self.put(global)),
            0x93 => self.global_on_stack(),
            b'R' | 0x81 => {
                let (args, callee) = (self.pop()?, self.pop()?);
                self.call(callee, args)
            }
            0x92 => {
                let (named, args, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(class, args)?;
                self.build(named)
            }
            b'i' => {
                let class = self.global_lines()?;
                let args = self.above_mark()?;
                self.call_with(class, args)
            }
            b'o' => {
                let mut args = self.above_mark()?;
                if args.is_empty() {
                    return Err(self.stream.fault("an object without a class"));
                }
                let class = args.remove(0);
                self.call_with(class, args)
            }
            b'b' => self.pop().and_then(|state| self.build(state)),
            b'Q' => {
                let id = self.pop()?;
                let storage = call::storage(self.values, id)?;
                self.put(storage)
            }
            b'P' => Err(self.stream.fault(
                "a persistent id that is text, as protocol 0 has it, which PyTorch does not read either",
            )),
            0x82..=0x84 => Err(self.stream.fault("a name from a registry of extensions")),
            0x97 | 0x98 => Err(self.stream.fault("a buffer that is not in the file")),
            other => Err(self.stream.fault(format!("unknown opcode 0x{other:02x}"))),
        }
    }

    fn push(&mut self, value: Value) -> Result<()> {
        let id = self.values.add(value)?;
        self.put(id)
    }

    /// Counts memory that is taken until the end of the pickle.
    fn charge(&mut self, bytes: usize) -> Result<()> {
        self.taken += bytes;
        self.values.charge(bytes)
    }

    fn put(&mut self, id: Id) -> Result<()> {
        self.charge(enlarged(&self.stack))?;
        self.stack.push(id);
        Ok(())
    }

    fn top(&self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let top = self.stack.last().copied().filter(|_| self.stack.len() > floor);
        top.ok_or_else(|| self.stream.fault("nothing on the stack"))
    }

    fn pop(&mut self) -> Result<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn above_mark(&mut self) -> Result<Vec<Id>> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => Err(self.stream.fault("no mark on the stack")),
        }
    }

    /// The next `count` bytes, if there are as many and there may be memory for them.
    fn take(&mut self, count: u64) -> Result<Vec<u8>> {
        self.stream.check(count)?;
        self.values.afford(count as usize)?;
        self.stream.take(count)
    }

    fn length4(&mut self) -> Result<u64> {
        Ok(u32::from_le_bytes(self.stream.array()?).into())
    }

    fn length8(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.stream.array()?))
    }

    /// An integer in as many bytes as are needed, little-endian, the last of which has the sign.
    fn long(&mut self, count: u64) -> Result<()> {
        let bytes = self.take(count)?;
        let value = if bytes.len() <= 8 {
            let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
            let mut wide = [if negative { 0xff } else { 0 }; 8];
            wide[..bytes.len()].copy_from_slice(&bytes);
            Value::Int(i64::from_le_bytes(wide))
        } else {
            Value::Long(bytes.into())
        };
        self.push(value)
    }

    /// A number as text.
    fn number_line(&mut self, opcode: u8) -> Result<()> {
        let line = self.stream.line()?;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        let value = match (opcode, text) {
            (b'I', "00") => Some(Value::Bool(false)),
            (b'I', "01") => Some(Value::Bool(true)),
            (b'F', _) => text.parse().ok().map(Value::Float),
            _ => {
                let digits = text.strip_suffix('L').unwrap_or(text);
                let is_integer = digits.trim_start_matches('-').bytes().all(|x| x.is_ascii_digit());
                let long = || Value::Long(digits.as_bytes().into());
                (is_integer && !digits.is_empty())
                    .then(|| digits.parse().map_or_else(|_| long(), Value::Int))
            }
        };
        match value {
            Some(value) => self.push(value),
            None => Err(self.stream.fault(format!("expected a number, found {:?}", short(text)))),
        }
    }

    fn text(&mut self, count: u64) -> Result<()> {
        let bytes = self.take(count)?;
        match String::from_utf8(bytes) {
            Ok(text) => self.push(Value::Text(text.into())),
            Err(_) => Err(self.stream.fault("text that is not UTF-8")),
        }
    }

    /// Text of Python 2, which may be bytes.
    fn old_text(&mut self, count: u64) -> Result<()> {
        let bytes = self.take(count)?;
        self.push(match String::from_utf8(bytes) {
            Ok(text) => Value::Text(text.into()),
            Err(error) => Value::Bytes(error.as_bytes().len() as u64),
        })
    }

    /// A line of text: quoted, or with `\u` before what is no Latin-1. Others' escapes stay as they are.
    fn text_line(&mut self, opcode: u8) -> Result<()> {
        let line = self.stream.line()?;
        let text = match (opcode, line.as_slice()) {
            (b'V', text) => text,
            (_, [b'\'', text @ .., b'\''] | [b'"', text @ .., b'"']) => text,
            _ => return Err(self.stream.fault("expected quoted text")),
        };
        let text: String = text.iter().map(|&byte| char::from(byte)).collect();
        self.push(Value::Text(text.into()))
    }

    fn bytes(&mut self, count: u64) -> Result<()> {
        let bytes = self.take(count)?;
        self.push(Value::Bytes(bytes.len() as u64))
    }

    fn tuple(&mut self, count: usize) -> Result<()> {
        let mut items = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
        items.reverse();
        self.push(Value::Tuple(items))
    }

    fn extend_list(&mut self, items: Vec<Id>) -> Result<()> {
        let list = self.top()?;
        self.values.charge(members(items.len()))?;
        match self.values.get_mut(list) {
            Value::List(list) | Value::Object(_, list) => list.extend(items),
            _ => return Err(self.takes_none("items", list)),
        }
        Ok(())
    }

    fn extend_dict(&mut self, items: Vec<Id>) -> Result<()> {
        let dict = self.top()?;
        self.values.charge(members(items.len()))?;
        let (pairs, []) = items.as_chunks::<2>() else {
            return Err(self.stream.fault("a key without a value"));
        };
        match self.values.get_mut(dict) {
            Value::Dict(dict) => dict.extend(pairs.iter().map(|&[key, value]| (key, value))),
            Value::Object(_, parts) => parts.extend(items),
            _ => return Err(self.takes_none("entries", dict)),
        }
        Ok(())
    }

    fn takes_none(&self, what: &str, id: Id) -> Error {
        let value = self.values.describe(id);
        self.stream.fault(format!("{what} for {value}, which takes none"))
    }

    fn index_line(&mut self) -> Result<u64> {
        let line = self.stream.line()?;
        let index = std::str::from_utf8(&line).ok().and_then(|text| text.trim().parse().ok());
        index.ok_or_else(|| self.stream.fault("expected a number"))
    }

    fn remember(&mut self, index: u64) -> Result<()> {
        let top = self.top()?;
        if self.memo.len() == self.memo.capacity() {
            // It takes twice as many from now on, and while they move half as many more.
            self.charge(self.memo.capacity().max(8) * MEMO)?;
            self.memo.reserve(1);
        }
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, index: u64) -> Result<()> {
        match self.memo.get(&index) {
            Some(&value) => self.put(value),
            None => Err(self.stream.fault(format!("nothing was kept as number {index}"))),
        }
    }

    fn global_lines(&mut self) -> Result<Id> {
        let (module, name) = (self.stream.line()?, self.stream.line()?);
        let (module, name) = (String::from_utf8_lossy(&module), String::from_utf8_lossy(&name));
        call::global(self.values, &module, &name)
    }

    fn global_on_stack(&mut self) -> Result<()> {
        let (name, module) = (self.pop()?, self.pop()?);
        let (Some(module), Some(name)) = (self.values.text(module), self.values.text(name)) else {
            return Err(self.stream.fault("a name that is no text"));
        };
        let (module, name) = (module.to_string(), name.to_string());
        let global = call::global(self.values, &module, &name)?;
        self.put(global)
    }

    fn call(&mut self, callee: Id, args: Id) -> Result<()> {
        let made = call::call(self.values, callee, args, self.skip_unknown)?;
        self.put(made)
    }

    fn call_with(&mut self, callee: Id, args: Vec<Id>) -> Result<()> {
        let args = self.values.add(Value::Tuple(args))?;
        self.call(callee, args)
    }

    /// Gives the value on top attributes.
    fn build(&mut self, state: Id) -> Result<()> {
        let top = self.top()?;
        match self.values.get_mut(top) {
            Value::Object(_, parts) => {
                parts.push(state);
                self.values.charge(members(1))
            }
            Value::Dict(_) | Value::Tensor(_) | Value::Unstorable(_) => {
                self.values.set_state(top, state)
            }
            _ => Err(self.takes_none("attributes", top)),
        }
    }
}
