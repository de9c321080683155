//! One request to one service, and its answer.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::failure::CallError;

/// A service of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Service {
    /// Nova.
    Compute,
    /// Glance.
    Image,
    /// Neutron.
    Network,
    /// Heat.
    #[allow(dead_code)] // Its engine comes next.
    Orchestration,
}

impl Service {
    /// Its type in the catalog.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Image => "image",
            Self::Network => "network",
            Self::Orchestration => "orchestration",
        }
    }

    /// Where the paths of its calls begin. Some catalogs name a version of Glance or Neutron, some do not: the paths do.
    pub(crate) fn root(self, endpoint: &str) -> &str {
        let endpoint = endpoint.trim_end_matches('/');
        match self {
            Self::Compute | Self::Orchestration => endpoint,
            Self::Image | Self::Network => match endpoint.rsplit_once('/') {
                Some((root, last)) if is_version(last) => root,
                _ => endpoint,
            },
        }
    }
}

fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// A request, of a path relative to the service's endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(super) method: Method,
    pub(super) service: Service,
    pub(super) path: String,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
    pub(super) within: Option<Duration>,
}

impl Call {
    /// A call of that method. The path begins with a slash; its segments are the caller's to encode ([`segment`]).
    pub(crate) fn new(method: Method, service: Service, path: impl Into<String>) -> Self {
        let path = path.into();
        Self { method, service, path, query: Vec::new(), headers: Vec::new(), body: None, within: None }
    }

    pub(crate) fn get(service: Service, path: impl Into<String>) -> Self {
        Self::new(Method::GET, service, path)
    }

    pub(crate) fn post(service: Service, path: impl Into<String>, body: Value) -> Self {
        Self { body: Some(body), ..Self::new(Method::POST, service, path) }
    }

    pub(crate) fn delete(service: Service, path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, service, path)
    }

    #[must_use]
    pub(crate) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    #[must_use]
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// How long an answer may take, instead of the usual time.
    #[must_use]
    #[allow(dead_code)] // The stack engine's.
    pub(crate) fn within(mut self, limit: Duration) -> Self {
        self.within = Some(limit);
        self
    }

    pub(crate) fn service(&self) -> Service {
        self.service
    }

    /// What it is, for errors: the method and the path.
    pub(crate) fn what(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Sent twice, it comes to the same as sent once.
    pub(super) fn is_idempotent(&self) -> bool {
        self.method != Method::POST && self.method != Method::PATCH
    }
}

/// What is not unreserved in a URL.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A segment of a path, encoded.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// The query of a URL, with its question mark; nothing if there is none.
pub(super) fn query_string(query: &[(&'static str, String)]) -> String {
    let pair = |(name, value): &(&str, String)| format!("{name}={}", segment(value));
    let pairs: Vec<_> = query.iter().map(pair).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

/// An answer that is not an error.
#[derive(Debug)]
pub(crate) struct Answer {
    #[allow(dead_code)] // The stack engine's.
    pub(crate) status: u16,
    #[allow(dead_code)] // Read by whoever needs a location or a request's id.
    pub(crate) headers: HeaderMap,
    /// `Null` if it was empty.
    pub(crate) body: Value,
    pub(super) what: String,
    pub(super) url: String,
}

impl Answer {
    /// The body as that type.
    ///
    /// # Errors
    /// [`CallError::Garbled`].
    pub(crate) fn read<T: DeserializeOwned>(self) -> Result<T, CallError> {
        let Self { body, what, url, .. } = self;
        serde_json::from_value(body).map_err(|error| CallError::Garbled { what, url, why: error.to_string() })
    }

    /// What is under a key of the body.
    ///
    /// # Errors
    /// [`CallError::Garbled`], if it is not there or is of another type.
    pub(crate) fn read_at<T: DeserializeOwned>(mut self, key: &str) -> Result<T, CallError> {
        match self.body.get_mut(key).map(Value::take) {
            Some(value) => Self { body: value, ..self }.read(),
            None => {
                let why = format!("it has no `{key}`");
                Err(CallError::Garbled { what: self.what, url: self.url, why })
            }
        }
    }
}

/// What an answer with an error says. Each service has its own way of saying it.
pub(super) fn message_of(status: u16, body: &str) -> String {
    let json: Option<Value> = serde_json::from_str(body).ok();
    let said = json.as_ref().and_then(find_message).map(|text| text.trim().to_owned());
    let said =
        said.unwrap_or_else(|| if body.trim_start().starts_with('<') { String::new() } else { body.trim().to_owned() });
    match shortened(&said) {
        said if said.is_empty() => usual_reason(status).to_owned(),
        said => said,
    }
}

/// Errors of OpenStack are an object in an object, `{"forbidden": {"message": ...}}`, or Heat's, which has both.
fn find_message(value: &Value) -> Option<&str> {
    let object = value.as_object()?;
    let of_inner = object.values().find_map(|inner| inner.as_object()?.get("message")?.as_str());
    of_inner.or_else(|| object.get("message")?.as_str())
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 500;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= LONGEST { text } else { text.chars().take(LONGEST).chain("...".chars()).collect() }
}

fn usual_reason(status: u16) -> &'static str {
    reqwest::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("error")
}

/// How long the server asks to be left alone. Only seconds are understood; a date counts as nothing said.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(reqwest::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_its_way_to_say_no() {
        for (body, said) in [
            (r#"{"forbidden": {"code": 403, "message": "Quota exceeded"}}"#, "Quota exceeded"),
            (
                r#"{"error": {"code": 401, "message": "The request\n you have made", "title": "U"}}"#,
                "The request you have made",
            ),
            (
                r#"{"code": 409, "error": {"message": "The Stack (x) exists.", "type": "E"}, "title": "Conflict"}"#,
                "The Stack (x) exists.",
            ),
            (r#"{"NeutronError": {"message": "No net", "type": "NetworkNotFound"}}"#, "No net"),
            ("<html><body>nginx</body></html>", "Forbidden"),
            ("", "Forbidden"),
            ("plain words", "plain words"),
        ] {
            assert_eq!(message_of(403, body), said);
        }
        assert!(message_of(500, &"x".repeat(10_000)).len() < 600);
    }

    #[test]
    fn a_version_in_an_endpoint_is_left_out_where_paths_have_it() {
        assert_eq!(Service::Image.root("http://h:9292/v2/"), "http://h:9292");
        assert_eq!(Service::Network.root("http://h/network/v2.0"), "http://h/network");
        assert_eq!(Service::Network.root("http://h:9696"), "http://h:9696");
        assert_eq!(Service::Compute.root("http://h/v2.1/"), "http://h/v2.1");
    }

    #[test]
    fn paths_and_queries_are_encoded() {
        assert_eq!(segment("a b/ü"), "a%20b%2F%C3%BC");
        assert_eq!(query_string(&[("tags", "a:b,c".into()), ("x", "y".into())]), "?tags=a%3Ab%2Cc&x=y");
        assert_eq!(query_string(&[]), "");
    }

    #[test]
    fn retry_after_is_in_seconds() {
        let headers = |value: &str| HeaderMap::from_iter([(reqwest::header::RETRY_AFTER, value.parse().unwrap())]);
        assert_eq!(retry_after(&headers("7")), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(&headers("Wed, 21 Oct 2026 07:28:00 GMT")), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
