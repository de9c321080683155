//! Asking the process that holds the data.
//!
//! The holder listens on `control.sock` in the data directory, mode 0600. A conversation is one request and the answers
//! to it, as JSON lines ([`wire`]). What it was asked for goes on if the one who asked goes away.

mod client;
mod server;
mod socket;
mod wire;

pub(super) use client::{Conversation, Heard, Unanswered};
pub(super) use server::{Answer, Server};
pub(super) use wire::Call;

#[cfg(test)]
mod tests;
