//! Who a server is, as its tags say it.
//!
//! Nova's tags have at most 60 characters, without `/` and `,`. A token may have 100, so it is in two of them. Servers are
//! found by tags from the moment on that Nova has accepted them, and also while Neutron is down.

use crate::model::{ClusterName, NodeName, NodeToken};

const CLUSTER: &str = "sc-cluster:";
const NODE: &str = "sc-node:";
const TOKEN: &str = "sc-token:";
const TOKEN_REST: &str = "sc-token2:";
/// How much of a token is in its first tag, in bytes: tokens are ASCII.
const FIRST_PART: usize = 50;

/// Who a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine::openstack) struct Identity {
    pub(in crate::engine::openstack) cluster: ClusterName,
    pub(in crate::engine::openstack) node: NodeName,
    pub(in crate::engine::openstack) token: NodeToken,
}

impl Identity {
    /// The tags that say it.
    pub(super) fn tags(&self) -> Vec<String> {
        let mut tags = vec![of_cluster(&self.cluster), format!("{NODE}{}", self.node)];
        tags.extend(of_token(&self.token));
        tags
    }

    /// Who a server with these tags is; none if they do not say it.
    pub(super) fn read<'a>(tags: impl Iterator<Item = &'a str>) -> Option<Self> {
        let (mut cluster, mut node, mut first, mut rest) = (None, None, None, "");
        for tag in tags {
            if let Some(name) = tag.strip_prefix(CLUSTER) {
                cluster = name.parse().ok();
            } else if let Some(name) = tag.strip_prefix(NODE) {
                node = name.parse().ok();
            } else if let Some(part) = tag.strip_prefix(TOKEN) {
                first = Some(part);
            } else if let Some(part) = tag.strip_prefix(TOKEN_REST) {
                rest = part;
            }
        }
        Some(Self { cluster: cluster?, node: node?, token: format!("{}{rest}", first?).parse().ok()? })
    }
}

/// The tag of a cluster's servers.
pub(super) fn of_cluster(cluster: &ClusterName) -> String {
    format!("{CLUSTER}{cluster}")
}

/// The tags of the servers with that token. Those of a longer one may have them too.
pub(super) fn of_token(token: &NodeToken) -> Vec<String> {
    let (first, rest) = token.as_str().split_at(FIRST_PART.min(token.as_str().len()));
    let mut tags = vec![format!("{TOKEN}{first}")];
    if !rest.is_empty() {
        tags.push(format!("{TOKEN_REST}{rest}"));
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GroupName;

    #[test]
    fn the_longest_identity_fits_and_is_read_back() {
        let node = NodeName::new(GroupName::new("g".repeat(40)).unwrap(), u32::MAX);
        let cluster = ClusterName::new("c".repeat(40)).unwrap();
        for token in [NodeToken::derive(&node, "key"), "t".repeat(100).parse().unwrap(), "t".parse().unwrap()] {
            let identity = Identity { cluster: cluster.clone(), node: node.clone(), token };
            let tags = identity.tags();
            assert!(tags.iter().all(|tag| tag.len() <= 60 && !tag.contains(['/', ','])), "{tags:?}");
            assert_eq!(Identity::read(tags.iter().rev().map(String::as_str)), Some(identity));
        }
    }

    #[test]
    fn other_tags_are_nobodys() {
        assert_eq!(Identity::read(["blue", "sc-cluster:demo", "sc-node:w-1"].into_iter()), None);
    }
}
