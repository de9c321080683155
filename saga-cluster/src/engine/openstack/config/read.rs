//! Finding a cloud, and understanding what is said of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::yaml::{self, Node};
use super::{CloudConfig, ConfigError, Credential, Domain, Interface, Login, Project, Surroundings, User};
use crate::engine::openstack::secret::Secret;

/// The variables that have the last word over a cloud of a file.
const ABOVE_THE_FILE: [&str; 5] = ["password", "application_credential_secret", "region_name", "interface", "cacert"];

pub(super) fn find(around: &Surroundings) -> Result<CloudConfig, ConfigError> {
    let variable = |name: &str| around.variables.get(name).cloned();
    let chosen = variable("OS_CLOUD");
    if chosen.is_none() && variable("OS_AUTH_URL").is_some() {
        let entries = around.variables.iter();
        let entries = entries.map(|(name, value)| (name["OS_".len()..].to_lowercase(), value.clone())).collect();
        return Said { entries, origin: "the environment (OS_AUTH_URL ...)".into(), variables: true }.understood();
    }
    let candidates = match variable("OS_CLIENT_CONFIG_FILE") {
        Some(file) => vec![PathBuf::from(file)],
        None => around.directories.iter().map(|dir| dir.join("clouds.yaml")).collect(),
    };
    let looked = || candidates.iter().map(|file| file.display().to_string()).collect::<Vec<_>>();
    let Some((file, clouds)) = read_first(&candidates)? else {
        return Err(match chosen {
            Some(name) => ConfigError::NoSuchCloud { name, known: Vec::new(), looked: looked() },
            None => ConfigError::NotConfigured { looked: looked() },
        });
    };
    let known: Vec<String> = clouds.entries().map(|(name, _)| name.to_owned()).collect();
    let name = match (chosen, &known[..]) {
        (Some(name), _) => name,
        (None, [only]) => only.clone(),
        (None, []) => return Err(ConfigError::NotConfigured { looked: looked() }),
        (None, _) => return Err(ConfigError::NotChosen { file: file.to_owned(), known }),
    };
    let Some(cloud) = clouds.get(&name) else {
        return Err(ConfigError::NoSuchCloud { name, known, looked: looked() });
    };
    let mut entries = entries_of(cloud);
    for key in ABOVE_THE_FILE {
        if let Some(value) = variable(&format!("OS_{}", key.to_uppercase())) {
            entries.insert(key.to_owned(), value);
        }
    }
    Said { entries, origin: format!("the cloud `{name}` of {}", file.display()), variables: false }.understood()
}

/// The clouds of the first file that there is, with those of a `secure.yaml` beside it laid over them.
fn read_first(candidates: &[PathBuf]) -> Result<Option<(&Path, Node)>, ConfigError> {
    for file in candidates {
        if let Some(mut clouds) = read_file(file)? {
            if let Some(secure) = read_file(&file.with_file_name("secure.yaml"))? {
                clouds.overlay(secure);
            }
            return Ok(Some((file, clouds)));
        }
    }
    Ok(None)
}

fn read_file(file: &Path) -> Result<Option<Node>, ConfigError> {
    let unreadable = |why: String| ConfigError::Unreadable { file: file.to_owned(), why };
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error.to_string())),
    };
    let mut root = yaml::read(&text).map_err(unreadable)?;
    match &mut root {
        Node::Map(entries) => match entries.remove("clouds") {
            Some(clouds @ Node::Map(_)) => Ok(Some(clouds)),
            _ => Err(unreadable("it has no map `clouds`".into())),
        },
        _ => Err(unreadable("it has no map `clouds`".into())),
    }
}

/// The settings of a cloud, those of `auth` among them. A list (of regions, say) stands for its first item.
fn entries_of(cloud: &Node) -> BTreeMap<String, String> {
    let auth = cloud.get("auth").map(Node::entries).into_iter().flatten();
    let all = cloud.entries().chain(auth);
    let text = |node: &Node| match node {
        Node::List(items) => {
            items.first().and_then(|first| first.text().or_else(|| first.get("name")?.text()).map(str::to_owned))
        }
        node => node.text().map(str::to_owned),
    };
    all.filter_map(|(key, node)| Some((key.replace('-', "_"), text(node)?))).collect()
}

/// What was found of one cloud, not understood yet.
struct Said {
    entries: BTreeMap<String, String>,
    origin: String,
    /// It comes from variables, which have other names.
    variables: bool,
}

impl Said {
    fn get(&self, keys: &[&str]) -> Option<&str> {
        let said = keys.iter().find_map(|key| self.entries.get(*key));
        said.map(String::as_str).filter(|value| !value.is_empty())
    }

    fn owned(&self, keys: &[&str]) -> Option<String> {
        self.get(keys).map(str::to_owned)
    }

    /// How its author wrote, or would write, these keys.
    fn written(&self, keys: &[&str]) -> String {
        let one = |key: &&str| if self.variables { format!("OS_{}", key.to_uppercase()) } else { format!("`{key}`") };
        keys.iter().map(one).collect::<Vec<_>>().join(" or ")
    }

    fn understood(self) -> Result<CloudConfig, ConfigError> {
        let mut problems = Vec::new();
        let auth_url = self.auth_url(&mut problems);
        let login = self.login(&mut problems);
        let interface = self.interface(&mut problems);
        self.refuse_unsupported(&mut problems);
        let (Some(auth_url), Some(login), Some(interface), []) = (auth_url, login, interface, &problems[..]) else {
            return Err(ConfigError::Unusable { origin: self.origin, problems });
        };
        let overridden = |(key, value): (&String, &String)| {
            let service = key.strip_suffix("_endpoint_override")?;
            Some((service.replace('_', "-"), value.trim_end_matches('/').to_owned()))
        };
        Ok(CloudConfig {
            auth_url,
            login,
            interface,
            region: self.owned(&["region_name", "region", "regions"]),
            ca_file: self.get(&["cacert"]).map(PathBuf::from),
            endpoints: self.entries.iter().filter_map(overridden).collect(),
            origin: self.origin,
        })
    }

