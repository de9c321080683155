//! What is made of Heat's answers, against a server that answers as a real one was seen to.

use serde_json::{Value, json};
use wiremock::matchers::{body_partial_json, method, path, query_param};
use wiremock::{Mock, MockBuilder, MockServer, ResponseTemplate};

use super::template::tests::{cluster, document, member};
use super::*;
use crate::engine::Severity;
use crate::engine::openstack::CloudConfig;
use crate::model::NewNode;

const ID: &str = "32975d4c-d08f-42a7-92c3-281326052db9";
const IMAGE: &str = "71cddede-2123-4824-b25a-f262abadb9e8";

/// A cloud that lets everybody in and knows a flavor and an image.
async fn cloud() -> (MockServer, HeatEngine) {
    let server = MockServer::start().await;
    let uri = server.uri();
    let entry = |kind: &str, place: &str| {
        let endpoint = json!({ "interface": "public", "region_id": "RegionOne", "url": format!("{uri}{place}") });
        json!({ "type": kind, "endpoints": [endpoint] })
    };
    let token = json!({ "token": {
        "issued_at": "2026-01-31T12:00:00.000000Z",
        "expires_at": "2026-01-31T13:00:00.000000Z",
        "catalog": [entry("compute", "/v2.1"), entry("image", "/image"), entry("orchestration", "/v1/p")],
    } });
    let login = ResponseTemplate::new(201).insert_header("X-Subject-Token", "t").set_body_json(token);
    Mock::given(path("/v3/auth/tokens")).respond_with(login).mount(&server).await;
    let version = json!({ "version": { "id": "v2.1", "version": "2.96", "min_version": "2.1" } });
    answer(&server, get("/v2.1/"), 200, version).await;
    let flavors = json!({ "flavors": [{ "id": "42", "name": "small", "vcpus": 1, "ram": 64 }] });
    answer(&server, get("/v2.1/flavors/detail"), 200, flavors).await;
    answer(&server, get("/image/v2/images"), 200, json!({ "images": [{ "id": IMAGE, "name": "tiny" }] })).await;
    (server, HeatEngine::new(Session::new(CloudConfig::of_test(&uri)).unwrap()))
}

fn get(place: &str) -> MockBuilder {
    Mock::given(method("GET")).and(path(place))
}

async fn answer(server: &MockServer, request: MockBuilder, status: u16, body: Value) {
    request.respond_with(ResponseTemplate::new(status).set_body_json(body)).mount(server).await;
}

/// The same, but only for the next time.
async fn next(server: &MockServer, request: MockBuilder, status: u16, body: Value) {
    let answer = ResponseTemplate::new(status).set_body_json(body);
    request.respond_with(answer).up_to_n_times(1).expect(1).mount(server).await;
}

fn error(status: u16, kind: &str, message: &str) -> Value {
    json!({
        "code": status, "title": "Bad Request", "explanation": "The server could not comply with the request since it is \
        either malformed or otherwise incorrect.", "error": { "type": kind, "traceback": null, "message": message },
    })
}

fn stacks() -> MockBuilder {
    get("/v1/p/stacks").and(query_param("name", "sc-demo"))
}

fn patch() -> MockBuilder {
    Mock::given(method("PATCH")).and(path(format!("/v1/p/stacks/sc-demo/{ID}")))
}

fn patch_that_seals() -> MockBuilder {
    Mock::given(move |request: &wiremock::Request| {
        let body: Value = request.body_json().unwrap();
        request.method.as_str() == "PATCH" && body["parameters"].get("saga_sealed").is_some()
    })
}

fn brief(status: &str) -> Value {
    json!({
        "id": ID, "stack_name": "sc-demo", "description": "", "stack_status": status,
        "stack_status_reason": "Stack UPDATE completed successfully", "tags": ["saga-cluster"],
    })
}

