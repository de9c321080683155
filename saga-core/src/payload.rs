//! What sagas carry: JSON values whose text is kept as it was written.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::scratch;

/// An input, output or checkpoint as JSON text.
///
/// Payloads stay JSON in the journal, so that they can be read in ten years without the types that wrote them. Cloning
/// one is cheap.
#[derive(Clone)]
pub struct Payload(Arc<str>);

/// A value that cannot be turned into JSON, or JSON that is not of the expected type.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct PayloadError {
    what: &'static str,
    source: serde_json::Error,
}

impl Payload {
    /// Encodes a value.
    ///
    /// # Errors
    ///
    /// [`PayloadError`] if the value has no JSON form, such as a map whose keys are not strings.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, PayloadError> {
        scratch::with(|text| {
            serde_json::to_writer(&mut *text, value)?;
            str::from_utf8(text).map(Self::of).map_err(serde::ser::Error::custom)
        })
        .map_err(|source| PayloadError { what: "the value cannot be encoded as JSON", source })
    }

    /// Decodes a value.
    ///
    /// # Errors
    ///
    /// [`PayloadError`] if the text is not of the type's form; the type has probably changed since it was written.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        serde_json::from_str(self.as_json())
            .map_err(|source| PayloadError { what: "the JSON does not decode into the expected type", source })
    }

    /// Takes JSON text as it stands.
    ///
    /// # Errors
    ///
    /// [`PayloadError`] if the text is not one JSON value.
    pub fn from_json(text: impl Into<String>) -> Result<Self, PayloadError> {
        RawValue::from_string(text.into())
            .map(|raw| Self::of(raw.get()))
            .map_err(|source| PayloadError { what: "the text is not JSON", source })
    }

    /// The JSON `null`, which is what `()` encodes to.
    #[must_use]
    pub fn null() -> Self {
        static NULL: LazyLock<Payload> = LazyLock::new(|| Payload::of("null"));
        NULL.clone()
    }

    /// The JSON array of the given values, without decoding them.
    #[must_use]
    pub fn list<'a>(values: impl IntoIterator<Item = &'a Payload>) -> Self {
        let mut list = String::from("[");
        for (at, value) in values.into_iter().enumerate() {
            if at > 0 {
                list.push(',');
            }
            list.push_str(value.as_json());
        }
        list.push(']');
        Self::of(&list)
    }

    /// The elements, if this is a JSON array, without decoding them.
    #[must_use]
    pub fn elements(&self) -> Option<Vec<Payload>> {
        let raw: Vec<&RawValue> = serde_json::from_str(self.as_json()).ok()?;
        Some(raw.into_iter().map(|value| Self::of(value.get())).collect())
    }

    /// The JSON text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// The payload of this text, which is JSON.
    fn of(json: &str) -> Self {
        Self(Arc::from(json))
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
    }
}

impl Eq for Payload {}

impl Hash for Payload {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_json().hash(state);
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_json())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_json())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // What is written in quantities is written without serde; this looks through the text once more.
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|raw| Self::of(raw.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_joined_and_cut_without_decoding() {
        let one = Payload::encode(&1).unwrap();
        let two = Payload::encode("two").unwrap();
        let list = Payload::list([&one, &two]);
        assert_eq!(list.as_json(), r#"[1,"two"]"#);
        assert_eq!(list.elements().unwrap(), vec![one, two]);
        assert_eq!(Payload::list([]).elements().unwrap(), vec![]);
        assert!(Payload::null().elements().is_none());
    }
}
