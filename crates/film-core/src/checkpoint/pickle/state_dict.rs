//! Values → which of them are the weights, and what else stands beside them.

use std::collections::HashSet;

use super::value::{Id, TensorRef, Value, Values};
use super::{Skipped, stands_twice};
use crate::checkpoint::names::MAX_NAME;
use crate::error::{Error, Result};
use crate::short::{Short, short};

/// Dicts further from the root than this are not looked into.
const MAX_DEPTH: usize = 64;
/// Dicts by longer keys are not, either.
const MAX_STEP: usize = 1000;
/// The memory for a name among those that were met: an entry of a hash table that is being enlarged, and one of a list.
const NAME: usize = 80;
/// At most this many entries beside the weights are listed one by one, …
const MAX_SKIPPED: usize = 1000;
/// … with at most about this many characters of each key.
const MAX_KEY: usize = 100;
/// Entries of a state dict that may be dicts and hold no weights: what a module's `get_extra_state` gave.
const EXTRA_STATE: &str = "_extra_state";

/// The dict that holds the weights.
#[derive(Debug)]
pub(super) struct StateDict {
    /// The dicts from the root to it, each with the key by which the next one stands in it.
    above: Vec<(Id, Id)>,
    dict: Id,
}

/// A dict on the way to all that can be reached by text keys.
struct Place {
    dict: Id,
    /// The place that it stands in, and its key there.
    above: Option<(usize, Id)>,
    depth: usize,
}

/// What the dict without a key is called.
const ROOT: &str = "(root)";

impl StateDict {
    /// Finds the weights: the dict at `key`, or the one state dict there is.
    ///
    /// A state dict is a dict with tensors under text keys, one of which has axes: a loss or a step is no weight.
    /// Among several, the only one with the key `state_dict` is it.
    pub(super) fn find(values: &Values, root: Id, key: Option<&str>) -> Result<Self> {
        let places = places(values, root)?;
        let with = |test: fn(&Values, Id) -> bool| -> Vec<usize> {
            let holds = |&place: &usize| has_named(values, places[place].dict, test);
            (0..places.len()).filter(holds).collect()
        };
        let all = with(Values::is_tensor);
        if let Some(key) = key {
            let key = if key == ROOT { "" } else { key };
            return match all.iter().find(|&&place| keys(values, &places, place).join(".") == key) {
                Some(&place) => Ok(Self::at(&places, place)),
                None => Err(Error::Selection(format!(
                    "holds no state dict at {key:?}; found: {}",
                    listed(&all, values, &places)
                ))),
            };
        }
        let with_axes = with(Values::is_tensor_with_axes);
        let found = if with_axes.is_empty() { all } else { with_axes };
        let is_lightning = |&place: &usize| {
            places[place].above.is_some_and(|(_, key)| values.text(key) == Some("state_dict"))
        };
        let lightning: Vec<usize> = found.iter().copied().filter(is_lightning).collect();
        match (found.as_slice(), lightning.as_slice()) {
            (&[place], _) | (_, &[place]) => Ok(Self::at(&places, place)),
            ([], _) => {
                let found = values.describe(root);
                let text = "holds no state dict, that is a dict of tensors by name, but";
                let advice = match values.get(root) {
                    Value::Object(..) => "; of a module save its state_dict()",
                    _ => "",
                };
                Err(Error::Selection(format!("{text} {found}{advice}")))
            }
            _ => Err(Error::Selection(format!(
                "holds {} state dicts: {}: choose one by its key",
                found.len(),
                listed(&found, values, &places)
            ))),
        }
    }

    fn at(places: &[Place], place: usize) -> Self {
        let (mut above, mut at) = (Vec::new(), place);
        while let Some((parent, key)) = places[at].above {
            above.push((places[parent].dict, key));
            at = parent;
        }
        above.reverse();
        Self { above, dict: places[place].dict }
    }

    /// Its key, or those that lead to it, joined by dots; empty for the root.
    pub(super) fn key(&self, values: &Values) -> String {
        let keys: Vec<&str> = self.above.iter().filter_map(|&(_, key)| values.text(key)).collect();
        keys.join(".")
    }

