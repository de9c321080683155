//! What a group's settings mean to Nova, understood without asking anybody.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use crate::engine::EngineError;
use crate::model::{ClusterSpec, NodeGroup, Settings};

/// The port of a node's address, unless the settings say another: that of SSH.
const USUAL_PORT: u16 = 22;
/// The keys of metadata that say which address of a server is its node's.
const PORT: &str = "sc-port";
const NETWORK: &str = "sc-network";
/// The longest `user_data`, in bytes before encoding: Nova takes 65 535 after it.
const MOST_USER_DATA: usize = 49_149;

/// The names of the settings that there are.
pub(super) const KNOWN: &[&str] = &[
    "flavor",
    "image",
    "key_name",
    "networks",
    "address_network",
    "security_groups",
    "server_group",
    "availability_zone",
    "metadata",
    "user_data",
    "port",
];

/// A server as the settings of its group describe it, its parts by name or id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) flavor: String,
    pub(super) image: String,
    pub(super) key_name: Option<String>,
    pub(super) networks: Networks,
    /// The network whose address is the node's.
    pub(super) address_network: Option<String>,
    pub(super) security_groups: Vec<String>,
    pub(super) server_group: Option<String>,
    pub(super) availability_zone: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) user_data: Option<String>,
    pub(super) port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Networks {
    /// Whatever the project has.
    Auto,
    Nothing,
    These(Vec<String>),
}

impl Described {
    /// Understands the settings of each group of a spec.
    ///
    /// # Errors
    /// [`EngineError`] (rejected), with everything that is wrong, one a line.
    pub(super) fn all(spec: &ClusterSpec) -> Result<Vec<(&NodeGroup, Self)>, EngineError> {
        let (mut described, mut problems) = (Vec::new(), Vec::new());
        for group in &spec.groups {
            match Self::read(&spec.settings_of(group)) {
                Ok(one) => described.push((group, one)),
                Err(wrong) => problems.extend(wrong.iter().map(|one| format!("group `{}`: {one}", group.name))),
            }
        }
        if problems.is_empty() { Ok(described) } else { Err(EngineError::rejected(problems.join("\n"))) }
    }

    /// Understands settings. Names that it does not know may be the plugin's.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(super) fn read(settings: &Settings) -> Result<Self, Vec<String>> {
        let mut reader = Reader { settings, problems: Vec::new() };
        let described = Self {
            flavor: reader.needed("flavor"),
            image: reader.needed("image"),
            key_name: reader.text("key_name"),
            networks: reader.networks(),
            address_network: reader.text("address_network"),
            security_groups: reader.texts("security_groups"),
            server_group: reader.text("server_group"),
            availability_zone: reader.text("availability_zone"),
            metadata: reader.metadata(),
            user_data: reader.text("user_data"),
            port: reader.port(),
        };
        if described.user_data.as_ref().is_some_and(|data| data.len() > MOST_USER_DATA) {
            reader.problems.push(format!("`user_data` is longer than {MOST_USER_DATA} bytes"));
        }
        if let (Networks::These(networks), Some(chosen)) = (&described.networks, &described.address_network)
            && !networks.contains(chosen)
        {
            reader.problems.push(format!("`address_network` is `{chosen}`, which is not among `networks`"));
        }
        if reader.problems.is_empty() { Ok(described) } else { Err(reader.problems) }
    }
}

struct Reader<'a> {
    settings: &'a Settings,
    problems: Vec<String>,
}

impl Reader<'_> {
    fn needed(&mut self, key: &str) -> String {
        if !self.settings.contains_key(key) {
            self.problems.push(format!("`{key}` is missing"));
        }
        self.text(key).unwrap_or_default()
    }

    fn text(&mut self, key: &str) -> Option<String> {
        match self.settings.get(key)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            _ => {
                self.problems.push(format!("`{key}` should be text, and not empty"));
                None
            }
        }
    }

    fn texts(&mut self, key: &str) -> Vec<String> {
        let Some(value) = self.settings.get(key) else { return Vec::new() };
        let texts: Option<Vec<String>> =
            value.as_array().and_then(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect());
        texts.filter(|texts| texts.iter().all(|text| !text.is_empty())).unwrap_or_else(|| {
            self.problems.push(format!("`{key}` should be a list of names"));
            Vec::new()
        })
    }

    fn networks(&mut self) -> Networks {
        match self.settings.get("networks") {
            None => Networks::Auto,
            Some(Value::String(word)) if word == "auto" => Networks::Auto,
            Some(Value::String(word)) if word == "none" => Networks::Nothing,
            Some(Value::Array(items)) if !items.is_empty() => Networks::These(self.texts("networks")),
            Some(_) => {
                self.problems.push("`networks` should be `auto`, `none` or a list of names".to_owned());
                Networks::Auto
            }
        }
    }

    fn metadata(&mut self) -> BTreeMap<String, String> {
        let Some(value) = self.settings.get("metadata") else { return BTreeMap::new() };
        let pairs = value.as_object().and_then(|pairs| {
            pairs.iter().map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect::<Option<_>>()
        });
        pairs.unwrap_or_else(|| {
            self.problems.push("`metadata` should be a table of texts".to_owned());
            BTreeMap::new()
        })
    }

    fn port(&mut self) -> u16 {
        let Some(value) = self.settings.get("port") else { return USUAL_PORT };
        value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0).unwrap_or_else(|| {
            self.problems.push("`port` should be a number from 1 to 65535".to_owned());
            USUAL_PORT
        })
    }
}

