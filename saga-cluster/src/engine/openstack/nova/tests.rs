//! What is made of Nova's answers, against a server that answers as a real one was seen to.

use serde_json::{Value, json};
use wiremock::matchers::{body_partial_json, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::FailureKind;
use crate::engine::openstack::CloudConfig;
use crate::model::NewNode;

const TAGS: [&str; 3] = ["sc-cluster:demo", "sc-node:w-1", "sc-token:w-1.3a1e5a4f5e9e2c5d"];
const TOKEN: &str = "w-1.3a1e5a4f5e9e2c5d";
const FLAVOR: &str = "42";
const IMAGE: &str = "0a7b2c1e-6a56-4b87-9c38-7d3f5d0c1b11";

/// A cloud that lets everybody in and knows a flavor and an image.
async fn cloud() -> (MockServer, NovaEngine) {
    let server = MockServer::start().await;
    let uri = server.uri();
    let entry = |kind: &str, place: &str| {
        let endpoint = json!({ "interface": "public", "region_id": "RegionOne", "url": format!("{uri}{place}") });
        json!({ "type": kind, "endpoints": [endpoint] })
    };
    let token = json!({ "token": {
        "issued_at": "2026-01-31T12:00:00.000000Z",
        "expires_at": "2026-01-31T13:00:00.000000Z",
        "catalog": [entry("compute", "/v2.1"), entry("image", "/image")],
    } });
    let login = ResponseTemplate::new(201).insert_header("X-Subject-Token", "t").set_body_json(token);
    Mock::given(path("/v3/auth/tokens")).respond_with(login).mount(&server).await;
    let version = json!({ "version": { "id": "v2.1", "version": "2.96", "min_version": "2.1" } });
    answer(&server, "GET", "/v2.1/", 200, version).await;
    let flavors = json!({ "flavors": [{ "id": FLAVOR, "name": "small", "vcpus": 1, "ram": 64 }] });
    answer(&server, "GET", "/v2.1/flavors/detail", 200, flavors).await;
    answer(&server, "GET", "/image/v2/images", 200, json!({ "images": [{ "id": IMAGE, "name": "tiny" }] })).await;
    let engine = NovaEngine::new(Session::new(CloudConfig::of_test(&uri)).unwrap());
    (server, engine.ready_within(Duration::ZERO).gone_within(Duration::ZERO))
}

async fn answer(server: &MockServer, verb: &str, place: &str, status: u16, body: Value) {
    let answer = ResponseTemplate::new(status).set_body_json(body);
    Mock::given(method(verb)).and(path(place)).respond_with(answer).mount(server).await;
}

/// The next answers to who has the tag; the last one stays.
async fn seen(server: &MockServer, looks: &[Value]) {
    for (i, servers) in looks.iter().enumerate() {
        let answer = ResponseTemplate::new(200).set_body_json(json!({ "servers": servers }));
        let mock = Mock::given(method("GET")).and(path("/v2.1/servers/detail")).and(query_param("tags", TAGS[2]));
        let mock = mock.respond_with(answer);
        let mock = if i + 1 < looks.len() { mock.up_to_n_times(1) } else { mock };
        mock.mount(server).await;
    }
}

async fn asked_for(server: &MockServer, answer: ResponseTemplate, times: u64) {
    Mock::given(method("POST"))
        .and(path("/v2.1/servers"))
        .and(body_partial_json(json!({ "server": { "tags": TAGS, "networks": "none", "imageRef": IMAGE } })))
        .respond_with(answer)
        .expect(times)
        .mount(server)
        .await;
}

async fn deleted(server: &MockServer, id: &str, status: u16, times: u64) {
    Mock::given(method("DELETE"))
        .and(path(format!("/v2.1/servers/{id}")))
        .respond_with(ResponseTemplate::new(status))
        .expect(times)
        .mount(server)
        .await;
}

fn accepted() -> ResponseTemplate {
    ResponseTemplate::new(202).set_body_json(json!({ "server": { "id": "a" } }))
}

fn server(id: &str, status: &str) -> Value {
    json!({
        "id": id, "name": "demo-w-1", "status": status, "tags": TAGS, "addresses": {}, "metadata": {},
        "created": format!("2026-01-31T12:00:0{}Z", id.len()), "OS-EXT-STS:task_state": null,
    })
}

fn broken(id: &str) -> Value {
    let mut server = server(id, "ERROR");
    server["fault"] = json!({ "code": 500, "message": "No valid host was found. ", "created": "2026-01-31T12:00:00Z" });
    server
}

fn order() -> NodeOrder {
    let settings = json!({ "flavor": "small", "image": "tiny", "networks": "none" });
    let node = NewNode { name: "w-1".parse().unwrap(), settings: serde_json::from_value(settings).unwrap() };
    NodeOrder { token: TOKEN.parse().unwrap(), ..NodeOrder::new("demo".parse().unwrap(), node, "key") }
}

fn doomed() -> Doomed {
    Doomed::of_own_making(&order())
}

#[tokio::test]
async fn a_server_is_made_once_and_waited_for() {
    let (cloud, engine) = cloud().await;
    let engine = engine.ready_within(Duration::from_secs(60));
    seen(&cloud, &[json!([]), json!([server("a", "BUILD")]), json!([server("a", "ACTIVE")])]).await;
    asked_for(&cloud, accepted(), 1).await;
    let node = engine.create(&order()).await.unwrap();
    assert_eq!((node.token.as_str(), node.address), (TOKEN, None));
    // The next one adopts it.
    assert_eq!(engine.create(&order()).await.unwrap(), node);
    assert_eq!(engine.find(&node.token).await.unwrap().unwrap().into_node(), Some(node));
}

#[tokio::test]
async fn a_server_whose_answer_was_lost_is_adopted() {
    let (cloud, engine) = cloud().await;
    seen(&cloud, &[json!([]), json!([]), json!([server("a", "ACTIVE")])]).await;
    asked_for(&cloud, ResponseTemplate::new(504), 1).await;
    let engine = engine.ready_within(Duration::from_secs(60));
    assert!(engine.create(&order()).await.is_ok());
}

#[tokio::test]
async fn of_two_servers_under_one_token_one_is_kept() {
    let (cloud, engine) = cloud().await;
    // The one made first has failed, so the other one counts.
    seen(&cloud, &[json!([broken("a"), server("bb", "ACTIVE"), server("ccc", "ACTIVE")])]).await;
    deleted(&cloud, "a", 204, 1).await;
    deleted(&cloud, "bb", 204, 0).await;
    deleted(&cloud, "ccc", 204, 1).await;
    assert!(engine.create(&order()).await.is_ok());
}

#[tokio::test]
async fn without_a_valid_host_a_create_fails_with_the_reason() {
    let (cloud, engine) = cloud().await;
    seen(&cloud, &[json!([]), json!([broken("a")])]).await;
    asked_for(&cloud, accepted(), 1).await;
    let engine = engine.ready_within(Duration::from_secs(60));
    let error = engine.create(&order()).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Failed);
    assert!(error.to_string().contains("No valid host was found"), "{error}");
}