/// One look at a stack: the machines that are in its template, and how their resources are.
async fn looks(server: &MockServer, status: &str, machines: &[(&str, &str, &str)]) {
    let base = format!("/v1/p/stacks/sc-demo/{ID}");
    next(server, stacks(), 200, json!({ "stacks": [brief(status)] })).await;
    let names: Vec<_> = machines.iter().map(|(name, ..)| *name).collect();
    next(server, get(&format!("{base}/template")), 200, document(&names).to_make().template).await;
    next(server, get(&base), 200, json!({ "stack": brief(status) })).await;
    let resources: Vec<_> = machines
        .iter()
        .map(|(name, status, reason)| {
            json!({
                "logical_resource_id": name, "resource_name": name, "physical_resource_id": format!("server-{name}"),
                "resource_status": status, "resource_status_reason": reason, "resource_type": "OS::Nova::Server",
            })
        })
        .collect();
    next(server, get(&format!("{base}/resources")), 200, json!({ "resources": resources })).await;
    let made = machines.iter().filter(|(_, status, _)| *status == "CREATE_COMPLETE");
    has_servers(server, made.map(|(name, ..)| server_of(name, "ACTIVE")).collect()).await;
}

async fn looks_in_vain(server: &MockServer) {
    next(server, stacks(), 200, json!({ "stacks": [brief("DELETE_COMPLETE")] })).await;
    has_servers(server, Vec::new()).await;
}

/// The list of servers: the first one on a page of its own, the others on a second one.
async fn has_servers(server: &MockServer, mut servers: Vec<Value>) {
    let list = || get("/v2.1/servers/detail").and(query_param("name", r"^demo\."));
    let others = servers.split_off(servers.len().min(1));
    let mut first = json!({ "servers": servers });
    if !others.is_empty() {
        first["servers_links"] = json!([{ "rel": "next", "href": "" }]);
    }
    next(server, list(), 200, first).await;
    if !others.is_empty() {
        let last = servers[0]["id"].as_str().unwrap();
        next(server, list().and(query_param("marker", last)), 200, json!({ "servers": others })).await;
    }
}

fn server_of(name: &str, status: &str) -> Value {
    let token = member(name).token;
    json!({
        "id": format!("server-{name}"), "name": format!("demo.{name}"), "status": status, "addresses": {}, "tags": [],
        "created": "2026-11-23T13:31:24Z", "OS-EXT-STS:task_state": null,
        "metadata": { "sc-port": "22", "saga_cluster": "demo", "saga_node": name, "saga_token": token },
    })
}

fn order(name: &str) -> NodeOrder {
    let settings = json!({ "flavor": "small", "image": "tiny", "networks": "none" });
    let node = NewNode { name: name.parse().unwrap(), settings: serde_json::from_value(settings).unwrap() };
    NodeOrder { token: member(name).token, ..NodeOrder::new(cluster(), node, "key") }
}

fn doomed(name: &str) -> Doomed {
    Doomed::of_own_making(&order(name))
}

#[tokio::test]
async fn a_node_is_added_to_a_stack_that_is_made_for_it() {
    let (cloud, engine) = cloud().await;
    looks_in_vain(&cloud).await;
    let made = json!({ "stack_name": "sc-demo", "tags": "saga-cluster", "template": { "resources": {} } });
    let post = || Mock::given(method("POST")).and(path("/v1/p/stacks"));
    // Somebody was faster.
    let exists = error(409, "StackExists", "The Stack (sc-demo) already exists.");
    next(&cloud, post().and(body_partial_json(made)), 409, exists).await;
    looks(&cloud, "CREATE_IN_PROGRESS", &[]).await;
    looks(&cloud, "CREATE_COMPLETE", &[]).await;
    let properties = json!({
        "name": "demo.w-1", "flavor": "42", "image": IMAGE, "networks": [{ "allocate_network": "none" }],
        "metadata": { "saga_cluster": "demo", "saga_node": "w-1", "saga_token": member("w-1").token, "sc-port": "22" },
    });
    let change =
        json!({ "template": { "resources": { "w-1": { "type": "OS::Nova::Server", "properties": properties } } } });
    next(&cloud, patch().and(body_partial_json(change)), 202, Value::Null).await;
    next(&cloud, patch_that_seals(), 202, Value::Null).await;
    looks(&cloud, "UPDATE_IN_PROGRESS", &[("w-1", "CREATE_IN_PROGRESS", "state changed")]).await;
    looks(&cloud, "UPDATE_COMPLETE", &[("w-1", "CREATE_COMPLETE", "state changed")]).await;
    let node = engine.create(&order("w-1")).await.unwrap();
    assert_eq!((&node.token, node.address), (&member("w-1").token, None));
    // The next one adopts it.
    looks(&cloud, "UPDATE_COMPLETE", &[("w-1", "CREATE_COMPLETE", "state changed")]).await;
    assert_eq!(engine.create(&order("w-1")).await.unwrap(), node);
}

