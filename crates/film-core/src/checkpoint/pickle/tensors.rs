//! The functions by which PyTorch makes tensors again, as arguments → tensors.
//!
//! Their names and arguments are those of `torch/_utils.py` and `torch/_tensor.py`.

use super::globals::{Element, dtype};
use super::value::{Id, StorageRef, TensorRef, Value, Values};
use crate::error::{Error, Result};

/// More axes than any tensor has.
const MAX_RANK: usize = 64;

/// The tensor that `function` makes of `args`, or `None` if it makes no tensors.
pub(super) fn rebuild(values: &mut Values, function: &str, args: Id) -> Result<Option<Id>> {
    let (mut function, mut args) = (function.to_string(), args);
    // A tensor with attributes, or of a subclass: the function that made it, the class, that one's arguments.
    while function == "torch._tensor._rebuild_from_type_v2" {
        let [inner, class, inner_args] = arguments(values, &function, args)?;
        let (Value::Global(inner), Value::Global(class)) = (values.get(inner), values.get(class))
        else {
            return Err(wrong(&function, "a function and a class", "something else"));
        };
        if !matches!(
            &**class,
            "torch.Tensor" | "torch.nn.parameter.Parameter" | "torch.nn.parameter.Buffer"
        ) {
            let what = format!("a tensor of the subclass {class}");
            return values.add(Value::Unstorable(what.into())).map(Some);
        }
        (function, args) = (inner.to_string(), inner_args);
    }
    let unstorable = match function.as_str() {
        "torch._utils._rebuild_tensor"
        | "torch._utils._rebuild_tensor_v2"
        | "torch._utils._rebuild_tensor_v3" => {
            let tensor = strided(values, &function, args)?;
            return values.add(tensor).map(Some);
        }
        "torch._utils._rebuild_parameter"
        | "torch._utils._rebuild_parameter_with_state"
        | "torch.nn.parameter.Parameter"
        | "torch.nn.parameter.Buffer" => {
            let [tensor] = arguments(values, &function, args)?;
            return match values.get(tensor) {
                Value::Tensor(_) | Value::Unstorable(_) => Ok(Some(tensor)),
                _ => Err(wrong(&function, "a tensor", &values.describe(tensor))),
            };
        }
        "torch._utils._rebuild_qtensor" => "a quantized tensor",
        "torch._utils._rebuild_sparse_tensor" | "torch._utils._rebuild_sparse_csr_tensor" => {
            "a sparse tensor"
        }
        "torch._utils._rebuild_nested_tensor" => "a nested tensor",
        "torch._utils._rebuild_meta_tensor_no_storage" => "a tensor without data, on device meta",
        "torch._utils._rebuild_wrapper_subclass" => "a tensor of a wrapping subclass",
        "torch._utils._rebuild_device_tensor_from_numpy"
        | "torch._utils._rebuild_device_tensor_from_cpu_tensor"
        | "torch._utils._rebuild_xla_tensor" => "a tensor of a device without storages",
        _ => return Ok(None),
    };
    values.add(Value::Unstorable(unstorable.into())).map(Some)
}

fn wrong(function: &str, expected: &str, found: &str) -> Error {
    Error::Format(format!("malformed pickle: {function}: expected {expected}, found {found}"))
}

/// The first arguments of a call.
fn arguments<const N: usize>(values: &Values, function: &str, args: Id) -> Result<[Id; N]> {
    let args = values.sequence(args).unwrap_or_default();
    args.first_chunk()
        .copied()
        .ok_or_else(|| wrong(function, &format!("at least {N} arguments"), &args.len().to_string()))
}

