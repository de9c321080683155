//! What goes wrong with PostgreSQL, and which [`StoreError`] that is. The one place where this is decided.
//!
//! | what happened | SQLSTATE | becomes | what to do about it |
//! |---|---|---|---|
//! | no connection, or it broke | 08xxx, I/O | `Unavailable` | nothing: it is tried again; see to it that the server runs and can be reached |
//! | too many connections | 53300 | `Unavailable` | raise `max_connections`, or make pools smaller |
//! | the server stops, starts, crashed or fails over | 57P01, 57P02, 57P03, 57P05 | `Unavailable` | nothing |
//! | a statement took too long, or was cancelled | 57014, 55P03 | `Unavailable` | look for what blocks it; raise the timeout |
//! | deadlock, serialization failure | 40xxx | `Unavailable` | nothing: it was tried a few times already |
//! | out of memory, a limit of the server's | 53xxx, 54xxx | `Unavailable` | give the server more |
//! | disk full | 53100 | `Full` | make room |
//! | read-only server or session | 25006 | `ReadOnly` | give the primary's address; pass while a failover is under way |
//! | wrong credentials, no such database, missing permission | 28xxx, 3D000, 42501 | `Denied` | correct the address, or grant |
//! | the tables are not there, or not as they were made | 42xxx, 3F000 | `Corrupt` | restore them, or name the right schema |
//! | the server found its data damaged | XX001, XX002 | `Corrupt` | restore the server from a backup |
//! | an answer that makes no sense | 22xxx, 23xxx, decoding | `Corrupt` | report it |
//! | an internal error of the server | XX000, 58xxx | `Unavailable` | read the server's log |

use std::error::Error as _;
use std::io;

use saga_core::store::StoreError;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

/// Turns an error of the client into one of a store.
pub(crate) fn classify(error: Error) -> StoreError {
    let Some(told) = error.as_db_error() else { return classify_local(error) };
    let code = told.code().code().to_owned();
    let message = format!("{} (SQLSTATE {code})", told.message());
    match &code[..] {
        "53100" => StoreError::Full { message },
        "25006" => StoreError::ReadOnly { message },
        "3D000" | "42501" => StoreError::Denied { message },
        "42P01" | "3F000" => StoreError::Corrupt {
            what: format!(
                "its tables are not there: {message}. Were they dropped, or is the schema's name another one?"
            ),
        },
        "XX001" | "XX002" => StoreError::Corrupt { what: format!("the server found its data damaged: {message}") },
        _ => match &code[..2] {
            "28" => StoreError::Denied { message },
            "22" | "23" | "42" => StoreError::Corrupt { what: format!("the server refuses a statement: {message}") },
            _ => unavailable(message, error),
        },
    }
}

/// An error that the server did not tell: of the network, of TLS, or of the protocol.
fn classify_local(error: Error) -> StoreError {
    let text = error.to_string();
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    match io {
        // So it is told that of all hosts the last one takes no writes; a socket that may not be used has a number.
        Some(io) if io.kind() == io::ErrorKind::PermissionDenied && io.raw_os_error().is_none() => {
            StoreError::ReadOnly { message: "no server of this address takes writes".into() }
        }
        // The certificate, or the other end speaks no TLS that we do.
        Some(io) if io.kind() == io::ErrorKind::InvalidData && text.contains("TLS") => {
            StoreError::Denied { message: chain(&error) }
        }
        Some(_) => unavailable(chain(&error), error),
        None if error.is_closed() => unavailable("the connection was closed".into(), error),
        // The client's words for what the address asks for and the server does not do, or what the address lacks.
        None if ["error performing TLS", "authentication", "invalid configuration"]
            .iter()
            .any(|it| text.starts_with(it)) =>
        {
            StoreError::Denied { message: chain(&error) }
        }
        None if ["timeout", "unexpected message", "error parsing"].iter().any(|it| text.starts_with(it)) => {
            unavailable(chain(&error), error)
        }
        None => StoreError::Corrupt { what: format!("the server's answer makes no sense: {}", chain(&error)) },
    }
}

fn unavailable(message: String, error: Error) -> StoreError {
    StoreError::Unavailable { message, source: Some(Box::new(error)) }
}

/// A call that had no answer in time.
pub(crate) fn timed_out(what: &str, after: std::time::Duration) -> StoreError {
    StoreError::Unavailable { message: format!("{what} within {after:?}"), source: None }
}

/// An error with all that it came from.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let told = error.to_string();
        if !text.ends_with(&told) {
            text = format!("{text}: {told}");
        }
        source = error.source();
    }
    text
}

/// The SQLSTATE that a store's error came from, where it was kept.
fn state(error: &StoreError) -> Option<&SqlState> {
    let StoreError::Unavailable { source: Some(source), .. } = error else { return None };
    source.downcast_ref::<Error>()?.code()
}

/// Whether a connection that told this is of no more use: the server takes no writes any more, or its prepared statements
/// are gone or out of date.
pub(crate) fn spoils_connection(error: &StoreError) -> bool {
    let stale = [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::FEATURE_NOT_SUPPORTED];
    matches!(error, StoreError::ReadOnly { .. }) || state(error).is_some_and(|code| stale.contains(code))
}

/// Whether a lock was not to be had in the time that the session gave it.
pub(crate) fn is_locked(error: &StoreError) -> bool {
    state(error) == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

/// Whether the server gave up on a transaction for the sake of another one. Nothing of it was done; to try it again is
/// of use.
pub(crate) fn is_conflict(error: &StoreError) -> bool {
    matches!(state(error), Some(code) if *code == SqlState::T_R_DEADLOCK_DETECTED || *code == SqlState::T_R_SERIALIZATION_FAILURE)
}
