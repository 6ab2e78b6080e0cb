//! Reading configuration values out of JSON, with errors that name the key and the value.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Unexpected,
    Visitor,
};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

pub(crate) type Object = Map<String, Value>;

const AT_LEAST_1: &str = "an integer of at least 1";

/// Values that an object may hold, those inside others included: they take many times their text in memory.
const MAX_VALUES: usize = 1 << 17;

/// The object that the text is.
pub(crate) fn object(text: &[u8]) -> serde_json::Result<Object> {
    let mut left = MAX_VALUES;
    let mut json = serde_json::Deserializer::from_slice(text);
    let object = json.deserialize_map(Members(&mut left))?;
    json.end()?;
    Ok(object)
}

/// The members of an object, as long as there are values left.
struct Members<'a>(&'a mut usize);

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    /// Text is not repeated in the message: there may be much of it.
    fn visit_str<E: serde::de::Error>(self, _: &str) -> std::result::Result<Object, E> {
        Err(E::invalid_type(Unexpected::Other("string"), &self))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Object, A::Error> {
        let mut object = Object::new();
        while let Some(key) = map.next_key()? {
            object.insert(key, map.next_value_seed(Member(self.0))?);
        }
        Ok(object)
    }
}

/// Any value, as long as there are some left.
struct Member<'a>(&'a mut usize);

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<Value, D::Error> {
        *self.0 = self.0.checked_sub(1).ok_or_else(|| {
            D::Error::custom(format_args!("it holds more than {MAX_VALUES} values"))
        })?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Member(self.0))? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Value, A::Error> {
        Members(self.0).visit_map(map).map(Value::Object)
    }
}

/// What stands at `key`; null counts as nothing.
fn value<'a>(json: &'a Object, key: &str) -> Option<&'a Value> {
    json.get(key).filter(|value| !value.is_null())
}

/// Whether something stands at `key`.
pub(crate) fn given(json: &Object, key: &str) -> bool {
    value(json, key).is_some()
}

/// The size at `key`, or `None` where the key is missing.
pub(crate) fn size(json: &Object, key: &str) -> Result<Option<usize>> {
    let Some(value) = value(json, key) else { return Ok(None) };
    as_size(value).map(Some).ok_or_else(|| Error::config(key, AT_LEAST_1, value))
}

/// The size at `key`, which must be there.
pub(crate) fn required_size(json: &Object, key: &str) -> Result<usize> {
    let nothing = if json.contains_key(key) { "null" } else { "nothing: the key is missing" };
    size(json, key)?.ok_or_else(|| Error::config(key, AT_LEAST_1, nothing))
}

/// One size for every axis, or a list of them.
pub(crate) fn sizes(json: &Object, key: &str, axes: usize) -> Result<Option<Vec<usize>>> {
    let Some(value) = value(json, key) else { return Ok(None) };
    let sizes = match value {
        Value::Array(values) => values.iter().map(as_size).collect(),
        one => as_size(one).map(|size| vec![size; axes]),
    };
    let expected =
        || Error::config(key, format!("an integer of at least 1, or a list of {axes}"), value);
    sizes.map(Some).ok_or_else(expected)
}

/// The number at `key`, or `None` where the key is missing.
pub(crate) fn number(json: &Object, key: &str) -> Result<Option<f64>> {
    let Some(value) = value(json, key) else { return Ok(None) };
    value.as_f64().map(Some).ok_or_else(|| Error::config(key, "a number", value))
}

/// The flag at `key`, or `None` where the key is missing.
pub(crate) fn flag(json: &Object, key: &str) -> Result<Option<bool>> {
    let Some(value) = value(json, key) else { return Ok(None) };
    value.as_bool().map(Some).ok_or_else(|| Error::config(key, "true or false", value))
}

fn as_size(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|size| usize::try_from(size).ok()).filter(|size| *size >= 1)
}

/// An error unless `value` is at least 1.
pub(crate) fn at_least_1(key: &str, value: usize) -> Result<()> {
    if value == 0 { Err(Error::config(key, AT_LEAST_1, value)) } else { Ok(()) }
}

/// An error unless `value` is finite and not negative.
pub(crate) fn non_negative(key: &str, value: f64) -> Result<f64> {
    if value.is_finite() && value >= 0.0 {
        Ok(value)
    } else {
        Err(Error::config(key, "a finite number of at least 0", value))
    }
}

/// An error unless `value` is finite and above 0.
pub(crate) fn positive(key: &str, value: f64) -> Result<f64> {
    if value.is_finite() && value > 0.0 {
        Ok(value)
    } else {
        Err(Error::config(key, "a finite number above 0", value))
    }
}

/// What is an object in JSON. serde takes an array of a structure's fields for the structure, too.
pub(crate) struct OfObject<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OfObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = OfObject<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                map: A,
            ) -> std::result::Result<OfObject<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(OfObject)
            }
        }

        deserializer.deserialize_map(Fields(PhantomData))
    }
}