#[tokio::test]
async fn a_broken_server_of_an_earlier_attempt_is_replaced() {
    let (cloud, engine) = cloud().await;
    let engine = engine.ready_within(Duration::from_secs(60));
    seen(&cloud, &[json!([broken("a")]), json!([]), json!([server("bb", "ACTIVE")])]).await;
    deleted(&cloud, "a", 204, 1).await;
    asked_for(&cloud, accepted(), 1).await;
    assert!(engine.create(&order()).await.is_ok());
}

#[tokio::test]
async fn a_server_that_is_built_for_ever_is_given_up() {
    let (cloud, engine) = cloud().await;
    seen(&cloud, &[json!([server("a", "BUILD")])]).await;
    let error = engine.create(&order()).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Failed);
    assert!(error.to_string().contains("BUILD after"), "{error}");
}

#[tokio::test]
async fn what_nova_refuses_is_rejected_with_its_words() {
    let quota = "Quota exceeded for instances: Requested 1, but already used 2 of 2 instances";
    for (status, key, message) in [
        (403, "forbidden", quota),
        (400, "badRequest", "Invalid key_name provided."),
        (404, "itemNotFound", "Flavor could not be found."),
    ] {
        let (cloud, engine) = cloud().await;
        seen(&cloud, &[json!([])]).await;
        let body = json!({ key: { "code": status, "message": message } });
        asked_for(&cloud, ResponseTemplate::new(status).set_body_json(body), 1).await;
        let error = engine.create(&order()).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Rejected, "{status}");
        assert!(crate::saga::chain(&error).contains(message), "{error}");
    }
}

#[tokio::test]
async fn a_conflict_may_pass() {
    let (cloud, engine) = cloud().await;
    seen(&cloud, &[json!([])]).await;
    asked_for(&cloud, ResponseTemplate::new(409), 1).await;
    assert_eq!(engine.create(&order()).await.unwrap_err().kind(), FailureKind::Failed);
}

#[tokio::test]
async fn what_a_setting_names_has_to_be_there() {
    let (cloud, engine) = cloud().await;
    seen(&cloud, &[json!([])]).await;
    asked_for(&cloud, accepted(), 0).await;
    let mut order = order();
    order.settings.insert("flavor".into(), "vast".into());
    let error = engine.create(&order).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Rejected);
    assert!(error.to_string().contains("no flavor `vast`"), "{error}");
}

