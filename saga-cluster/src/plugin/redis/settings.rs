//! The settings of a group that mean something here.

use std::collections::BTreeMap;

use crate::model::{ClusterSpec, NodeGroup, Settings};

/// How many replicas each master has.
pub(super) const REPLICAS: &str = "replicas";
/// Lines of `redis.conf`.
pub(super) const CONFIG: &str = "config";

/// All that mean something.
pub(super) const KNOWN: &[&str] = &[CONFIG, REPLICAS];

const MOST_REPLICAS: u64 = 5;

/// What no spec sets: what the machine and the plugin need as it is to find and to reach each other, names of files (one
/// of them may be that of the lock), and what lets somebody who may only write a spec run code or reach files where the
/// server runs.
const OURS: &[&str] = &[
    "aclfile",
    "appenddirname",
    "appendfilename",
    "bind",
    "cluster-announce-bus-port",
    "cluster-announce-hostname",
    "cluster-announce-ip",
    "cluster-announce-port",
    "cluster-config-file",
    "cluster-enabled",
    "cluster-port",
    "daemonize",
    "dbfilename",
    "dir",
    "enable-debug-command",
    "enable-module-command",
    "enable-protected-configs",
    "include",
    "loadmodule",
    "logfile",
    "pidfile",
    "port",
    "rename-command",
    "replicaof",
    "requirepass",
    "set-proc-title",
    "slaveof",
    "supervised",
    "tls-cluster",
    "tls-port",
    "unixsocket",
    "user",
];

/// How many replicas each master is to have. Groups that say it must say the same; if none does, it is none.
pub(super) fn replicas<'a>(groups: impl IntoIterator<Item = &'a NodeGroup>) -> Result<usize, String> {
    let mut found: Option<(u64, &NodeGroup)> = None;
    for group in groups {
        let Some(value) = group.settings.get(REPLICAS) else { continue };
        let number = value.as_u64().filter(|number| *number <= MOST_REPLICAS);
        let number = number.ok_or_else(|| {
            format!("`{REPLICAS}` of group `{}` is {value}; it is to be a number from 0 to {MOST_REPLICAS}", group.name)
        })?;
        match found {
            Some((other, first)) if other != number => {
                return Err(format!(
                    "group `{}` asks for {other} replicas of each master, and group `{}` for {number}",
                    first.name, group.name
                ));
            }
            _ => found = Some((number, group)),
        }
    }
    Ok(found.map_or(0, |(number, _)| usize::try_from(number).unwrap_or(0)))
}

/// How many replicas the masters of a cluster have. Its spec was checked before.
pub(super) fn replicas_of(spec: &ClusterSpec) -> usize {
    replicas(&spec.resolved_groups()).unwrap_or(0)
}

/// Refuses lines of `redis.conf` that would be ignored or do harm.
pub(super) fn check(group: &NodeGroup) -> Result<(), String> {
    config(&group.settings).map(|_| ()).map_err(|why| format!("group `{}`: {why}", group.name))
}

/// The lines of `redis.conf` that a group asks for, by name.
pub(super) fn config(settings: &Settings) -> Result<BTreeMap<String, String>, String> {
    let Some(config) = settings.get(CONFIG) else { return Ok(BTreeMap::new()) };
    let lines = config.as_object().ok_or_else(|| format!("`{CONFIG}` is to be a table of lines of redis.conf"))?;
    let line = |(name, value): (&String, &serde_json::Value)| {
        let name = name.to_ascii_lowercase();
        if OURS.contains(&name.as_str()) {
            return Err(format!("`{CONFIG}` cannot set `{name}`: it is not for a spec to say"));
        }
        let value = match value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Bool(truth) => if *truth { "yes" } else { "no" }.to_owned(),
            serde_json::Value::Number(number) => number.to_string(),
            other => {
                return Err(format!("`{CONFIG}` has {other} for `{name}`; it is to be a text, a number or a truth"));
            }
        };
        let is_a_word = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_a_word || value.chars().any(char::is_control) {
            return Err(format!("`{CONFIG}` cannot hold `{}`", name.escape_debug()));
        }
        Ok((name, value))
    };
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(settings: &[&str]) -> Vec<NodeGroup> {
        let group = |(i, text): (usize, &&str)| NodeGroup {
            name: format!("g{i}").parse().unwrap(),
            count: 3,
            settings: serde_json::from_str(text).unwrap(),
        };
        settings.iter().enumerate().map(group).collect()
    }

    #[test]
    fn groups_agree_on_replicas() {
        assert_eq!(replicas(&groups(&["{}", "{}"])), Ok(0));
        assert_eq!(replicas(&groups(&["{}", r#"{"replicas":1}"#])), Ok(1));
        assert!(replicas(&groups(&[r#"{"replicas":2}"#, r#"{"replicas":1}"#])).unwrap_err().contains("`g1`"));
        for wrong in [r#"{"replicas":6}"#, r#"{"replicas":-1}"#, r#"{"replicas":"1"}"#] {
            assert!(replicas(&groups(&[wrong])).is_err(), "{wrong}");
        }
    }

    #[test]
    fn settings_that_would_be_ignored_or_do_harm_are_refused() {
        let fine = r#"{"replicas":1,"config":{"cluster-node-timeout":500,"appendonly":false,"save":""}}"#;
        assert_eq!(check(&groups(&[fine])[0]), Ok(()));
        let lines = config(&groups(&[fine])[0].settings).unwrap();
        assert_eq!(lines["appendonly"], "no");
        for wrong in [
            r#"{"config":3}"#,
            r#"{"config":{"port":1}}"#,
            r#"{"config":{"Dir":"/"}}"#,
            r#"{"config":{"save":"x\nport 1"}}"#,
            r#"{"config":{"a b":"x"}}"#,
            r#"{"config":{"save":[1]}}"#,
        ] {
            assert!(check(&groups(&[wrong])[0]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_spec_says_what_runs_where_files_are_or_who_may_connect() {
        for (name, value) in [
            ("loadmodule", "/tmp/a.so"),
            ("enable-module-command", "yes"),
            ("enable-debug-command", "yes"),
            ("enable-protected-configs", "yes"),
            ("dbfilename", "lock"),
            ("appendfilename", "program"),
            ("appenddirname", "address"),
            ("requirepass", "secret"),
            ("aclfile", "users.acl"),
            ("user", "default off"),
            ("rename-command", "CLUSTER x"),
            ("cluster-announce-ip", "10.0.0.1"),
            ("cluster-announce-port", "1"),
            ("cluster-announce-bus-port", "1"),
            ("replicaof", "127.0.0.1 1"),
            ("SlaveOf", "127.0.0.1 1"),
        ] {
            let text = serde_json::json!({ CONFIG: { name: value } }).to_string();
            let refused = check(&groups(&[&text])[0]).unwrap_err();
            assert!(refused.contains(&format!("`{}`", name.to_ascii_lowercase())), "{refused}");
        }
    }
}