impl Described {
    /// What the server keeps for whoever asks it for its address later, who does not know the settings.
    pub(super) fn kept(&self) -> BTreeMap<String, String> {
        let mut kept = self.metadata.clone();
        kept.insert(PORT.to_owned(), self.port.to_string());
        kept.extend(self.address_network.clone().map(|network| (NETWORK.to_owned(), network)));
        kept
    }
}

/// The address among those of a server that its node has: of the chosen network, or of the first by name; IPv4 before IPv6;
/// a floating one before a fixed one. What was chosen is in its metadata.
pub(super) fn address(
    addresses: &BTreeMap<String, Vec<NetAddress>>,
    metadata: &BTreeMap<String, String>,
) -> Option<SocketAddr> {
    let chosen = metadata.get(NETWORK);
    let networks = addresses.iter().filter(|(name, _)| chosen.is_none_or(|chosen| chosen == *name));
    let all = networks.flat_map(|(_, addresses)| addresses);
    let rank = |one: &&NetAddress| (one.addr.is_ipv6(), one.kind.as_deref() != Some("floating"));
    // The first of equals: `min_by_key` keeps it.
    let ip = all.min_by_key(rank)?.addr;
    let port = metadata.get(PORT).and_then(|port| port.parse().ok()).unwrap_or(USUAL_PORT);
    Some(SocketAddr::new(ip, port))
}

/// An address of a server.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub(super) struct NetAddress {
    addr: IpAddr,
    #[serde(rename = "OS-EXT-IPS:type")]
    kind: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(value: Value) -> Settings {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn little_is_needed() {
        let described = Described::read(&settings(json!({ "flavor": "small", "image": "tiny" }))).unwrap();
        assert_eq!((described.networks, described.port), (Networks::Auto, 22));
        let none = json!({ "flavor": "small", "image": "tiny", "networks": "none", "port": 80 });
        let described = Described::read(&settings(none)).unwrap();
        assert_eq!((described.networks, described.port), (Networks::Nothing, 80));
    }

    #[test]
    fn every_mistake_is_told() {
        let wrong = json!({
            "image": 7, "networks": [], "security_groups": "a", "metadata": { "a": 1 }, "port": 0,
            "user_data": "x".repeat(50_000),
        });
        let problems = Described::read(&settings(wrong)).unwrap_err();
        for key in ["`flavor` is missing", "image", "networks", "security_groups", "metadata", "port", "user_data"] {
            assert!(problems.iter().any(|problem| problem.contains(key)), "{key}: {problems:?}");
        }
        assert_eq!(problems.len(), 7);
    }

    #[test]
    fn the_address_is_that_of_the_chosen_network() {
        let addresses = json!({
            "a": [
                { "addr": "fd00::1", "OS-EXT-IPS:type": "fixed" },
                { "addr": "10.0.0.1", "OS-EXT-IPS:type": "fixed" },
                { "addr": "192.0.2.1", "OS-EXT-IPS:type": "floating" },
            ],
            "b": [{ "addr": "fd00::2" }],
        });
        let addresses = serde_json::from_value(addresses).unwrap();
        let chosen = |network: Option<&str>| {
            let mut wanted = json!({ "flavor": "small", "image": "tiny", "port": 80 });
            if let Some(network) = network {
                wanted["address_network"] = network.into();
            }
            let kept = Described::read(&settings(wanted)).unwrap().kept();
            address(&addresses, &kept).map(|address| address.to_string())
        };
        assert_eq!(chosen(None).as_deref(), Some("192.0.2.1:80"));
        assert_eq!(chosen(Some("b")).as_deref(), Some("[fd00::2]:80"));
        assert_eq!(chosen(Some("c")), None);
        assert_eq!(address(&addresses, &BTreeMap::new()).unwrap().port(), 22);
    }
}
