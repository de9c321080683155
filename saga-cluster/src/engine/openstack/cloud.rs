//! The cloud that a session is for, which need not be known before the session is used.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::config::CloudConfig;
use super::failure::CallError;
use super::tls;

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// A cloud, and what its services are called with.
#[derive(Debug)]
pub(super) struct Cloud {
    pub(super) config: CloudConfig,
    pub(super) http: reqwest::Client,
}

impl Cloud {
    /// # Errors
    /// What is wrong with the certificates to trust.
    pub(super) fn new(config: CloudConfig) -> Result<Self, String> {
        let refused = |error: String| format!("{} cannot be used: {error}", config.origin());
        let tls = tls::client_config(config.ca_file.as_deref()).map_err(refused)?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT_WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("saga-cluster/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| refused(error.to_string()))?;
        Ok(Self { config, http })
    }
}

/// A cloud that is given, or that the environment names.
#[derive(Debug, Default)]
pub(super) struct Lazy(Mutex<Option<Arc<Cloud>>>);

impl Lazy {
    pub(super) fn given(cloud: Cloud) -> Self {
        Self(Mutex::new(Some(Arc::new(cloud))))
    }

    /// The cloud, found now if it was not before. What is in its way is looked at again the next time, so that a process
    /// that lives long sees when it was mended.
    ///
    /// # Errors
    /// [`CallError::NoCloud`].
    pub(super) fn get(&self) -> Result<Arc<Cloud>, CallError> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cloud) = &*held {
            return Ok(Arc::clone(cloud));
        }
        let config = CloudConfig::find().map_err(|error| CallError::NoCloud(error.to_string()))?;
        let cloud = Arc::new(Cloud::new(config).map_err(CallError::NoCloud)?);
        Ok(Arc::clone(held.insert(cloud)))
    }
}
