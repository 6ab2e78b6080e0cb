//! What a pickle calls for: containers and tensors are made, plain data are noted, all else is refused.

use super::globals::{full_name, is_inert, runs_code};
use super::tensors;
use super::value::{Id, Value, Values};
use crate::error::{Error, Result};

/// Longer names are no one's.
const MAX_NAME: usize = 1000;

/// What calling `callee` with a tuple of arguments gives. Nothing is run.
///
/// With `skip_unknown` an unknown class gives an object of which no more than its name is known.
pub(super) fn call(values: &mut Values, callee: Id, args: Id, skip_unknown: bool) -> Result<Id> {
    let Value::Global(name) = values.get(callee) else {
        return Err(wrong("a name to call", &values.describe(callee)));
    };
    let name = name.to_string();
    let first = values.sequence(args).and_then(|args| args.first().copied());
    match (name.as_str(), first) {
        ("collections.OrderedDict" | "builtins.dict", None) => {
            return values.add(Value::Dict(Vec::new()));
        }
        ("collections.OrderedDict" | "builtins.dict", Some(items)) => return dict(values, items),
        // What is counted or made when missing is not of interest.
        ("collections.defaultdict" | "collections.Counter", _) => {
            let dict = values.add(Value::Dict(Vec::new()))?;
            values.set_state(dict, args)?;
            return Ok(dict);
        }
        ("torch.Size" | "builtins.list" | "builtins.set" | "builtins.frozenset", items) => {
            return match items {
                None => values.add(Value::List(Vec::new())),
                Some(items) if values.sequence(items).is_some() => Ok(items),
                Some(other) => Err(wrong(&format!("items of a {name}"), &values.describe(other))),
            };
        }
        // An object of the class that is its first argument, as old protocols make them.
        ("copyreg._reconstructor" | "copyreg.__newobj__", Some(class)) => {
            match values.get(class) {
                Value::Global(name) => check(name, skip_unknown)?,
                _ => return Err(wrong("a class", &values.describe(class))),
            }
            return values.add(Value::Object(class, vec![args]));
        }
        _ => {}
    }
    if let Some(tensor) = tensors::rebuild(values, &name, args)? {
        return Ok(tensor);
    }
    check(&name, skip_unknown)?;
    values.add(Value::Object(callee, vec![args]))
}

fn wrong(expected: &str, found: &str) -> Error {
    Error::Format(format!("malformed pickle: expected {expected}, found {found}"))
}

/// An error unless objects made by calling this are to be passed over.
fn check(name: &str, skip_unknown: bool) -> Result<()> {
    if is_inert(name) || (skip_unknown && !runs_code(name)) {
        return Ok(());
    }
    let text = match runs_code(name) {
        true => format!("calls {name}, which runs code: refused, and nothing was run"),
        false => format!("calls {name}, which is not known to make plain data: nothing was run"),
    };
    Err(Error::Selection(text))
}

/// A dict of the pairs that it is made of.
fn dict(values: &mut Values, items: Id) -> Result<Id> {
    let pair = |&id: &Id| match values.sequence(id) {
        Some(&[key, value]) => Some((key, value)),
        _ => None,
    };
    let pairs: Option<Vec<(Id, Id)>> = match values.get(items) {
        Value::Dict(pairs) => Some(pairs.clone()),
        Value::Tuple(items) | Value::List(items) => items.iter().map(pair).collect(),
        _ => None,
    };
    let pairs = pairs.ok_or_else(|| wrong("pairs of a dict", &values.describe(items)))?;
    values.add(Value::Dict(pairs))
}

/// A storage by its persistent id: `("storage", class, key, location, size, view)`.
pub(super) fn storage(values: &mut Values, id: Id) -> Result<Id> {
    let fault = |found: String| wrong("the id of a storage", &found);
    let parts = values.sequence(id).unwrap_or_default();
    let &[kind, class, key, _location, count, ref view @ ..] = parts else {
        return Err(fault(values.describe(id)));
    };
    match values.text(kind) {
        Some("storage") => {}
        Some("module") => {
            let what = values.describe(class);
            let text = format!("holds a whole module ({what}), not its state_dict()");
            return Err(Error::Selection(text));
        }
        _ => return Err(fault(values.describe(kind))),
    }
    let element = match values.get(class) {
        Value::Global(name) => super::globals::storage_class(name),
        _ => None,
    };
    let element = element.ok_or_else(|| fault(values.describe(class)))?;
    let key = match values.get(key) {
        Value::Text(key) if key.len() <= MAX_NAME => key.to_string(),
        Value::Int(key) => key.to_string(),
        _ => return Err(fault(values.describe(key))),
    };
    // A view of a storage (the legacy format's): its key, where it begins and how long it is.
    let view = view.first().and_then(|&view| values.sequence(view));
    let (start, count) = match view {
        None => (Some(0), natural(values, count)),
        Some(&[_, start, size]) => (natural(values, start), natural(values, size)),
        Some(_) => return Err(fault("a view of it that is none".into())),
    };
    let bytes = |elements: Option<u64>| elements?.checked_mul(element.bytes);
    let (Some(start), Some(bytes)) = (bytes(start), bytes(count)) else {
        return Err(fault("a size that cannot be".into()));
    };
    let storage = values.storage(&key, element.bytes)?;
    let storage = super::value::StorageRef { storage, element, start, bytes };
    values.add(Value::Storage(Box::new(storage)))
}

fn natural(values: &Values, id: Id) -> Option<u64> {
    match values.get(id) {
        Value::Int(value) => u64::try_from(*value).ok(),
        _ => None,
    }
}

/// The name of a function or class.
pub(super) fn global(values: &mut Values, module: &str, name: &str) -> Result<Id> {
    if module.len() + name.len() > MAX_NAME {
        return Err(wrong("a name", &format!("one of {} bytes", module.len() + name.len())));
    }
    values.add(Value::Global(full_name(module, name).into()))
}