    fn auth_url(&self, problems: &mut Vec<String>) -> Option<String> {
        let Some(url) = self.get(&["auth_url"]) else {
            problems.push(format!("{} is missing", self.written(&["auth_url"])));
            return None;
        };
        if !url.starts_with("http://") && !url.starts_with("https://") {
            problems.push(format!("{} is no http:// or https:// address", self.written(&["auth_url"])));
            return None;
        }
        let url = url.trim_end_matches('/');
        let url = url.strip_suffix("/v2.0").unwrap_or(url);
        Some(if url.ends_with("/v3") { url.to_owned() } else { format!("{url}/v3") })
    }

    fn login(&self, problems: &mut Vec<String>) -> Option<Login> {
        let secret = &["application_credential_secret"];
        let kind = self.get(&["auth_type"]).unwrap_or(if self.get(secret).is_some() {
            "v3applicationcredential"
        } else {
            "password"
        });
        match kind {
            "password" | "v3password" => {
                let user = self.user(problems);
                let password = self.secret(&["password"], problems);
                let project = self.project(problems);
                Some(Login::Password { user: user?, password: password?, project: project? })
            }
            "v3applicationcredential" | "applicationcredential" => {
                let secret = self.secret(secret, problems);
                let id = self.owned(&["application_credential_id"]).map(Credential::Id);
                let credential = match (id, self.owned(&["application_credential_name"])) {
                    (Some(id), _) => Some(id),
                    (None, Some(name)) => self.user(problems).map(|user| Credential::Name(name, user)),
                    (None, None) => {
                        let keys = ["application_credential_id", "application_credential_name"];
                        problems.push(format!("{} is missing", self.written(&keys)));
                        None
                    }
                };
                Some(Login::ApplicationCredential { credential: credential?, secret: secret? })
            }
            other => {
                let known = "supported are `password` and `v3applicationcredential`";
                problems.push(format!("{} is `{other}`; {known}", self.written(&["auth_type"])));
                None
            }
        }
    }

    fn secret(&self, keys: &[&str], problems: &mut Vec<String>) -> Option<Secret> {
        let secret = self.get(keys).map(Secret::new);
        if secret.is_none() {
            problems.push(format!("{} is missing", self.written(keys)));
        }
        secret
    }

    fn user(&self, problems: &mut Vec<String>) -> Option<User> {
        match (self.owned(&["user_id"]), self.owned(&["username", "user_name"])) {
            (Some(id), _) => Some(User::Id(id)),
            (None, Some(name)) => Some(User::Name(name, self.domain("user", problems)?)),
            (None, None) => {
                problems.push(format!("{} is missing", self.written(&["username", "user_id"])));
                None
            }
        }
    }

    fn project(&self, problems: &mut Vec<String>) -> Option<Project> {
        match (self.owned(&["project_id", "tenant_id"]), self.owned(&["project_name", "tenant_name"])) {
            (Some(id), _) => Some(Project::Id(id)),
            (None, Some(name)) => Some(Project::Name(name, self.domain("project", problems)?)),
            (None, None) => {
                problems.push(format!("{} is missing", self.written(&["project_name", "project_id"])));
                None
            }
        }
    }

    /// The domain of a user or a project, or the one that is said for both.
    fn domain(&self, of: &str, problems: &mut Vec<String>) -> Option<Domain> {
        let (id, name) = (format!("{of}_domain_id"), format!("{of}_domain_name"));
        let of_both = || {
            let id = self.owned(&["domain_id", "default_domain_id", "default_domain"]).map(Domain::Id);
            id.or_else(|| self.owned(&["domain_name", "default_domain_name"]).map(Domain::Name))
        };
        let its_own = self.owned(&[&id]).map(Domain::Id).or_else(|| self.owned(&[&name]).map(Domain::Name));
        let domain = its_own.or_else(of_both);
        if domain.is_none() {
            problems.push(format!("{} is missing", self.written(&[&name, &id])));
        }
        domain
    }

    fn interface(&self, problems: &mut Vec<String>) -> Option<Interface> {
        let keys = &["interface", "endpoint_type"];
        match self.get(keys).unwrap_or("public").trim_end_matches("URL") {
            "public" => Some(Interface::Public),
            "internal" => Some(Interface::Internal),
            "admin" => Some(Interface::Admin),
            other => {
                problems.push(format!("{} is `{other}`; it is public, internal or admin", self.written(keys)));
                None
            }
        }
    }

    /// What would change who is talked to, or how safely, and is not done here, must not be passed over.
    fn refuse_unsupported(&self, problems: &mut Vec<String>) {
        let off = |value: &str| matches!(value.to_lowercase().as_str(), "false" | "no" | "off" | "0");
        if self.get(&["verify"]).is_some_and(off) || self.get(&["insecure"]).is_some_and(|value| !off(value)) {
            let keys = if self.get(&["verify"]).is_some() { "verify" } else { "insecure" };
            let told = "certificates are always checked; name the one to trust in";
            problems.push(format!("{}: {told} {}", self.written(&[keys]), self.written(&["cacert"])));
        }
        for key in ["cert", "key", "profile", "cloud", "system_scope", "trust_id"] {
            if self.get(&[key]).is_some() {
                problems.push(format!("{} is not supported", self.written(&[key])));
            }
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
