//! Names of flavors, images, networks and server groups, and their ids.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Nova;
use super::settings::{Described, Networks};
use super::tags::Identity;
use crate::engine::EngineError;
use crate::engine::openstack::call::{Call, Service};
use crate::engine::openstack::failure::CallError;

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Named {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) vcpus: u64,
    /// In MiB.
    #[serde(default)]
    pub(super) ram: u64,
}

/// Something that a setting names.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Flavor,
    Image,
    Network,
    ServerGroup,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Flavor => "flavor",
            Self::Image => "image",
            Self::Network => "network",
            Self::ServerGroup => "server group",
        }
    }

    /// The list of all that have that name, or may have it, and its key.
    fn by_name(self, name: &str) -> (Call, &'static str) {
        match self {
            // Flavors and server groups cannot be asked for by name.
            Self::Flavor => (Call::get(Service::Compute, "/flavors/detail"), "flavors"),
            Self::ServerGroup => (Call::get(Service::Compute, "/os-server-groups"), "server_groups"),
            Self::Image => (Call::get(Service::Image, "/v2/images").query("name", name), "images"),
            Self::Network => (Call::get(Service::Network, "/v2.0/networks").query("name", name), "networks"),
        }
    }

    fn by_id(self, id: &str) -> Call {
        match self {
            Self::Image => Call::get(Service::Image, "/v2/images").query("id", id),
            Self::Network => Call::get(Service::Network, "/v2.0/networks").query("id", id),
            Self::Flavor | Self::ServerGroup => self.by_name(id).0,
        }
    }
}

impl Nova {
    /// What has that id or name. An id goes before a name.
    ///
    /// # Errors
    /// [`EngineError`]: rejected, if there is none or more than one; failed, if it cannot be told.
    pub(super) async fn resolve(&self, kind: Kind, said: &str) -> Result<Named, EngineError> {
        let what = kind.as_str();
        let (by_name, key) = kind.by_name(said);
        let ask = async |call: Call| -> Result<Vec<Named>, CallError> { self.call(call).await?.read_at(key) };
        let unknown = |error: CallError| error.into_failed(&format!("looking for the {what} `{said}`"));
        let mut found = ask(by_name).await.map_err(unknown)?;
        if is_uuid(said) && !matches!(kind, Kind::Flavor | Kind::ServerGroup) {
            found.extend(ask(kind.by_id(said)).await.map_err(unknown)?);
        }
        if let Some(exact) = found.iter().find(|one| one.id == said) {
            return Ok(exact.clone());
        }
        found.retain(|one| one.name == said);
        match &found[..] {
            [one] => Ok(one.clone()),
            [] => Err(EngineError::rejected(format!("there is no {what} `{said}`"))),
            several => {
                let ids: Vec<_> = several.iter().map(|one| one.id.as_str()).collect();
                let message = format!("several {what}s have the name `{said}`: say one of the ids {}", ids.join(", "));
                Err(EngineError::rejected(message))
            }
        }
    }

    /// The request that makes a server.
    pub(super) async fn server_request(&self, identity: &Identity, wanted: &Described) -> Result<Value, EngineError> {
        let networks = match &wanted.networks {
            Networks::Auto => json!("auto"),
            Networks::Nothing => json!("none"),
            Networks::These(names) => {
                let mut networks = Vec::new();
                for name in names {
                    networks.push(json!({ "uuid": self.resolve(Kind::Network, name).await?.id }));
                }
                Value::Array(networks)
            }
        };
        let mut server = json!({
            "name": format!("{}-{}", identity.cluster, identity.node),
            "flavorRef": self.resolve(Kind::Flavor, &wanted.flavor).await?.id,
            "imageRef": self.resolve(Kind::Image, &wanted.image).await?.id,
            "networks": networks,
            "tags": identity.tags(),
        });
        let mut set = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                server[key] = value;
            }
        };
        set("key_name", wanted.key_name.clone().map(Value::String));
        set("availability_zone", wanted.availability_zone.clone().map(Value::String));
        set("user_data", wanted.user_data.as_deref().map(|data| STANDARD.encode(data).into()));
        set("metadata", Some(json!(wanted.kept())));
        let groups: Vec<_> = wanted.security_groups.iter().map(|name| json!({ "name": name })).collect();
        set("security_groups", (!groups.is_empty()).then_some(Value::Array(groups)));
        let mut request = json!({ "server": server });
        if let Some(group) = &wanted.server_group {
            request["os:scheduler_hints"] = json!({ "group": self.resolve(Kind::ServerGroup, group).await?.id });
        }
        Ok(request)
    }
}

fn is_uuid(text: &str) -> bool {
    uuid::Uuid::try_parse(text).is_ok()
}