#[tokio::test]
async fn an_update_that_came_too_late_is_decided_anew() {
    let (cloud, engine) = cloud().await;
    looks(&cloud, "UPDATE_COMPLETE", &[("w-1", "CREATE_COMPLETE", "")]).await;
    let stale =
        error(400, "StackValidationFailed", r#"Parameter 'saga_sealed' is invalid: "a" is not an allowed value ["x"]"#);
    next(&cloud, patch(), 400, stale).await;
    // Another process did it.
    let both = [("w-1", "CREATE_COMPLETE", ""), ("w-2", "CREATE_COMPLETE", "")];
    looks(&cloud, "UPDATE_COMPLETE", &both).await;
    assert!(engine.create(&order("w-2")).await.is_ok());
}

#[tokio::test]
async fn what_heat_refuses_is_rejected_with_its_words() {
    let (cloud, engine) = cloud().await;
    looks(&cloud, "UPDATE_COMPLETE", &[("w-1", "CREATE_COMPLETE", "")]).await;
    let message = "Property error: : resources.w-2.properties.key_name: : Error validating value 'nope': The Key (nope) \
                   could not be found.";
    next(&cloud, patch(), 400, error(400, "StackValidationFailed", message)).await;
    looks(&cloud, "UPDATE_COMPLETE", &[("w-1", "CREATE_COMPLETE", "")]).await;
    let error = engine.create(&order("w-2")).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Rejected);
    assert!(error.to_string().contains("The Key (nope) could not be found"), "{error}");
}

#[tokio::test]
async fn a_project_that_has_too_many_stacks_gets_no_node() {
    let (cloud, engine) = cloud().await;
    looks_in_vain(&cloud).await;
    let message = "You have reached the maximum stacks per tenant, 512. Please delete some stacks.";
    let post = Mock::given(method("POST")).and(path("/v1/p/stacks"));
    next(&cloud, post, 403, error(403, "RequestLimitExceeded", message)).await;
    let error = engine.create(&order("w-1")).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Rejected);
    assert!(error.to_string().contains("maximum stacks"), "{error}");
}

