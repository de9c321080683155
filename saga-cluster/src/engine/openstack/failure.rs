//! How a call to OpenStack fails, and what that says about its effect.

use std::time::Duration;

use thiserror::Error;

use crate::engine::EngineError;
use crate::failure::{BoxError, FailureKind};

/// A call that did not succeed. No message holds a secret or a token.
#[derive(Debug, Error)]
pub(crate) enum CallError {
    /// No cloud is configured, or not so that it could be used: there is nobody to send anything to.
    #[error("{0}")]
    NoCloud(String),
    /// No connection came about: the request was never sent.
    #[error("{url} cannot be reached")]
    Unreachable { url: String, source: BoxError },
    /// The request may have arrived; there is no answer, or only a part of one.
    #[error("{what}: no answer from {url}")]
    NoAnswer { what: String, url: String, source: BoxError },
    /// The answer was no.
    #[error("{what}: {status} {message}{}", asked_to_wait(*.retry_after))]
    Refused { what: String, status: u16, message: String, retry_after: Option<Duration> },
    /// Keystone does not let us in, or a service does not take what Keystone gave.
    #[error("login refused ({origin}): {message}")]
    Login { origin: String, message: String },
    /// The catalog has no endpoint for it.
    #[error("{0}")]
    NoEndpoint(String),
    /// An answer that makes no sense.
    #[error("{what}: the answer of {url} makes no sense: {why}")]
    Garbled { what: String, url: String, why: String },
}

fn asked_to_wait(retry_after: Option<Duration>) -> String {
    retry_after.map(|wait| format!(" (asked to wait {} s)", wait.as_secs())).unwrap_or_default()
}

impl CallError {
    /// The status of an answer that was no.
    pub(crate) fn status(&self) -> Option<u16> {
        if let Self::Refused { status, .. } = self { Some(*status) } else { None }
    }

    /// What it means for a call that was to change something.
    ///
    /// | what happened | kind |
    /// |---|---|
    /// | 400, 403, 404, 405, 406, 413, 422: the request is refused as it stands | rejected |
    /// | no cloud, login refused, no such service | rejected |
    /// | 401, 409, 429, 5xx, anything else: another time it may do | failed |
    /// | no connection, no answer, an answer that makes no sense | failed |
    pub(crate) fn kind(&self) -> FailureKind {
        match self {
            Self::NoCloud(_) | Self::Login { .. } | Self::NoEndpoint(_) => FailureKind::Rejected,
            Self::Refused { status: 400 | 403..=406 | 413 | 422, .. } => FailureKind::Rejected,
            _ => FailureKind::Failed,
        }
    }

    /// Nothing can have come of the call: it was never sent, or it was turned away before anything was done.
    pub(crate) fn had_no_effect(&self) -> bool {
        match self {
            Self::NoCloud(_) | Self::Unreachable { .. } | Self::Login { .. } | Self::NoEndpoint(_) => true,
            Self::Refused { status, .. } => (400..500).contains(status) && *status != 408,
            Self::NoAnswer { .. } | Self::Garbled { .. } => false,
        }
    }

    /// As the error of an engine, of the kind that it has for a change.
    pub(crate) fn into_engine(self, doing: &str) -> EngineError {
        let error = match self.kind() {
            FailureKind::Failed => EngineError::failed(doing),
            FailureKind::Fatal => EngineError::fatal(doing),
            FailureKind::Rejected => EngineError::rejected(doing),
        };
        error.because(self)
    }

    /// As the error of an engine that asked, or cleared away: whatever it was, it may do another time.
    pub(crate) fn into_failed(self, doing: &str) -> EngineError {
        EngineError::failed(doing).because(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16) -> CallError {
        CallError::Refused { what: "x".into(), status, message: String::new(), retry_after: None }
    }

    #[test]
    fn each_status_has_its_kind() {
        for status in [400, 403, 404, 405, 406, 413, 422] {
            assert_eq!(refused(status).kind(), FailureKind::Rejected, "{status}");
            assert!(refused(status).had_no_effect());
        }
        for status in [401, 408, 409, 429, 500, 502, 503, 504, 302] {
            assert_eq!(refused(status).kind(), FailureKind::Failed, "{status}");
        }
        for status in [408, 500, 503] {
            assert!(!refused(status).had_no_effect(), "{status}");
        }
    }

    #[test]
    fn what_was_never_sent_had_no_effect() {
        let source = || std::io::Error::other("reset").into();
        assert!(CallError::Unreachable { url: "u".into(), source: source() }.had_no_effect());
        assert!(!CallError::NoAnswer { what: "w".into(), url: "u".into(), source: source() }.had_no_effect());
    }
}
