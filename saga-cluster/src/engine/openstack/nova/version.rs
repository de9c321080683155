//! Which microversion of Nova is spoken.

use serde::Deserialize;

use crate::engine::openstack::Session;
use crate::engine::openstack::call::Service;
use crate::engine::openstack::failure::CallError;

/// The oldest that will do: tags in the request that creates a server. The newest that this was written for: a later one
/// may answer otherwise.
const OLDEST: Version = Version(2, 52);
const NEWEST: Version = Version(2, 96);

/// A microversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

impl Version {
    fn read(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

#[derive(Debug, Deserialize)]
struct Offer {
    #[serde(default)]
    version: String,
    #[serde(default)]
    min_version: String,
}

/// The microversion to use with this cloud.
///
/// # Errors
/// [`CallError`]; [`CallError::NoEndpoint`], if the cloud is too old, or too new.
pub(super) async fn negotiate(session: &Session) -> Result<String, CallError> {
    let endpoint = session.endpoint(Service::Compute).await?;
    let url = root(&endpoint);
    let offer: Offer = session.ask_anyone(&url).await?.read_at("version")?;
    choose(&offer).map_err(CallError::NoEndpoint)
}

/// The document of the API's version. Older catalogs have the project's id behind it.
fn root(endpoint: &str) -> String {
    let end = endpoint.find("/v2.1").or_else(|| endpoint.find("/v2/")).map(|at| {
        let rest = &endpoint[at + 1..];
        at + 1 + rest.find('/').unwrap_or(rest.len())
    });
    format!("{}/", endpoint[..end.unwrap_or(endpoint.len())].trim_end_matches('/'))
}

fn choose(offer: &Offer) -> Result<String, String> {
    let newest = Version::read(&offer.version).unwrap_or(Version(2, 0)).min(NEWEST);
    let oldest = Version::read(&offer.min_version).unwrap_or(Version(2, 0)).max(OLDEST);
    if newest < oldest {
        let Version(major, minor) = OLDEST;
        let said = if offer.version.is_empty() { "none" } else { &offer.version };
        return Err(format!("Nova is too old: microversion {major}.{minor} is needed, and it has up to {said}"));
    }
    Ok(format!("{}.{}", newest.0, newest.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_that_both_know_is_chosen() {
        let chosen = |version: &str, min: &str| choose(&Offer { version: version.into(), min_version: min.into() });
        assert_eq!(chosen("2.96", "2.1").unwrap(), "2.96");
        assert_eq!(chosen("2.120", "2.1").unwrap(), "2.96");
        assert_eq!(chosen("2.60", "2.1").unwrap(), "2.60");
        for old in ["2.51", "2.9", ""] {
            assert!(chosen(old, "2.1").unwrap_err().contains("2.52 is needed"), "{old}");
        }
    }

    #[test]
    fn the_document_is_where_the_version_is() {
        assert_eq!(root("http://h:8774/v2.1"), "http://h:8774/v2.1/");
        assert_eq!(root("http://h/compute/v2.1/0123abc"), "http://h/compute/v2.1/");
        assert_eq!(root("http://h/compute"), "http://h/compute/");
    }
}