#[tokio::test]
async fn a_server_is_gone_when_it_is_not_listed_any_more() {
    let (cloud, engine) = cloud().await;
    let engine = engine.gone_within(Duration::from_secs(60));
    let mut going = server("a", "ACTIVE");
    going["OS-EXT-STS:task_state"] = "deleting".into();
    seen(&cloud, &[json!([server("a", "ACTIVE")]), json!([going]), json!([server("a", "DELETED")])]).await;
    deleted(&cloud, "a", 204, 1).await;
    engine.destroy(&doomed()).await.unwrap();
    // And a second time, all of it.
    engine.destroy(&doomed()).await.unwrap();
}

#[tokio::test]
async fn a_server_that_was_gone_between_look_and_delete_is_gone() {
    let (cloud, engine) = cloud().await;
    let engine = engine.gone_within(Duration::from_secs(60));
    seen(&cloud, &[json!([server("a", "ACTIVE"), broken("bb")]), json!([])]).await;
    deleted(&cloud, "a", 404, 1).await;
    deleted(&cloud, "bb", 204, 1).await;
    engine.destroy(&doomed()).await.unwrap();
}

#[tokio::test]
async fn a_deletion_that_comes_to_nothing_is_an_error_that_says_how_the_server_is() {
    for (status, told) in [(204, "ERROR (No valid host"), (409, "409")] {
        let (cloud, engine) = cloud().await;
        seen(&cloud, &[json!([broken("a")])]).await;
        deleted(&cloud, "a", status, 1).await;
        let error = engine.destroy(&doomed()).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Failed);
        assert!(crate::saga::chain(&error).contains(told), "{error}");
    }
}

#[tokio::test]
async fn while_neutron_is_down_servers_are_still_found() {
    let (cloud, engine) = cloud().await;
    let fault = json!({ "computeFault": { "code": 500, "message": "Unexpected API Error." } });
    answer(&cloud, "GET", "/v2.1/servers/detail", 500, fault).await;
    let none = json!({ "servers": [] });
    for status in ["BUILD", "ERROR"] {
        Mock::given(path("/v2.1/servers"))
            .and(query_param("status", status))
            .respond_with(ResponseTemplate::new(200).set_body_json(&none))
            .mount(&cloud)
            .await;
    }
    answer(&cloud, "GET", "/v2.1/servers", 200, json!({ "servers": [{ "id": "a", "name": "demo-w-1" }] })).await;
    answer(&cloud, "GET", "/v2.1/servers/a/tags", 200, json!({ "tags": TAGS })).await;
    let listed = engine.list(&"demo".parse().unwrap()).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert!(listed[0].ready && listed[0].token.as_str() == TOKEN, "{listed:?}");
}

#[tokio::test]
async fn an_engine_that_cannot_tell_says_so() {
    let (cloud, engine) = cloud().await;
    answer(&cloud, "GET", "/v2.1/servers/detail", 500, json!({})).await;
    answer(&cloud, "GET", "/v2.1/servers", 500, json!({})).await;
    assert!(engine.find(&TOKEN.parse().unwrap()).await.is_err());
    assert!(engine.list(&"demo".parse().unwrap()).await.is_err());
    assert!(engine.destroy(&doomed()).await.is_err());
}

/// Against the cloud of the environment: `cargo test -p saga-cluster --features openstack -- --ignored nova::tests::real`,
/// with `OS_*` set and NOVA_FLAVOR and NOVA_IMAGE saying what servers are made of. They have no network.
#[tokio::test]
#[ignore = "needs an OpenStack: see the comment"]
async fn real() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let engine = NovaEngine::new(Session::new(CloudConfig::find().unwrap()).unwrap());
    let key = format!("{:?}", std::time::SystemTime::now());
    let settings = json!({ "flavor": variable("NOVA_FLAVOR"), "image": variable("NOVA_IMAGE"), "networks": "none" });
    let settings: crate::model::Settings = serde_json::from_value(settings).unwrap();
    let node = NewNode { name: "w-1".parse().unwrap(), settings };
    let order = NodeOrder::new("nova-real".parse().unwrap(), node, &key);
    // Both may make a server; one of them remains.
    let (one, two) = futures::future::join(engine.create(&order), engine.create(&order)).await;
    let node = one.or(two).unwrap();
    assert_eq!(engine.create(&order).await.unwrap(), node);
    assert_eq!(engine.find(&node.token).await.unwrap().unwrap().into_node(), Some(node.clone()));
    assert_eq!(engine.list(&order.cluster).await.unwrap().len(), 1);
    engine.destroy(&Doomed::of_own_making(&order)).await.unwrap();
    assert_eq!(engine.find(&node.token).await.unwrap(), None);
    engine.destroy(&Doomed::of_own_making(&order)).await.unwrap();
}