#[tokio::test]
async fn what_does_not_fit_is_taken_out_and_told() {
    for (reason, kind) in [
        (
            "ResourceInError: resources.w-2: Went to status ERROR due to \"Message: No valid host was found. , Code: 500\"",
            FailureKind::Rejected,
        ),
        (
            "Forbidden: resources.w-2: Quota exceeded for instances: Requested 1, but already used 3 of 3 instances (HTTP \
             403)",
            FailureKind::Rejected,
        ),
        ("ClientException: resources.w-2: Unexpected API Error. (HTTP 500)", FailureKind::Failed),
    ] {
        let (cloud, engine) = cloud().await;
        let w1 = ("w-1", "CREATE_COMPLETE", "state changed");
        looks(&cloud, "UPDATE_COMPLETE", &[w1]).await;
        next(&cloud, patch(), 202, Value::Null).await;
        next(&cloud, patch_that_seals(), 202, Value::Null).await;
        looks(&cloud, "UPDATE_FAILED", &[w1, ("w-2", "CREATE_FAILED", reason)]).await;
        let without = json!({ "template": { "resources": { "w-1": {} } } });
        next(&cloud, patch().and(body_partial_json(without)), 202, Value::Null).await;
        next(&cloud, patch_that_seals(), 202, Value::Null).await;
        looks(&cloud, "UPDATE_COMPLETE", &[w1]).await;
        let error = engine.create(&order("w-2")).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn the_last_node_takes_the_stack_along() {
    let (cloud, engine) = cloud().await;
    looks(&cloud, "UPDATE_COMPLETE", &[("w-1", "CREATE_COMPLETE", "")]).await;
    let closed =
        json!({ "template": { "outputs": { "saga_cluster": { "value": { "closed": true } } }, "resources": {} } });
    next(&cloud, patch().and(body_partial_json(&closed)), 202, Value::Null).await;
    next(&cloud, patch_that_seals().and(body_partial_json(&closed)), 202, Value::Null).await;
    // It has ended by itself.
    next(&cloud, stacks(), 200, json!({ "stacks": [brief("UPDATE_COMPLETE")] })).await;
    let missing = error(404, "EntityNotFound", "The Stack (sc-demo) could not be found.");
    next(&cloud, get(&format!("/v1/p/stacks/sc-demo/{ID}/template")), 404, missing).await;
    has_servers(&cloud, Vec::new()).await;
    engine.destroy(&doomed("w-1")).await.unwrap();
    assert!(engine.shared.queues.lock().unwrap().values().all(|queue| queue.strong_count() == 0));
}

#[tokio::test]
async fn a_closed_stack_is_deleted_and_what_was_deleted_is_gone() {
    let (cloud, engine) = cloud().await;
    let base = format!("/v1/p/stacks/sc-demo/{ID}");
    next(&cloud, stacks(), 200, json!({ "stacks": [brief("UPDATE_COMPLETE")] })).await;
    let closed = document(&[]).changed(&Change { close: true, ..Change::default() }).seal();
    next(&cloud, get(&format!("{base}/template")), 200, closed.to_make().template).await;
    next(&cloud, get(&base), 200, json!({ "stack": brief("UPDATE_COMPLETE") })).await;
    next(&cloud, get(&format!("{base}/resources")), 200, json!({ "resources": [] })).await;
    has_servers(&cloud, vec![server_of("w-1", "ERROR")]).await;
    let delete = |place: String| Mock::given(method("DELETE")).and(path(place));
    next(&cloud, delete("/v2.1/servers/server-w-1".into()), 204, Value::Null).await;
    // Somebody has deleted it since.
    next(&cloud, delete(base), 404, error(404, "EntityNotFound", "The Stack (sc-demo) could not be found.")).await;
    looks_in_vain(&cloud).await;
    engine.destroy(&doomed("w-1")).await.unwrap();
}

#[tokio::test]
async fn an_update_that_heat_does_not_take_destroys_nothing_and_says_why() {
    let (cloud, engine) = cloud().await;
    let both = [("w-1", "CREATE_COMPLETE", ""), ("w-2", "CREATE_COMPLETE", "")];
    looks(&cloud, "UPDATE_COMPLETE", &both).await;
    let message =
        "Property error: : resources.w-1.properties.image: : Error validating value 'a700': No images matching";
    next(&cloud, patch(), 400, error(400, "StackValidationFailed", message)).await;
    let error = engine.destroy(&doomed("w-2")).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Failed);
    assert!(error.to_string().contains("No images matching"), "{error}");
}

#[tokio::test]
async fn what_takes_too_long_is_an_error_that_says_how_it_is() {
    let (cloud, engine) = cloud().await;
    let limit = Duration::from_secs(3600);
    let engine = engine.ready_within(limit);
    looks(&cloud, "UPDATE_IN_PROGRESS", &[("w-1", "CREATE_IN_PROGRESS", "")]).await;
    let order = order("w-1");
    // It takes too long from when it has looked once.
    let passing = async {
        while engine.shared.queue(&cluster()).seen().is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
        tokio::time::pause();
        tokio::time::advance(limit).await;
        tokio::time::resume();
    };
    let (created, ()) = futures::future::join(engine.create(&order), passing).await;
    let error = created.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Failed);
    assert!(error.to_string().contains("the stack is UPDATE_IN_PROGRESS"), "{error}");
}

