//! The command, run as its users run it: as a process, in a directory of its own.

#[path = "cli/support.rs"]
mod support;

#[path = "cli/basics.rs"]
mod basics;
#[path = "cli/demo.rs"]
mod demo;
#[path = "cli/engine.rs"]
mod engine;
#[path = "cli/error.rs"]
mod error;
#[path = "cli/interrupted.rs"]
mod interrupted;
#[path = "cli/mistakes.rs"]
mod mistakes;
#[path = "cli/moving.rs"]
mod moving;
#[cfg(feature = "redis")]
#[path = "cli/redis.rs"]
mod redis;
#[path = "cli/two.rs"]
mod two;
#[path = "cli/workers.rs"]
mod workers;
