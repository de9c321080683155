//! A Nova that remembers what it was asked for, and says it in the words of the real one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use wiremock::matchers::path_regex;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use super::recorded::{compute, recorded, server_of};

/// What it has.
#[derive(Clone, Default)]
pub(super) struct FakeNova(Arc<Mutex<World>>);

#[derive(Default)]
struct World {
    servers: Vec<Value>,
    made: usize,
    /// What each login sees when it looks for the first time is as it was before anybody came.
    late: bool,
    looked: BTreeSet<String>,
}

impl FakeNova {
    /// Takes the place of Nova's servers.
    pub(super) async fn mount(&self, server: &MockServer) {
        Mock::given(path_regex(format!("^{}(/|$)", compute("/servers"))))
            .respond_with(self.clone())
            .mount(server)
            .await;
    }

    /// Whoever looks for the first time sees nothing of the others.
    pub(super) fn late(self) -> Self {
        self.0.lock().unwrap().late = true;
        self
    }

    /// The ids of the servers that nobody has deleted, in the order in which they were made; and how many were made.
    pub(super) fn left(&self) -> (Vec<String>, usize) {
        let world = self.0.lock().unwrap();
        let left = world.servers.iter().filter(|one| !is_going(one));
        (left.map(|one| one["id"].as_str().unwrap().to_owned()).collect(), world.made)
    }
}

fn is_going(server: &Value) -> bool {
    server["OS-EXT-STS:task_state"] == "deleting"
}

impl World {
    fn create(&mut self, request: &Value) -> ResponseTemplate {
        self.made += 1;
        let id = format!("server-{}", self.made);
        let mut server = server_of("servers-build", &id, self.made);
        for key in ["name", "tags", "metadata"] {
            server[key] = request["server"][key].clone();
        }
        self.servers.push(server);
        let mut answer = recorded("create");
        answer.body["server"]["id"] = id.into();
        answer.answer()
    }

    fn delete(&mut self, id: &str) -> ResponseTemplate {
        match self.servers.iter_mut().find(|one| one["id"] == id) {
            Some(server) => {
                server["OS-EXT-STS:task_state"] = "deleting".into();
                recorded("delete").answer()
            }
            None => recorded("delete-gone").answer(),
        }
    }

    /// Each look is a moment later: what was in `BUILD` is active at the next one, and what was going is gone.
    fn list(&mut self, tags: &[&str]) -> ResponseTemplate {
        let has = |one: &Value| tags.iter().all(|tag| one["tags"].as_array().unwrap().contains(&(*tag).into()));
        let listed: Vec<Value> = self.servers.iter().rev().filter(|one| has(one)).cloned().collect();
        self.servers.retain(|one| !(has(one) && is_going(one)));
        for server in self.servers.iter_mut().filter(|one| has(one) && one["status"] == "BUILD") {
            server["status"] = "ACTIVE".into();
            server["OS-EXT-STS:task_state"] = Value::Null;
        }
        ResponseTemplate::new(200).set_body_json(json!({ "servers": listed }))
    }
}

impl Respond for FakeNova {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut world = self.0.lock().unwrap();
        let path = request.url.path();
        match request.method.as_str() {
            "POST" => world.create(&request.body_json().unwrap()),
            "DELETE" => world.delete(path.rsplit('/').next().unwrap()),
            "GET" if path.ends_with("/detail") => {
                let login = request.headers["x-auth-token"].to_str().unwrap().to_owned();
                if world.looked.insert(login) && world.late {
                    return recorded("servers-none").answer();
                }
                let tags = request.url.query_pairs().find(|(key, _)| key == "tags").unwrap().1;
                world.list(&tags.split(',').collect::<Vec<_>>())
            }
            other => panic!("nobody asks for that: {other} {path}"),
        }
    }
}
