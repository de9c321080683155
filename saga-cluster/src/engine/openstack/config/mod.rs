//! Which cloud, and how to get in: from `clouds.yaml` and the variables `OS_*`, as every OpenStack client reads them.
//!
//! | set | what is used |
//! |---|---|
//! | `OS_CLOUD` | that cloud of `clouds.yaml` |
//! | `OS_AUTH_URL`, no `OS_CLOUD` | the variables `OS_*` alone |
//! | neither | the only cloud of `clouds.yaml` |
//!
//! `clouds.yaml` is the file that `OS_CLIENT_CONFIG_FILE` names, or the first that is found in the current directory,
//! `~/.config/openstack` and `/etc/openstack`; a `secure.yaml` beside it is laid over it. With a cloud of the file, the
//! variables `OS_PASSWORD`, `OS_APPLICATION_CREDENTIAL_SECRET`, `OS_REGION_NAME`, `OS_INTERFACE` and `OS_CACERT` still have
//! the last word.

mod error;
mod read;
mod yaml;

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::secret::Secret;

pub use error::ConfigError;

/// A cloud and the way into it. Its `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct CloudConfig {
    /// Where Keystone is: ends in `/v3`.
    pub(crate) auth_url: String,
    pub(crate) login: Login,
    /// The region whose endpoints are used; none where there is only one.
    pub(crate) region: Option<String>,
    pub(crate) interface: Interface,
    /// Certificates to trust beside those of the system.
    pub(crate) ca_file: Option<PathBuf>,
    /// Endpoints that are used instead of those of the catalog, by type of service.
    pub(crate) endpoints: BTreeMap<String, String>,
    /// Where all this was found.
    pub(crate) origin: String,
}

impl CloudConfig {
    /// The cloud that the environment of this process and the usual files name.
    ///
    /// # Errors
    /// [`ConfigError`], which says what is missing and where it was looked for.
    pub fn find() -> Result<Self, ConfigError> {
        read::find(&Surroundings::of_this_process())
    }

    /// Where it was found, in words.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The cloud whose Keystone is there, with an application credential and nothing else said.
    #[cfg(test)]
    pub(crate) fn of_test(keystone: &str) -> Self {
        let credential = Credential::Id("me".into());
        Self {
            auth_url: format!("{keystone}/v3"),
            login: Login::ApplicationCredential { credential, secret: Secret::new("hush") },
            region: None,
            interface: Interface::Public,
            ca_file: None,
            endpoints: BTreeMap::new(),
            origin: "a test".into(),
        }
    }
}

/// How to get in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Login {
    Password { user: User, password: Secret, project: Project },
    ApplicationCredential { credential: Credential, secret: Secret },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum User {
    Id(String),
    Name(String, Domain),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Project {
    Id(String),
    Name(String, Domain),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    Id(String),
    Name(String, User),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Domain {
    Id(String),
    Name(String),
}

/// Which of a service's endpoints is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interface {
    Public,
    Internal,
    Admin,
}

impl Interface {
    /// Its name in the catalog.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Admin => "admin",
        }
    }
}

/// What the search for a cloud looks at.
#[derive(Debug, Clone, Default)]
struct Surroundings {
    /// The environment: variables that are set to nothing are not in it.
    variables: BTreeMap<String, String>,
    /// Where `clouds.yaml` may be, in this order.
    directories: Vec<PathBuf>,
}

impl Surroundings {
    fn of_this_process() -> Self {
        let set =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let variables: BTreeMap<_, _> =
            set.filter(|(name, value)| name.starts_with("OS_") && !value.is_empty()).collect();
        let mut directories = vec![PathBuf::from(".")];
        directories.extend(directories::BaseDirs::new().map(|dirs| dirs.config_dir().join("openstack")));
        directories.push("/etc/openstack".into());
        Self { variables, directories }
    }
}