#[tokio::test]
async fn an_engine_that_cannot_tell_says_so() {
    // Heat has nothing to say; then Heat has, and Nova has nothing.
    let (cloud, engine) = cloud().await;
    answer(&cloud, stacks(), 500, error(500, "InternalServerError", "database")).await;
    assert!(engine.find(&member("w-1").token).await.is_err());
    assert!(engine.list(&cluster()).await.is_err());
    let (cloud, engine) = self::cloud().await;
    answer(&cloud, stacks(), 200, json!({ "stacks": [] })).await;
    answer(&cloud, get("/v2.1/servers/detail"), 500, json!({})).await;
    assert!(engine.find(&member("w-1").token).await.is_err());
    assert!(engine.list(&cluster()).await.is_err());
}

#[tokio::test]
async fn a_machine_is_found_by_who_never_heard_of_it() {
    let (cloud, engine) = cloud().await;
    // It has no server yet, so that only the templates know it.
    answer(&cloud, get("/v2.1/servers/detail"), 200, json!({ "servers": [] })).await;
    let tagged = get("/v1/p/stacks").and(query_param("tags", "saga-cluster"));
    answer(&cloud, tagged, 200, json!({ "stacks": [brief("UPDATE_IN_PROGRESS")] })).await;
    let base = format!("/v1/p/stacks/sc-demo/{ID}");
    answer(&cloud, stacks(), 200, json!({ "stacks": [brief("UPDATE_IN_PROGRESS")] })).await;
    answer(&cloud, get(&format!("{base}/template")), 200, document(&["w-1"]).to_make().template).await;
    answer(&cloud, get(&base), 200, json!({ "stack": brief("UPDATE_IN_PROGRESS") })).await;
    answer(&cloud, get(&format!("{base}/resources")), 200, json!({ "resources": [] })).await;
    let found = engine.find(&member("w-1").token).await.unwrap().unwrap();
    assert_eq!((found.cluster, found.node, found.ready), (cluster(), member("w-1").name, false));
    assert_eq!(engine.find(&member("w-2").token).await.unwrap(), None);
}

#[tokio::test]
async fn a_check_tells_whose_the_name_is() {
    let mine = document(&[]).to_make().template;
    for (template, severity) in [(mine, Severity::Warning), (json!({ "resources": {} }), Severity::Problem)] {
        let (cloud, engine) = cloud().await;
        let limits = json!({
            "maxTotalInstances": -1, "totalInstancesUsed": 0, "maxTotalCores": -1, "totalCoresUsed": 0,
            "maxTotalRAMSize": -1, "totalRAMUsed": 0,
        });
        answer(&cloud, get("/v2.1/limits"), 200, json!({ "limits": { "absolute": limits } })).await;
        answer(&cloud, stacks(), 200, json!({ "stacks": [brief("CREATE_COMPLETE")] })).await;
        let base = format!("/v1/p/stacks/sc-demo/{ID}");
        answer(&cloud, get(&format!("{base}/template")), 200, template).await;
        answer(&cloud, get(&base), 200, json!({ "stack": brief("CREATE_COMPLETE") })).await;
        answer(&cloud, get(&format!("{base}/resources")), 200, json!({ "resources": [] })).await;
        let spec = json!({
            "name": "demo", "plugin": "commands", "engine": "heat", "settings": order("w-1").settings,
            "groups": [{ "name": "w", "count": 2 }],
        });
        let check = engine.check(&serde_json::from_value(spec).unwrap()).await.unwrap();
        assert_eq!(check.worst(), severity, "{check:?}");
    }
}
