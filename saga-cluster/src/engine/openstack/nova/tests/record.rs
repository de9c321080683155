//! Records what a real cloud answers, for the tests that have none.
//!
//! With `OS_*`, NOVA_FLAVOR and NOVA_IMAGE set as for the test of the real thing, and NOVA_HUGE a flavor that fits on no host:
//!
//! ```sh
//! cargo test -p saga-cluster --all-features -- --ignored nova::tests::record
//! ```
//!
//! With OPENSTACK_FAULT, the program of the trials, also what it says without Neutron. The login is that of an administrator, for a project that nobody else uses: its quota is taken away for a moment. What
//! tells of one cloud alone is taken out: addresses, ids, times, names of hosts, secrets.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{IMAGE_NAME, TOKEN, described, variable};
use crate::engine::openstack::CloudConfig;
use crate::engine::openstack::call::Service;
use crate::engine::openstack::cloud::Cloud;
use crate::engine::openstack::nova::tags::Identity;
use crate::engine::openstack::nova::{NovaEngine, tags};
use crate::engine::openstack::session::Session;
use crate::engine::openstack::token::{self, Token};

/// The name of the cluster while it is recorded, and in the recording.
const CLUSTER: &str = "nova-record";
const RECORDED: &str = "demo";
const VERSION: &str = "2.96";
const HIDDEN: &str = "***";

/// One that asks a cloud and writes down what it says.
struct Recorder {
    cloud: Cloud,
    token: String,
    catalog: Token,
    project: String,
    scrub: Scrub,
}

impl Recorder {
    async fn log_in() -> Self {
        let cloud = Cloud::new(CloudConfig::find().unwrap()).unwrap();
        let url = format!("{}/auth/tokens", cloud.config.auth_url);
        let body = token::request(&cloud.config.login);
        let answer = cloud.http.post(&url).body(body.to_string()).header("content-type", "application/json").send();
        let answer = answer.await.unwrap();
        let secret = answer.headers()["x-subject-token"].to_str().unwrap().to_owned();
        let status = answer.status().as_u16();
        let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        let catalog = Token::read(&secret, body.clone(), Instant::now()).unwrap();
        let project = body["token"]["project"]["id"].as_str().unwrap().to_owned();
        let mut scrub = Scrub { roots: roots(&body), ids: BTreeMap::new() };
        write("login", "POST /v3/auth/tokens", status, scrub.clean("", body));
        Self { cloud, token: secret, catalog, project, scrub }
    }

    /// Asks, and keeps the answer under that name if there is one.
    async fn ask(&mut self, name: &str, method: Method, of: Service, path: &str, body: Option<Value>) -> Value {
        let url = format!("{}{path}", self.catalog.endpoint(of, &self.cloud.config).unwrap());
        self.ask_at(name, method, &url, path, body).await
    }

