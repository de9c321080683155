//! One node: its name in the cluster, its token at the engine, its address.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::label::{GroupName, InvalidName};
use super::spec::Settings;

/// The name of a node: its group and an ordinal that is never given twice in one cluster, such as `workers-3`.
///
/// Nodes sort by group and then by number, so `workers-10` comes after `workers-9`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName {
    group: GroupName,
    ordinal: u32,
}

impl NodeName {
    /// The name of the node with that ordinal in that group.
    pub fn new(group: GroupName, ordinal: u32) -> Self {
        Self { group, ordinal }
    }

    /// The group that the node belongs to.
    pub fn group(&self) -> &GroupName {
        &self.group
    }

    /// Its number in the group.
    pub fn ordinal(&self) -> u32 {
        self.ordinal
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}-{}", self.group, self.ordinal))
    }
}

impl FromStr for NodeName {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let refused = || InvalidName::NotANode { name: name.to_owned() };
        let (group, number) = name.rsplit_once('-').ok_or_else(refused)?;
        let ordinal = number.parse().map_err(|_| refused())?;
        let parsed = Self::new(GroupName::new(group)?, ordinal);
        // `workers-007` and `workers-+7` parse as numbers too, but one node must have one spelling.
        if parsed.to_string() == name { Ok(parsed) } else { Err(refused()) }
    }
}

impl TryFrom<String> for NodeName {
    type Error = InvalidName;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.to_string()
    }
}

/// The longest token, in characters: a node's longest name and a digest of the key.
pub const MAX_TOKEN_LENGTH: usize = 100;

/// Not a token. The caller should make one with [`NodeToken::derive`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{token}` is no token: 1 to 100 characters of a-z, A-Z, 0-9, `.`, `_` and `-`, the first a letter or a digit")]
pub struct InvalidToken {
    /// What was refused.
    pub token: String,
}

/// The engine-side identity of one machine: the idempotency token under which it is made, and the tag by which it is
/// found again after a crash. Safe in a path and on a command line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeToken(String);

impl NodeToken {
    /// Takes a token as it is, for example one read back from an engine.
    ///
    /// # Errors
    /// [`InvalidToken`], if it is too long or holds characters that are not safe in a path.
    pub fn new(token: impl Into<String>) -> Result<Self, InvalidToken> {
        let token = token.into();
        let plain = token.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        let begins = token.starts_with(|c: char| c.is_ascii_alphanumeric());
        if plain && begins && token.len() <= MAX_TOKEN_LENGTH { Ok(Self(token)) } else { Err(InvalidToken { token }) }
    }

    /// The token of the machine that is made for `name` under an idempotency key. The same name and key give the same
    /// token for ever, so a second attempt finds what a crashed one made.
    pub fn derive(name: &NodeName, key: &str) -> Self {
        Self(format!("{name}.{:032x}", fnv1a_128(key.as_bytes())))
    }

    /// The token as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// FNV-1a, 128 bits wide. The standard hasher may change between releases, and a token must outlive them.
fn fnv1a_128(bytes: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

impl fmt::Display for NodeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for NodeToken {
    type Err = InvalidToken;

    fn from_str(token: &str) -> Result<Self, Self::Err> {
        Self::new(token)
    }
}

impl TryFrom<String> for NodeToken {
    type Error = InvalidToken;

    fn try_from(token: String) -> Result<Self, Self::Error> {
        Self::new(token)
    }
}

impl From<NodeToken> for String {
    fn from(token: NodeToken) -> Self {
        token.0
    }
}

/// A node of a cluster: a machine that was made, and was ready then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name in the cluster.
    pub name: NodeName,
    /// Its identity at the engine.
    pub token: NodeToken,
    /// Where it answers; none if nothing does, as on a server without a network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
}

impl Node {
    /// The group that it belongs to.
    pub fn group(&self) -> &GroupName {
        self.name.group()
    }

    /// Where to reach it, for whoever cannot do without.
    ///
    /// # Errors
    /// [`NoAddress`], which no other attempt will change: choose an engine, or settings, that give machines a network.
    pub fn reach(&self) -> Result<SocketAddr, NoAddress> {
        self.address.ok_or_else(|| NoAddress(self.name.clone()))
    }
}

/// A node has no address at which it could be asked for anything.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0} has no address: its machine has no network")]
pub struct NoAddress(pub NodeName);

/// A node that is planned, but not made yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewNode {
    /// The name that it will have.
    pub name: NodeName,
    /// The settings of its group, for the engine.
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    pub settings: Settings,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_name_has_one_spelling() {
        let name: NodeName = "data-nodes-12".parse().unwrap();
        assert_eq!((name.group().as_str(), name.ordinal()), ("data-nodes", 12));
        assert_eq!(name.to_string(), "data-nodes-12");
        for wrong in ["data", "data-", "-1", "data-01", "data-+1", "data-x", "data-99999999999"] {
            assert!(wrong.parse::<NodeName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn nodes_sort_by_number() {
        let nine: NodeName = "w-9".parse().unwrap();
        let ten: NodeName = "w-10".parse().unwrap();
        assert!(nine < ten);
    }

    #[test]
    fn a_token_follows_from_name_and_key_alone() {
        let name: NodeName = "w-1".parse().unwrap();
        let token = NodeToken::derive(&name, "run/create/0");
        // Pinned: a token made by an older release must be found by this one.
        assert_eq!(token.as_str(), format!("w-1.{:032x}", fnv1a_128(b"run/create/0")));
        assert_eq!(format!("{:032x}", fnv1a_128(b"")), "6c62272e07bb014262b821756295c58d");
        assert_eq!(format!("{:032x}", fnv1a_128(b"a")), "d228cb696f1a8caf78912b704e4a8964");
        assert_ne!(token, NodeToken::derive(&name, "run/create/1"));
        assert_eq!(NodeToken::new(token.to_string()).unwrap(), token);
    }

    #[test]
    fn the_longest_derived_token_is_a_token() {
        let group = GroupName::new("g".repeat(40)).unwrap();
        let token = NodeToken::derive(&NodeName::new(group, u32::MAX), "key");
        assert!(NodeToken::new(token.to_string()).is_ok());
    }

    #[test]
    fn unsafe_tokens_are_refused() {
        for wrong in ["", ".", "..", "a/b", "a b", "-x", "a@b"] {
            assert!(NodeToken::new(wrong).is_err(), "{wrong}");
        }
    }
}
