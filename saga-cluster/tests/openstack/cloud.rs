//! A look at the cloud that the engine has no part in: all servers of the project, and what Placement holds for them.

use std::collections::BTreeSet;
use std::time::Duration;

use saga_cluster::model::{Cluster, ClusterName};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::deaths::expect;
use crate::world::By;

/// How long Nova may take to give back what a server that is gone held.
const LOOKS: u32 = 40;
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A login of its own, made anew for each look.
pub(crate) struct Cloud {
    client: reqwest::Client,
    token: String,
    catalog: Value,
}

/// A server, as Nova lists it without being asked for tags.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    name: String,
    status: String,
    id: String,
}

/// What is needed for the look, if the environment has it.
struct Login {
    url: String,
    user: String,
    password: String,
    project: String,
    user_domain: String,
    project_domain: String,
}

impl Login {
    fn of_the_environment() -> Option<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        let domain = |name| variable(name).unwrap_or_else(|| "Default".into());
        Some(Self {
            url: variable("OS_AUTH_URL")?.trim_end_matches('/').to_owned(),
            user: variable("OS_USERNAME")?,
            password: variable("OS_PASSWORD")?,
            project: variable("OS_PROJECT_NAME")?,
            user_domain: domain("OS_USER_DOMAIN_NAME"),
            project_domain: domain("OS_PROJECT_DOMAIN_NAME"),
        })
    }
}

/// Whether there can be an independent look: it logs in by a password that is in the environment.
pub(crate) fn can_be_looked_at() -> bool {
    Login::of_the_environment().is_some()
}

impl Cloud {
    async fn log_in(login: Login) -> Result<Self, String> {
        // Whoever was first to install it installed the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let Login { url, user, password, project, user_domain, project_domain } = login;
        let client = reqwest::Client::new();
        let user = json!({ "name": user, "password": password, "domain": { "name": user_domain } });
        let body = json!({ "auth": {
            "identity": { "methods": ["password"], "password": { "user": user } },
            "scope": { "project": { "name": project, "domain": { "name": project_domain } } },
        } });
        let request = client.post(format!("{url}/auth/tokens")).header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().await.map_err(|error| error.to_string())?;
        let token = answer.headers().get("x-subject-token").and_then(|token| token.to_str().ok());
        let token = token.ok_or("Keystone gave no token")?.to_owned();
        let body: Value = read(answer).await?;
        Ok(Self { client, token, catalog: body["token"]["catalog"].clone() })
    }

    pub(crate) async fn of_the_environment() -> Result<Self, String> {
        Self::log_in(Login::of_the_environment().ok_or("the environment has no login")?).await
    }

    /// Where a service is, as the catalog has it.
    pub(crate) fn endpoint(&self, service: &str) -> Result<String, String> {
        let find = || {
            let endpoints =
                self.catalog.as_array()?.iter().find(|one| one["type"] == service)?["endpoints"].as_array()?;
            endpoints.iter().find(|one| one["interface"] == "public")?["url"].as_str()
        };
        let url = find().ok_or_else(|| format!("the catalog has no {service}"))?;
        Ok(url.trim_end_matches('/').to_owned())
    }

    async fn get(&self, url: String) -> Result<Value, String> {
        let request = self.client.get(url).header("x-auth-token", &self.token);
        let request = request.header("openstack-api-version", "placement 1.28");
        read(request.send().await.map_err(|error| error.to_string())?).await
    }

    /// All servers that `query` lets through.
    async fn servers(&self, query: &str) -> Result<Vec<Seen>, String> {
        let compute = self.endpoint("compute")?;
        let mut all: Vec<Seen> = Vec::new();
        loop {
            let marker = all.last().map(|last| format!("&marker={}", last.id)).unwrap_or_default();
            let page = self.get(format!("{compute}/servers/detail?{query}{marker}")).await?;
            let page = page["servers"].as_array().cloned().unwrap_or_default();
            if page.is_empty() {
                return Ok(all);
            }
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            all.extend(page.iter().map(|one| Seen {
                name: text(&one["name"]),
                status: text(&one["status"]),
                id: text(&one["id"]),
            }));
        }
    }

    /// Whatever something is reserved for.
    async fn consumers(&self) -> Result<BTreeSet<String>, String> {
        let placement = self.endpoint("placement")?;
        let providers = self.get(format!("{placement}/resource_providers")).await?;
        let mut consumers = BTreeSet::new();
        for provider in providers["resource_providers"].as_array().ok_or("Placement names no providers")? {
            let id = provider["uuid"].as_str().unwrap_or_default();
            let held = self.get(format!("{placement}/resource_providers/{id}/allocations")).await?;
            consumers.extend(held["allocations"].as_object().into_iter().flatten().map(|(id, _)| id.clone()));
        }
        Ok(consumers)
    }
}

async fn read(answer: reqwest::Response) -> Result<Value, String> {
    let (status, url) = (answer.status(), answer.url().to_string());
    let body = answer.bytes().await.map_err(|error| error.to_string())?;
    if !status.is_success() {
        return Err(format!("{url}: {status} {}", String::from_utf8_lossy(&body)));
    }
    serde_json::from_slice(&body).map_err(|error| format!("{url}: {error}"))
}

/// Nova has exactly the servers of the record's nodes, one each, all `ACTIVE`; Placement holds something for each of them,
/// and nothing for a server that is not there. Without a record there has to be nothing.
pub(crate) async fn holds_exactly(by: By, cluster: &ClusterName, record: Option<&Cluster>) -> Result<(), String> {
    if !can_be_looked_at() {
        return Ok(());
    }
    let cloud = Cloud::of_the_environment().await?;
    let prefix = by.server_name(cluster, "");
    let mut expected: Vec<_> = record
        .into_iter()
        .flat_map(|record| &record.nodes)
        .map(|node| (by.server_name(cluster, &node.name.to_string()), "ACTIVE".to_owned()))
        .collect();
    expected.sort();
    let mut ours = cloud.servers("").await?;
    ours.retain(|server| server.name.starts_with(&prefix));
    ours.sort();
    let seen: Vec<_> = ours.iter().map(|server| (server.name.clone(), server.status.clone())).collect();
    expect(seen == expected, || format!("Nova has the servers {seen:?}, the record {expected:?}"))?;

    let mut wrong = String::new();
    // Others make servers meanwhile; and Nova gives back what a server held only after it was seen to be gone.
    for _ in 0..LOOKS {
        let consumers = cloud.consumers().await?;
        let servers = cloud.servers("all_tenants=1").await?;
        let there: BTreeSet<_> = servers.into_iter().map(|server| server.id).collect();
        let orphans: Vec<_> = consumers.difference(&there).collect();
        let without: Vec<_> = ours.iter().filter(|server| !consumers.contains(&server.id)).collect();
        if orphans.is_empty() && without.is_empty() {
            return Ok(());
        }
        wrong = format!("Placement holds something for {orphans:?}, which are gone, and nothing for {without:?}");
        sleep(LOOK_AGAIN).await;
    }
    Err(wrong)
}