    async fn ask_at(&mut self, name: &str, method: Method, url: &str, path: &str, body: Option<Value>) -> Value {
        let request = self.cloud.http.request(method.clone(), url).timeout(Duration::from_secs(60));
        let request = request.header("x-auth-token", &self.token);
        let mut request = request.header("openstack-api-version", format!("compute {VERSION}"));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(text.into()) };
        if !name.is_empty() {
            let path = self.scrub.text(path);
            write(name, &format!("{method} {path}"), status, self.scrub.clean("", body.clone()));
        }
        body
    }

    async fn servers(&mut self, name: &str, path: &str) -> Vec<Value> {
        let tag = tags::of_token(&TOKEN.parse().unwrap()).join(",");
        let body = self.ask(name, Method::GET, Service::Compute, &format!("{path}?tags={tag}"), None).await;
        body["servers"].as_array().cloned().unwrap_or_default()
    }

    /// Looks until the server is like that, and keeps that look.
    async fn until(&mut self, name: &str, is_so: impl Fn(&[Value]) -> bool) {
        let started = Instant::now();
        while !is_so(&self.servers(name, "/servers/detail").await) {
            assert!(started.elapsed() < Duration::from_secs(90), "{name} does not come");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn create(&mut self, name: &str, request: &Value) -> String {
        let made = self.ask(name, Method::POST, Service::Compute, "/servers", Some(request.clone())).await;
        made["server"]["id"].as_str().unwrap_or_default().to_owned()
    }

    /// How many servers the project may have; -1 for as many as it likes.
    async fn quota(&mut self, instances: i32) {
        let project = self.project.clone();
        let body = Some(json!({ "quota_set": { "instances": instances, "force": true } }));
        self.ask("", Method::PUT, Service::Compute, &format!("/os-quota-sets/{project}"), body).await;
    }

    async fn delete(&mut self, name: &str, id: &str) {
        self.ask(name, Method::DELETE, Service::Compute, &format!("/servers/{id}"), None).await;
    }
}

/// Everything that the tests answer with. The cloud is as it was afterwards.
#[tokio::test]
#[ignore = "needs an OpenStack: see the comment"]
async fn record() {
    let engine = NovaEngine::new(Session::of_environment());
    let (small, image, huge) = (variable("NOVA_FLAVOR"), variable("NOVA_IMAGE"), variable("NOVA_HUGE"));
    assert_eq!(image, IMAGE_NAME, "the tests have it by that name");
    let identity =
        Identity { cluster: CLUSTER.parse().unwrap(), node: "w-1".parse().unwrap(), token: TOKEN.parse().unwrap() };
    let request = engine.nova.server_request(&identity, &described(&small, &image)).await.unwrap();
    let broken = engine.nova.server_request(&identity, &described(&huge, &image)).await.unwrap();
    let mut it = Recorder::log_in().await;
    assert_eq!(it.servers("", "/servers").await, Vec::<Value>::new(), "delete the server of an earlier recording");

    let auth_url = it.cloud.config.auth_url.clone();
    let nobody = json!({ "id": "nobody", "secret": "wrong" });
    let wrong = json!({ "auth": { "identity": {
        "methods": ["application_credential"], "application_credential": nobody } } });
    let path = "/v3/auth/tokens";
    it.ask_at("login-unknown", Method::POST, &format!("{auth_url}/auth/tokens"), path, Some(wrong)).await;
    let nobody = json!({ "user": { "name": "nobody", "domain": { "name": "Default" }, "password": "wrong" } });
    let wrong = json!({ "auth": { "identity": { "methods": ["password"], "password": nobody } } });
    it.ask_at("login-refused", Method::POST, &format!("{auth_url}/auth/tokens"), path, Some(wrong)).await;
    it.ask("version", Method::GET, Service::Compute, "/", None).await;
    it.ask("flavors", Method::GET, Service::Compute, "/flavors/detail", None).await;
    it.ask("images", Method::GET, Service::Image, &format!("/v2/images?name={image}"), None).await;
    it.ask("images-none", Method::GET, Service::Image, "/v2/images?name=nobody", None).await;
    it.ask("limits", Method::GET, Service::Compute, "/limits", None).await;

    it.servers("servers-none", "/servers/detail").await;
    let id = it.create("create", &request).await;
    it.until("servers-build", |all| all[0]["status"] == "BUILD").await;
    it.until("servers-active", |all| all[0]["status"] == "ACTIVE").await;
    it.servers("servers-brief", "/servers").await;
    it.ask("tags", Method::GET, Service::Compute, &format!("/servers/{id}/tags"), None).await;
    let action = Some(json!({ "unpause": null }));
    it.ask("conflict", Method::POST, Service::Compute, &format!("/servers/{id}/action"), action).await;
    it.delete("delete", &id).await;
    it.until("", <[Value]>::is_empty).await;
    it.delete("delete-gone", &id).await;

    let id = it.create("", &broken).await;
    it.until("servers-error", |all| all[0]["status"] == "ERROR").await;
    it.delete("", &id).await;
    it.until("", <[Value]>::is_empty).await;

    for (name, key) in [("create-without-flavor", "flavorRef"), ("create-without-key", "key_name")] {
        let mut wrong = request.clone();
        wrong["server"][key] = "nobody".into();
        it.create(name, &wrong).await;
    }
    it.quota(0).await;
    it.create("create-over-quota", &request).await;
    it.ask("limits-spent", Method::GET, Service::Compute, "/limits", None).await;
    it.quota(-1).await;
    if std::env::var_os("OPENSTACK_FAULT").is_some() {
        let id = it.create("", &request).await;
        it.until("", |all| all[0]["status"] == "ACTIVE").await;
        fault(&["neutron-down"]);
        it.servers("servers-without-neutron", "/servers/detail").await;
        fault(&["neutron-up"]);
        it.delete("", &id).await;
        it.until("", <[Value]>::is_empty).await;
    }
    it.token = "no-token".into();
    it.servers("token-refused", "/servers/detail").await;
}

fn fault(arguments: &[&str]) {
    let status = Command::new(variable("OPENSTACK_FAULT")).args(arguments).status().unwrap();
    assert!(status.success(), "THE CLOUD MAY BE BROKEN: {arguments:?}: {status}");
}

fn write(name: &str, request: &str, status: u16, body: Value) {
    let told = json!({ "request": request, "status": status, "body": body });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine/openstack/nova/tests/recorded");
    let text = serde_json::to_string_pretty(&told).unwrap() + "\n";
    std::fs::write(folder.join(format!("{name}.json")), text).unwrap();
}

/// Where the services of a catalog are, and what is written instead.
fn roots(body: &Value) -> Vec<(String, String)> {
    let entries = body["token"]["catalog"].as_array().unwrap();
    let of_entry = |entry: &Value| {
        let kind = entry["type"].as_str().unwrap().to_owned();
        let urls = entry["endpoints"].as_array().unwrap().iter().map(|one| one["url"].as_str().unwrap().to_owned());
        urls.map(|url| (url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/"), format!("http://{kind}.example")))
            .collect::<Vec<_>>()
    };
    entries.iter().flat_map(of_entry).collect()
}

/// Takes out what tells of one cloud alone; the same thing becomes the same everywhere.
struct Scrub {
    roots: Vec<(String, String)>,
    ids: BTreeMap<String, usize>,
}

impl Scrub {
    fn clean(&mut self, key: &str, value: Value) -> Value {
        let secret =
            ["adminPass", "details", "hostId", "audit_ids", "checksum", "os_hash_value", "direct_url", "locations"];
        let host = key.contains("host") && key != "hostname" && key != "host_status";
        match value {
            Value::Null => Value::Null,
            _ if secret.contains(&key) || host => HIDDEN.into(),
            Value::String(text) if key == "expires_at" => with_time(&text, "13:00:00").unwrap_or(text).into(),
            Value::String(text) => with_time(&text, "12:00:00").unwrap_or_else(|| self.text(&text)).into(),
            Value::Array(items) => items.into_iter().map(|item| self.clean(key, item)).collect(),
            Value::Object(entries) => {
                let clean = |(key, value): (String, Value)| {
                    let value = self.clean(&key, value);
                    (key, value)
                };
                entries.into_iter().map(clean).collect::<Map<_, _>>().into()
            }
            other => other,
        }
    }

    fn text(&mut self, text: &str) -> String {
        let mut text = text.replace(CLUSTER, RECORDED);
        for (root, instead) in &self.roots {
            text = text.replace(root, instead);
        }
        let of_id = |c: char| c.is_ascii_hexdigit() || c == '-';
        let mut clean = String::new();
        for part in text.split_inclusive(|c| !of_id(c)) {
            let end = part.find(|c| !of_id(c)).unwrap_or(part.len());
            let (word, rest) = part.split_at(end);
            // Of `req-<id>`, the end is the id.
            let at = word.len().saturating_sub(36);
            let (before, id) = if uuid::Uuid::try_parse(&word[at..]).is_ok() { word.split_at(at) } else { ("", word) };
            let known = self.ids.len();
            match id.len() {
                36 if id.contains('-') => {
                    let number = self.ids.entry(id.to_owned()).or_insert(known);
                    clean += &format!("{before}{number:08}-0000-4000-8000-000000000000");
                }
                32.. => {
                    let number = self.ids.entry(id.to_owned()).or_insert(known);
                    clean += &format!("{before}{number:032}");
                }
                _ => clean += word,
            }
            clean += rest;
        }
        clean
    }
}

/// The same way of writing a time, of one day and that hour.
fn with_time(text: &str, time: &str) -> Option<String> {
    let (date, rest) = text.split_once('T')?;
    let is_date = date.len() == 10 && date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let zeros = |c: char| if c.is_ascii_digit() { '0' } else { c };
    is_date.then(|| {
        format!("2026-01-31T{time}{}", rest.get(8..).unwrap_or_default().chars().map(zeros).collect::<String>())
    })
}
