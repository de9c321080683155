//! Machines of an OpenStack cloud.
//!
//! [`CloudConfig`] says which cloud and how to get in, [`Session`] logs in and makes calls,
//! [`NovaEngine`] makes each machine a server of Nova, and [`HeatEngine`] makes each cluster a stack of Heat.

mod call;
mod cloud;
mod config;
mod failure;
mod heat;
mod nova;
mod secret;
mod session;
mod tls;
mod token;

pub use config::{CloudConfig, ConfigError};
pub use heat::HeatEngine;
pub use nova::NovaEngine;
pub use session::Session;
