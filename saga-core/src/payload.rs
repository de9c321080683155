//! What sagas carry: JSON values whose text is kept as it was written.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// An input, output or checkpoint as JSON text.
///
/// Payloads stay JSON in the journal, so that they can be read in ten years without the types that wrote them. Cloning
/// one is cheap.
#[derive(Clone)]
pub struct Payload(Arc<RawValue>);

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
        to_raw_value(value)
            .map(Self::from)
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
            .map(Self::from)
            .map_err(|source| PayloadError { what: "the text is not JSON", source })
    }

    /// The JSON `null`, which is what `()` encodes to.
    #[must_use]
    pub fn null() -> Self {
        static NULL: LazyLock<Payload> = LazyLock::new(|| RawValue::NULL.to_owned().into());
        NULL.clone()
    }

    /// The JSON array of the given values, without decoding them.
    #[must_use]
    pub fn list<'a>(values: impl IntoIterator<Item = &'a Payload>) -> Self {
        let values: Vec<&RawValue> = values.into_iter().map(|value| &*value.0).collect();
        to_raw_value(&values).map_or_else(|_| Self::null(), Self::from)
    }

    /// The elements, if this is a JSON array, without decoding them.
    #[must_use]
    pub fn elements(&self) -> Option<Vec<Payload>> {
        let raw: Vec<Box<RawValue>> = serde_json::from_str(self.as_json()).ok()?;
        Some(raw.into_iter().map(Self::from).collect())
    }

    /// The JSON text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        self.0.get()
    }
}

impl From<Box<RawValue>> for Payload {
    fn from(raw: Box<RawValue>) -> Self {
        Self(raw.into())
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
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self::from)
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
