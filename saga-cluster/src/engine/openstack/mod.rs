//! Machines of an OpenStack cloud.
//!
//! [`CloudConfig`] says which cloud and how to get in, [`Session`] logs in and makes calls,
//! [`NovaEngine`] makes each machine a server of Nova.

mod call;
mod cloud;
mod config;
mod failure;
mod nova;
mod secret;
mod session;
mod tls;
mod token;

pub use config::{CloudConfig, ConfigError};
pub use nova::NovaEngine;
pub use session::Session;
