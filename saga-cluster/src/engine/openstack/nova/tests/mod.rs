//! What is made of Nova's answers, against a server that answers as a real one was seen to.

mod check;
mod contract;
mod fake;
mod record;
mod recorded;

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use wiremock::matchers::{body_partial_json, method, path, query_param};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use self::fake::FakeNova;
use self::recorded::{compute, image, recorded, recorded_of, server_of};
use super::resolve::Kind;
use super::*;
use crate::FailureKind;
use crate::engine::openstack::CloudConfig;
use crate::model::NewNode;

const TAGS: [&str; 3] = ["sc-cluster:demo", "sc-node:w-1", "sc-token:w-1.3a1e5a4f5e9e2c5d"];
const TOKEN: &str = "w-1.3a1e5a4f5e9e2c5d";
const IMAGE_NAME: &str = "tiny";
/// Where Nova is, on the server of the test.
const COMPUTE: &str = "/compute.example/v2.1";
const IMAGES: &str = "/image.example/v2/images";

/// A cloud that lets everybody in, with another token each, and knows a flavor and an image; no image is called `nobody`.
async fn cloud() -> (MockServer, NovaEngine) {
    let server = MockServer::start().await;
    let (login, logins) = (recorded_of("login", &server.uri()).answer(), AtomicU32::new(0));
    let login = move |_: &Request| {
        let token = format!("token-{}", logins.fetch_add(1, Ordering::SeqCst));
        login.clone().insert_header("X-Subject-Token", token)
    };
    Mock::given(path("/v3/auth/tokens")).respond_with(login).mount(&server).await;
    says(&server, "GET", &compute("/"), &recorded("version").answer()).await;
    says(&server, "GET", &compute("/flavors/detail"), &recorded("flavors").answer()).await;
    let none = recorded("images-none").answer();
    Mock::given(path(IMAGES)).and(query_param("name", "nobody")).respond_with(none).mount(&server).await;
    says(&server, "GET", IMAGES, &recorded("images").answer()).await;
    let engine = engine_of(&server);
    (server, engine.ready_within(Duration::ZERO).gone_within(Duration::ZERO))
}

/// An engine that knows nothing yet, and looks often.
fn engine_of(server: &MockServer) -> NovaEngine {
    let session = Session::new(CloudConfig::of_test(&server.uri())).unwrap();
    NovaEngine::new(session).look_every(Duration::from_millis(5))
}

async fn says(server: &MockServer, verb: &str, place: &str, answer: &ResponseTemplate) {
    Mock::given(method(verb)).and(path(place)).respond_with(answer.clone()).mount(server).await;
}

/// The next answers to who has the tag; the last one stays.
async fn seen(server: &MockServer, looks: &[Value]) {
    for (i, servers) in looks.iter().enumerate() {
        let answer = ResponseTemplate::new(200).set_body_json(json!({ "servers": servers }));
        let mock = Mock::given(method("GET")).and(path(compute("/servers/detail"))).and(query_param("tags", TAGS[2]));
        let mock = mock.respond_with(answer);
        let mock = if i + 1 < looks.len() { mock.up_to_n_times(1) } else { mock };
        mock.mount(server).await;
    }
}

async fn asked_for(server: &MockServer, answer: ResponseTemplate, times: u64) {
    Mock::given(method("POST"))
        .and(path(compute("/servers")))
        .and(body_partial_json(json!({ "server": { "tags": TAGS, "networks": "none", "imageRef": image() } })))
        .respond_with(answer)
        .expect(times)
        .mount(server)
        .await;
}

async fn deleted(server: &MockServer, id: &str, status: u16, times: u64) {
    Mock::given(method("DELETE"))
        .and(path(compute(&format!("/servers/{id}"))))
        .respond_with(ResponseTemplate::new(status))
        .expect(times)
        .mount(server)
        .await;
}

/// The connection ends once a deletion was sent.
async fn cut_off(server: &MockServer, id: &str) {
    Mock::given(method("DELETE"))
        .and(path(compute(&format!("/servers/{id}"))))
        .respond_with_err(|_: &Request| std::io::Error::from(std::io::ErrorKind::ConnectionReset))
        .expect(1..)
        .mount(server)
        .await;
}

fn accepted() -> ResponseTemplate {
    recorded("create").answer()
}

/// A server in that state; the longer its id, the later it was made.
fn server(id: &str, status: &str) -> Value {
    let name = if status == "BUILD" { "servers-build" } else { "servers-active" };
    let mut server = server_of(name, id, id.len());
    server["status"] = status.into();
    server
}

fn broken(id: &str) -> Value {
    server_of("servers-error", id, id.len())
}

