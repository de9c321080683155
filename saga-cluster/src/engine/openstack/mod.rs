//! Machines of an OpenStack cloud.
//!
//! [`CloudConfig`] says which cloud and how to get in, [`Session`] logs in and makes calls.

mod call;
mod config;
mod failure;
mod secret;
mod session;
mod tls;
mod token;

pub use config::{CloudConfig, ConfigError};
pub use session::Session;
