//! A record as it is kept: JSON, with the number of its format.

use serde::{Deserialize, Serialize};

use super::RepositoryError;
use crate::model::Cluster;

const FORMAT: u32 = 1;

#[derive(Serialize)]
struct Envelope<'a> {
    format: u32,
    cluster: &'a Cluster,
}

/// Puts a record in writing.
pub(super) fn encode(cluster: &Cluster) -> Result<Vec<u8>, RepositoryError> {
    let envelope = Envelope { format: FORMAT, cluster };
    serde_json::to_vec(&envelope).map_err(|error| RepositoryError::store("encoding a record", error))
}

/// Reads the record of that name.
pub(super) fn decode(name: &str, bytes: &[u8]) -> Result<Cluster, RepositoryError> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    #[derive(Deserialize)]
    struct Opened {
        cluster: Cluster,
    }
    let unreadable = |source| RepositoryError::Unreadable { name: name.to_owned(), source };
    let Format { format } = serde_json::from_slice(bytes).map_err(|error| unreadable(error.into()))?;
    if format != FORMAT {
        return Err(unreadable(format!("it has format {format}, and this build knows {FORMAT}").into()));
    }
    let Opened { cluster } = serde_json::from_slice(bytes).map_err(|error| unreadable(error.into()))?;
    if cluster.name().as_str() != name {
        return Err(unreadable(format!("it is the record of `{}`", cluster.name()).into()));
    }
    Ok(cluster)
}
