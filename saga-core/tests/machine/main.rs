//! The recovery machine, held against the rules of the design (section 3).
//!
//! - `properties` are sentences that hold for every run of every saga in every world: random ones are tried.
//! - `transcripts` tell the rules as examples, one journal each.
//! - `journals` are damaged, or were written under other policies.
//! - `plans` are made from parts, right ones and wrong ones.
//! - `told` is what a state tells of its run.
//! - `cost` is that of an event: its step's degree, not the saga's size.

#![allow(unreachable_pub, reason = "everything is private to a test")]

mod cost;
mod journals;
mod plans;
mod properties;
mod support;
mod told;
mod transcripts;
