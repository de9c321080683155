//! What a real cloud answered: the files of `recorded`, which [`record`](super::record) writes.

use std::path::Path;

use serde_json::Value;
use wiremock::ResponseTemplate;

use super::COMPUTE;

/// An answer.
pub(super) struct Recorded {
    status: u16,
    pub(super) body: Value,
}

/// The answer of that name, with its links as they are.
pub(super) fn recorded(name: &str) -> Recorded {
    recorded_of(name, "http:/")
}

/// The answer of that name, as if all services were on that server, each under a path of its own.
pub(super) fn recorded_of(name: &str, uri: &str) -> Recorded {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine/openstack/nova/tests/recorded");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    let mut told: Value = serde_json::from_str(&text.replace("http://", &format!("{uri}/"))).unwrap();
    let status = told["status"].as_u64().and_then(|status| status.try_into().ok()).unwrap();
    Recorded { status, body: told["body"].take() }
}

impl Recorded {
    /// As the answer of a mock.
    pub(super) fn answer(&self) -> ResponseTemplate {
        let answer = ResponseTemplate::new(self.status);
        if self.body.is_null() { answer } else { answer.set_body_json(&self.body) }
    }
}

/// The server of an answer, with another id, made that many seconds after noon.
pub(super) fn server_of(name: &str, id: &str, second: usize) -> Value {
    let mut server = recorded(name).body["servers"][0].take();
    server["id"] = id.into();
    server["created"] = format!("2026-01-31T12:{:02}:{:02}Z", second / 60, second % 60).into();
    server
}

/// The id of the image that was recorded.
pub(super) fn image() -> String {
    recorded("images").body["images"][0]["id"].as_str().unwrap().to_owned()
}

/// A path of Nova's.
pub(super) fn compute(path: &str) -> String {
    format!("{COMPUTE}{path}")
}