fn order() -> NodeOrder {
    let settings = json!({ "flavor": "small", "image": "tiny", "networks": "none" });
    let node = NewNode { name: "w-1".parse().unwrap(), settings: serde_json::from_value(settings).unwrap() };
    NodeOrder { token: TOKEN.parse().unwrap(), ..NodeOrder::new("demo".parse().unwrap(), node, "key") }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// What a server without a network is to be made of.
fn described(flavor: &str, image: &str) -> Described {
    let settings = json!({ "flavor": flavor, "image": image, "networks": "none" });
    Described::read(&serde_json::from_value(settings).unwrap()).unwrap()
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

/// Until one is active, none is deleted: the one that was made first may still fail.
#[tokio::test]
async fn of_two_servers_that_are_being_made_none_is_deleted() {
    let (cloud, engine) = cloud().await;
    let engine = engine.ready_within(Duration::from_secs(60));
    let looks = [
        json!([server("bb", "BUILD"), server("a", "BUILD")]),
        json!([server("bb", "ACTIVE"), server("a", "BUILD")]),
        json!([server("bb", "ACTIVE"), broken("a")]),
    ];
    seen(&cloud, &looks).await;
    deleted(&cloud, "a", 204, 1).await;
    deleted(&cloud, "bb", 204, 0).await;
    engine.create(&order()).await.unwrap();
}

/// Two that look before either has asked make two servers. They agree which one it is, and neither has to try again.
#[tokio::test]
async fn two_creators_of_one_node_keep_the_same_server() {
    let (cloud, _) = cloud().await;
    let nova = FakeNova::default().late();
    nova.mount(&cloud).await;
    let (one, other) = (engine_of(&cloud), engine_of(&cloud));
    let (one, other) = futures::future::join(one.create(&order()), other.create(&order())).await;
    assert_eq!(one.unwrap(), other.unwrap());
    assert_eq!(nova.left(), (vec!["server-1".to_owned()], 2));
}

#[tokio::test]
async fn a_second_server_whose_deletion_was_not_heard_is_looked_at_again() {
    let (cloud, engine) = cloud().await;
    let engine = engine.ready_within(Duration::from_secs(60));
    let both = json!([server("a", "ACTIVE"), server("bb", "ACTIVE")]);
    seen(&cloud, &[both, json!([server("a", "ACTIVE")])]).await;
    cut_off(&cloud, "bb").await;
    engine.create(&order()).await.unwrap();
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
    for (name, message) in [
        ("create-over-quota", "Quota exceeded for instances: Requested 1, but already used 0 of 0 instances"),
        ("create-without-key", "Invalid key_name provided."),
        ("create-without-flavor", "Flavor nobody could not be found."),
    ] {
        let (cloud, engine) = cloud().await;
        seen(&cloud, &[json!([])]).await;
        asked_for(&cloud, recorded(name).answer(), 1).await;
        let error = engine.create(&order()).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Rejected, "{name}");
        assert!(crate::saga::chain(&error).contains(message), "{error}");
    }
}

#[tokio::test]
async fn a_conflict_may_pass() {
    let (cloud, engine) = cloud().await;
    seen(&cloud, &[json!([])]).await;
    asked_for(&cloud, recorded("conflict").answer(), 1).await;
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
async fn a_name_is_looked_up_once_for_many_nodes() {
    let (cloud, engine) = cloud().await;
    let engine = engine.ready_within(Duration::from_secs(60));
    let nova = FakeNova::default();
    nova.mount(&cloud).await;
    let orders = ["w-1", "w-2", "w-3"].map(|name| {
        let node = NewNode { name: name.parse().unwrap(), settings: order().settings };
        NodeOrder::new("demo".parse().unwrap(), node, "key")
    });
    for made in futures::future::join_all(orders.iter().map(|order| engine.create(order))).await {
        made.unwrap();
    }
    let asked = cloud.received_requests().await.unwrap();
    let asked = |place: &str| asked.iter().filter(|one| one.url.path() == place).count();
    assert_eq!((asked(IMAGES), asked(&compute("/flavors/detail"))), (1, 1));
}

#[tokio::test]
async fn a_name_that_means_something_else_by_now_is_looked_up_again() {
    let (cloud, engine) = cloud().await;
    engine.nova.id_of(Kind::Image, IMAGE_NAME).await.unwrap();
    let mut images = recorded("images");
    images.body["images"][0]["id"] = "newer".into();
    let newer = Mock::given(path(IMAGES)).respond_with(images.answer()).with_priority(1);
    newer.mount(&cloud).await;
    seen(&cloud, &[json!([]), json!([server("a", "ACTIVE")])]).await;
    asked_for(&cloud, recorded("create-without-flavor").answer(), 1).await;
    Mock::given(method("POST"))
        .and(body_partial_json(json!({ "server": { "imageRef": "newer" } })))
        .respond_with(accepted())
        .expect(1)
        .mount(&cloud)
        .await;
    engine.ready_within(Duration::from_secs(60)).create(&order()).await.unwrap();
}

#[tokio::test]
async fn user_data_is_sent_encoded() {
    let (cloud, engine) = cloud().await;
    seen(&cloud, &[json!([]), json!([server("a", "ACTIVE")])]).await;
    Mock::given(method("POST"))
        .and(body_partial_json(json!({ "server": { "user_data": "Zm9vYmE=" } })))
        .respond_with(accepted())
        .expect(1)
        .mount(&cloud)
        .await;
    let mut order = order();
    order.settings.insert("user_data".into(), "fooba".into());
    engine.ready_within(Duration::from_secs(60)).create(&order).await.unwrap();
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
async fn a_deletion_whose_answer_was_lost_is_looked_at_again() {
    for after in [json!([]), json!([server("a", "ACTIVE")])] {
        let (cloud, engine) = cloud().await;
        let gone = after == json!([]);
        seen(&cloud, &[json!([server("a", "ACTIVE")]), after]).await;
        cut_off(&cloud, "a").await;
        let engine = if gone { engine.gone_within(Duration::from_secs(60)) } else { engine };
        let destroyed = engine.destroy(&doomed()).await;
        // One that it did not reach is not gone, and the next attempt asks again.
        assert_eq!(destroyed.is_ok(), gone, "{destroyed:?}");
        assert!(destroyed.is_ok() || destroyed.is_err_and(|error| error.kind() == FailureKind::Failed));
    }
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

/// What Nova says while it cannot ask Neutron, of servers that are active.
async fn without_neutron(cloud: &MockServer, ids: &[&str]) {
    says(cloud, "GET", &compute("/servers/detail"), &recorded("servers-without-neutron").answer()).await;
    for status in ["BUILD", "ERROR"] {
        Mock::given(path(compute("/servers")))
            .and(query_param("status", status))
            .respond_with(recorded("servers-none").answer())
            .mount(cloud)
            .await;
    }
    let mut brief = recorded("servers-brief");
    let one = brief.body["servers"][0].clone();
    brief.body["servers"] = ids.iter().map(|id| json!({ "id": id, "name": one["name"] })).collect();
    says(cloud, "GET", &compute("/servers"), &brief.answer()).await;
    for id in ids {
        says(cloud, "GET", &compute(&format!("/servers/{id}/tags")), &recorded("tags").answer()).await;
    }
}

#[tokio::test]
async fn while_neutron_is_down_servers_are_still_found() {
    let (cloud, engine) = cloud().await;
    without_neutron(&cloud, &["a"]).await;
    let listed = engine.list(&"demo".parse().unwrap()).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert!(listed[0].ready && listed[0].token.as_str() == TOKEN, "{listed:?}");
}

/// Which of two was made first cannot be told then, and neither can an address.
#[tokio::test]
async fn while_neutron_is_down_nothing_is_decided() {
    let (cloud, engine) = cloud().await;
    without_neutron(&cloud, &["a", "bb"]).await;
    deleted(&cloud, "a", 204, 0).await;
    deleted(&cloud, "bb", 204, 0).await;
    engine.create(&order()).await.unwrap();
    let mut with_network = order();
    with_network.settings.insert("networks".into(), "auto".into());
    let error = engine.create(&with_network).await.unwrap_err();
    assert!(error.to_string().contains("ACTIVE after"), "{error}");
}

#[tokio::test]
async fn an_engine_that_cannot_tell_says_so() {
    let (cloud, engine) = cloud().await;
    says(&cloud, "GET", &compute("/servers/detail"), &ResponseTemplate::new(500)).await;
    says(&cloud, "GET", &compute("/servers"), &ResponseTemplate::new(500)).await;
    assert!(engine.find(&TOKEN.parse().unwrap()).await.is_err());
    assert!(engine.list(&"demo".parse().unwrap()).await.is_err());
    assert!(engine.destroy(&doomed()).await.is_err());
}

#[tokio::test]
async fn a_login_that_keystone_refuses_is_told_in_its_words() {
    for (name, words) in [
        ("login-refused", "The request you have made requires authentication."),
        ("login-unknown", "Could not find Application Credential: nobody."),
    ] {
        let (cloud, engine) = cloud().await;
        Mock::given(path("/v3/auth/tokens")).respond_with(recorded(name).answer()).with_priority(1).mount(&cloud).await;
        let told = crate::saga::chain(&engine.list(&"demo".parse().unwrap()).await.unwrap_err());
        assert!(told.contains(&format!("login refused (a test): {words}")), "{told}");
    }
}

/// Against the cloud of the environment: `cargo test -p saga-cluster --features openstack -- --ignored nova::tests::real`,
/// with `OS_*` set and NOVA_FLAVOR and NOVA_IMAGE saying what servers are made of. They have no network.
#[tokio::test]
#[ignore = "needs an OpenStack: see the comment"]
async fn real() {
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
