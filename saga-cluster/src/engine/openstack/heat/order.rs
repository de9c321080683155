//! What Heat is to make of a node, by the settings of its group.

use serde_json::{Map, Value, json};

use super::template::Member;
use crate::engine::openstack::nova::Nova;
use crate::engine::openstack::nova::resolve::Kind;
use crate::engine::openstack::nova::settings::{Described, Networks};
use crate::engine::{EngineError, NodeOrder};

/// The resource of an ordered machine. It names what it is made of by ids: a name may come to mean something else, and
/// Heat would make the server anew.
pub(super) async fn member(nova: &Nova, order: &NodeOrder) -> Result<Member, EngineError> {
    let wanted = Described::read(&order.settings).map_err(|problems| EngineError::rejected(problems.join("\n")))?;
    let networks = match &wanted.networks {
        Networks::Auto => vec![json!({ "allocate_network": "auto" })],
        Networks::Nothing => vec![json!({ "allocate_network": "none" })],
        Networks::These(names) => {
            let mut networks = Vec::new();
            for name in names {
                networks.push(json!({ "network": nova.resolve(Kind::Network, name).await?.id }));
            }
            networks
        }
    };
    let mut properties = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            properties.insert(key.to_owned(), value);
        }
    };
    set("flavor", Some(nova.resolve(Kind::Flavor, &wanted.flavor).await?.id.into()));
    set("image", Some(nova.resolve(Kind::Image, &wanted.image).await?.id.into()));
    set("networks", Some(networks.into()));
    set("metadata", Some(json!(wanted.kept())));
    set("key_name", wanted.key_name.clone().map(Value::String));
    set("availability_zone", wanted.availability_zone.clone().map(Value::String));
    set("security_groups", (!wanted.security_groups.is_empty()).then(|| json!(wanted.security_groups)));
    if let Some(group) = &wanted.server_group {
        set("scheduler_hints", Some(json!({ "group": nova.resolve(Kind::ServerGroup, group).await?.id })));
    }
    if let Some(data) = &wanted.user_data {
        set("user_data", Some(data.clone().into()));
        // As it is: Heat has its own idea of what a server is to be told.
        set("user_data_format", Some("RAW".into()));
    }
    Ok(Member::new(&order.cluster, order.name.clone(), order.token.clone(), properties))
}
