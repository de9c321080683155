//! How an engine fails.

use crate::failure::failure;

failure! {
    /// An engine could not do what it was asked. Its [`kind`](Self::kind) says whether something may have changed and
    /// whether to ask again; the message names the machine.
    EngineError
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;
    use crate::failure::FailureKind;

    #[test]
    fn an_error_keeps_its_kind_and_its_source() {
        let error = EngineError::failed("no answer from w-1").because(std::io::Error::other("reset"));
        assert_eq!(error.kind(), FailureKind::Failed);
        assert_eq!(error.to_string(), "no answer from w-1");
        assert_eq!(error.source().unwrap().to_string(), "reset");
        assert_eq!(EngineError::fatal("x").kind(), FailureKind::Fatal);
        assert_eq!(EngineError::rejected("x").kind(), FailureKind::Rejected);
    }
}