/// A tensor by its storage, offset, size and strides.
fn strided(values: &Values, function: &str, args: Id) -> Result<Value> {
    let [storage, offset, size, stride] = arguments(values, function, args)?;
    let Value::Storage(storage) = values.get(storage) else {
        return Err(wrong(function, "a storage", &values.describe(storage)));
    };
    let rest = &values.sequence(args).unwrap_or_default()[4..];
    // requires_grad, hooks, then the dtype of an untyped storage, then what else is true of the tensor.
    let (element, metadata) = match (function, rest) {
        ("torch._utils._rebuild_tensor_v3", [_, _, dtype, metadata @ ..]) => {
            (element(values, function, *dtype)?, metadata.first())
        }
        ("torch._utils._rebuild_tensor_v3", _) => {
            return Err(wrong(function, "a dtype", "too few arguments"));
        }
        (_, rest) => (storage.element, rest.get(2)),
    };
    let unstorable = |what: String| Ok(Value::Unstorable(what.into()));
    if metadata.is_some_and(|&metadata| is_lazy(values, metadata)) {
        return unstorable("a lazily conjugated or negated tensor".into());
    }
    let Some(dtype) = element.dtype else {
        return unstorable(format!("a tensor of {}", element.name));
    };
    let (size, stride) = (integers(values, function, size)?, integers(values, function, stride)?);
    let offset = match values.get(offset) {
        Value::Int(offset) => *offset,
        _ => return Err(wrong(function, "an offset", &values.describe(offset))),
    };
    if size.len() != stride.len() {
        return unstorable(format!("a tensor of size {size:?} with strides {stride:?}"));
    }
    let Some((shape, strides, end)) = extent(&size, &stride, offset) else {
        return unstorable(format!(
            "a tensor of size {size:?} with strides {stride:?} at offset {offset}"
        ));
    };
    let StorageRef { bytes, .. } = **storage;
    if end.checked_mul(element.bytes).is_none_or(|end| end > bytes) {
        return unstorable(format!(
            "a tensor of size {size:?} with strides {stride:?} at offset {offset}, beyond its storage of \
             {bytes} bytes"
        ));
    }
    let storage = StorageRef { element, ..(**storage).clone() };
    let offset = offset as u64;
    Ok(Value::Tensor(Box::new(TensorRef { storage, dtype, shape, strides, offset })))
}

fn element(values: &Values, function: &str, id: Id) -> Result<&'static Element> {
    let known = match values.get(id) {
        Value::Global(name) => dtype(name),
        _ => None,
    };
    known.ok_or_else(|| wrong(function, "a dtype", &values.describe(id)))
}

/// The integers of a tuple.
fn integers(values: &Values, function: &str, id: Id) -> Result<Vec<i64>> {
    let items = values.sequence(id).filter(|items| items.len() <= MAX_RANK);
    let items = items.ok_or_else(|| {
        wrong(function, &format!("at most {MAX_RANK} sizes"), &values.describe(id))
    })?;
    let integer = |&id| match values.get(id) {
        Value::Int(value) => Ok(*value),
        _ => Err(wrong(function, "an integer", &values.describe(id))),
    };
    items.iter().map(integer).collect()
}

/// Shape and strides as they may be, and how many elements of the storage they reach.
fn extent(size: &[i64], stride: &[i64], offset: i64) -> Option<(Vec<usize>, Vec<usize>, u64)> {
    let natural = |values: &[i64]| -> Option<Vec<usize>> {
        values.iter().map(|&value| usize::try_from(value).ok()).collect()
    };
    let (shape, strides) = (natural(size)?, natural(stride)?);
    let offset = u64::try_from(offset).ok()?;
    // Eight bytes an element at most.
    shape.iter().try_fold(8usize, |bytes, &size| bytes.checked_mul(size))?;
    if shape.contains(&0) {
        return Some((shape, strides, 0));
    }
    let mut last = offset;
    for (&size, &stride) in shape.iter().zip(&strides) {
        last = last.checked_add((size as u64 - 1).checked_mul(stride as u64)?)?;
    }
    Some((shape, strides, last.checked_add(1)?))
}

/// Whether a tensor's metadata say that its numbers are yet to be conjugated or negated.
fn is_lazy(values: &Values, metadata: Id) -> bool {
    match values.get(metadata) {
        Value::Dict(pairs) => {
            pairs.iter().any(|&(_, flag)| !matches!(values.get(flag), Value::Bool(false)))
        }
        _ => false,
    }
}