    /// The numbers of its tensors, by their names and in the file's order.
    fn weights<'a>(&self, values: &'a Values) -> impl Iterator<Item = (&'a str, Id)> {
        let named = |&(key, value): &(Id, Id)| Some((values.text(key)?, value));
        pairs(values, self.dict).iter().filter_map(named).filter(|&(_, id)| values.is_tensor(id))
    }

    /// Its tensors, by their names and in the file's order.
    ///
    /// # Errors
    /// If one of them cannot be stored, a name is too long, or two are the same.
    pub(super) fn tensors<'a>(&self, values: &'a Values) -> Result<Vec<(&'a str, &'a TensorRef)>> {
        values.afford(pairs(values, self.dict).len() * NAME)?;
        let (mut tensors, mut names) = (Vec::new(), HashSet::new());
        for (name, id) in self.weights(values) {
            if name.len() > MAX_NAME {
                let expected = format!("a name of at most {MAX_NAME} bytes");
                let bytes = name.len().to_string();
                return Err(Error::tensor(short(name).to_string(), expected, bytes));
            }
            // Found before anything is made of the name: it may be long, and stand there a million times.
            if !names.insert(name) {
                return Err(stands_twice(name));
            }
            match values.get(id) {
                Value::Tensor(tensor) => tensors.push((name, &**tensor)),
                _ => {
                    let found = values.describe(id);
                    return Err(Error::tensor(name, "a tensor that safetensors can hold", found));
                }
            }
        }
        Ok(tensors)
    }

    /// What stands beside the weights, from the root on, and last the tensors to which no key leads.
    pub(super) fn skipped(&self, values: &Values) -> Vec<Skipped> {
        let mut skipped = Vec::new();
        // The weights and what leads to them are counted already.
        let mut seen = values.unseen();
        let mut counted = self.weights(values).filter(|&(_, id)| seen.insert(id)).count();
        for dict in self.above.iter().map(|&(dict, _)| dict).chain([self.dict]) {
            seen.insert(dict);
        }
        let (mut path, mut more) = (String::new(), Skipped::default());
        let mut unlisted = 0;
        let levels = self.above.iter().map(|&(dict, key)| (dict, values.text(key)));
        for (dict, next) in levels.chain([(self.dict, None)]) {
            for &(key, value) in pairs(values, dict) {
                let text = values.text(key);
                let is_weight = next.is_none() && text.is_some() && values.is_tensor(value);
                if is_weight || (next.is_some() && text == next) {
                    continue;
                }
                let below = values.tensors_below(value, &mut seen);
                counted += below;
                if skipped.len() == MAX_SKIPPED {
                    unlisted += 1;
                    more.tensors += below;
                    continue;
                }
                let key = text.map_or_else(|| values.describe(key), brief);
                let path = format!("{path}{key}");
                skipped.push(Skipped { path, what: values.describe(value), tensors: below });
            }
            path = next.map(|next| format!("{path}{}.", brief(next))).unwrap_or_default();
        }
        if unlisted > 0 {
            let (path, what) = ("…".into(), format!("{unlisted} more entries"));
            skipped.push(Skipped { path, what, ..more });
        }
        let elsewhere = values.tensors().saturating_sub(counted);
        if elsewhere > 0 {
            let what = "tensors that stand under no key".into();
            skipped.push(Skipped { path: "(elsewhere)".into(), what, tensors: elsewhere });
        }
        skipped
    }
}

/// A key that may be of any length, in few characters.
fn brief(key: &str) -> String {
    Short::within(key, MAX_KEY).to_string()
}

/// All dicts that text keys lead to from the root, each once.
fn places(values: &Values, root: Id) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    if matches!(values.get(root), Value::Dict(_)) {
        places.push(Place { dict: root, above: None, depth: 0 });
    }
    let mut seen = values.unseen();
    seen.insert(root);
    let mut next = 0;
    while next < places.len() {
        if places[next].depth == MAX_DEPTH {
            break;
        }
        for &(key, value) in pairs(values, places[next].dict) {
            if let (Some(text), Value::Dict(_)) = (values.text(key), values.get(value))
                && text.len() <= MAX_STEP
                && !text.ends_with(EXTRA_STATE)
                && seen.insert(value)
            {
                // Twice: numbers of places are noted beside them.
                values.afford(places.len() * 2 * size_of::<Place>())?;
                let above = Some((next, key));
                places.push(Place { dict: value, above, depth: places[next].depth + 1 });
            }
        }
        next += 1;
    }
    Ok(places)
}

fn pairs(values: &Values, dict: Id) -> &[(Id, Id)] {
    match values.get(dict) {
        Value::Dict(pairs) => pairs,
        _ => &[],
    }
}

/// Whether such a value stands in a dict under a text key.
fn has_named(values: &Values, dict: Id, test: fn(&Values, Id) -> bool) -> bool {
    pairs(values, dict)
        .iter()
        .any(|&(key, value)| values.text(key).is_some() && test(values, value))
}

/// The keys that lead to a place.
fn keys<'a>(values: &'a Values, places: &[Place], place: usize) -> Vec<&'a str> {
    let (mut keys, mut at) = (Vec::new(), place);
    while let Some((parent, key)) = places[at].above {
        keys.extend(values.text(key));
        at = parent;
    }
    keys.reverse();
    keys
}

/// State dicts that were found, in a line.
fn listed(found: &[usize], values: &Values, places: &[Place]) -> String {
    let one = |&place: &usize| {
        let path = keys(values, places, place).join(".");
        let path = if path.is_empty() { ROOT.into() } else { path };
        let pairs = pairs(values, places[place].dict).iter();
        match pairs.filter(|&&(_, value)| values.is_tensor(value)).count() {
            1 => format!("{path} (1 tensor)"),
            count => format!("{path} ({count} tensors)"),
        }
    };
    let mut all: Vec<String> = found.iter().take(8).map(one).collect();
    if found.len() > 8 {
        all.push("…".into());
    }
    if all.is_empty() { "none".into() } else { all.join(", ") }
}
