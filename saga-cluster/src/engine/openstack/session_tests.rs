//! Logging in, and what is done about the answers that are no answers, against a server of recorded ones.

use serde_json::json;
use wiremock::matchers::{body_partial_json, header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;

const LONG: &str = "2026-01-31T13:00:00.000000Z";

fn session(keystone: &str) -> Session {
    Session::new(CloudConfig::of_test(keystone)).unwrap()
}

fn token(server: &MockServer, name: &str, expires: &str) -> ResponseTemplate {
    let endpoint =
        json!({ "interface": "public", "region_id": "r", "region": "r", "url": format!("{}/nova", server.uri()) });
    let body = json!({ "token": {
        "issued_at": "2026-01-31T12:00:00.000000Z",
        "expires_at": expires,
        "project": { "id": "p" },
        "catalog": [{ "type": "compute", "endpoints": [endpoint] }],
    } });
    ResponseTemplate::new(201).insert_header("X-Subject-Token", name).set_body_json(body)
}

async fn log_in_with(server: &MockServer, name: &str, expires: &str, times: u64) {
    Mock::given(method("POST"))
        .and(path("/v3/auth/tokens"))
        .respond_with(token(server, name, expires))
        .up_to_n_times(times)
        .expect(times)
        .mount(server)
        .await;
}

async fn servers_answer(server: &MockServer, token: &str, answer: ResponseTemplate, times: u64) {
    Mock::given(path("/nova/servers"))
        .and(header("x-auth-token", token))
        .respond_with(answer)
        .up_to_n_times(times)
        .expect(times)
        .mount(server)
        .await;
}

fn list() -> Call {
    Call::get(Service::Compute, "/servers")
}

fn create() -> Call {
    Call::post(Service::Compute, "/servers", json!({ "server": {} }))
}

fn ok() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({ "servers": [1] }))
}

#[tokio::test]
async fn it_logs_in_once_and_when_it_is_needed() {
    let server = MockServer::start().await;
    let login = json!({ "auth": { "identity": { "application_credential": { "id": "me", "secret": "hush" } } } });
    Mock::given(method("POST"))
        .and(path("/v3/auth/tokens"))
        .and(body_partial_json(login))
        .respond_with(token(&server, "one", LONG))
        .expect(1)
        .mount(&server)
        .await;
    servers_answer(&server, "one", ok(), 3).await;
    let session = session(&server.uri());
    let both = futures::future::join(session.call(list()), session.call(list())).await;
    assert!(both.0.is_ok() && both.1.is_ok(), "{both:?}");
    let listed: Vec<u32> = session.call(list()).await.unwrap().read_at("servers").unwrap();
    assert_eq!(listed, [1]);
}

#[tokio::test]
async fn a_token_is_not_used_to_its_end() {
    let server = MockServer::start().await;
    log_in_with(&server, "short", "2026-01-31T12:00:00.000000Z", 1).await;
    log_in_with(&server, "long", LONG, 1).await;
    servers_answer(&server, "short", ok(), 1).await;
    servers_answer(&server, "long", ok(), 2).await;
    let session = session(&server.uri());
    for _ in 0..3 {
        session.call(list()).await.unwrap();
    }
}

#[tokio::test]
async fn a_token_that_is_not_taken_is_renewed_once() {
    let server = MockServer::start().await;
    log_in_with(&server, "stale", LONG, 1).await;
    log_in_with(&server, "fresh", LONG, 1).await;
    servers_answer(&server, "stale", ResponseTemplate::new(401), 2).await;
    servers_answer(&server, "fresh", ok(), 2).await;
    let session = session(&server.uri());
    // Both calls have the stale one in hand, and only one of them gets another.
    let token = session.token().await.unwrap();
    let (one, two) = futures::future::join(session.call(list()), session.call(list())).await;
    assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
    session.forget(&token).await;
    assert_eq!(session.token().await.unwrap().secret.expose(), "fresh", "a token of others is not dropped");
}

#[tokio::test]
async fn a_service_that_takes_no_token_is_not_asked_for_ever() {
    let server = MockServer::start().await;
    log_in_with(&server, "one", LONG, 2).await;
    servers_answer(&server, "one", ResponseTemplate::new(401), 2).await;
    let error = session(&server.uri()).call(list()).await.unwrap_err();
    assert!(matches!(error, CallError::Login { .. }), "{error:?}");
}

#[tokio::test]
async fn a_login_that_is_refused_says_so_and_no_secret() {
    let server = MockServer::start().await;
    let message = "The request you have made requires authentication.";
    let body = json!({ "error": { "code": 401, "message": message, "title": "Unauthorized" } });
    Mock::given(path("/v3/auth/tokens"))
        .respond_with(ResponseTemplate::new(401).set_body_json(body))
        .expect(1)
        .mount(&server)
        .await;
    let session = session(&server.uri());
    let error = session.call(create()).await.unwrap_err();
    assert!(matches!(&error, CallError::Login { .. }), "{error:?}");
    let told = format!("{error} {error:?} {session:?}");
    assert!(told.contains(message) && told.contains("a test") && !told.contains("hush"), "{told}");
    assert_eq!(error.kind(), crate::FailureKind::Rejected);
}

#[tokio::test]
async fn whoever_asks_to_be_left_alone_is_left_alone_for_a_while() {
    let server = MockServer::start().await;
    log_in_with(&server, "one", LONG, 1).await;
    let busy = |status| ResponseTemplate::new(status).insert_header("Retry-After", "0");
    servers_answer(&server, "one", busy(429), 2).await;
    servers_answer(&server, "one", busy(503), 1).await;
    servers_answer(&server, "one", ok(), 1).await;
    let session = session(&server.uri());
    assert!(session.call(list()).await.is_ok());
    // But not for hours.
    servers_answer(&server, "one", ResponseTemplate::new(429).insert_header("Retry-After", "3600"), 1).await;
    let error = session.call(create()).await.unwrap_err();
    assert!(error.to_string().contains("asked to wait 3600 s"), "{error}");
    assert!(error.had_no_effect());
}

#[tokio::test]
async fn what_may_have_been_done_is_not_sent_again() {
    let server = MockServer::start().await;
    log_in_with(&server, "one", LONG, 1).await;
    servers_answer(&server, "one", ResponseTemplate::new(503).insert_header("Retry-After", "0"), 1).await;
    let error = session(&server.uri()).call(create()).await.unwrap_err();
    assert_eq!(error.status(), Some(503));
    assert!(!error.had_no_effect());
}

#[tokio::test]
async fn an_answer_that_is_lost_is_told_from_a_request_that_was_never_sent() {
    let server = MockServer::start().await;
    let rude = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = rude.local_addr().unwrap();
    log_in_with(&server, "one", LONG, 1).await;
    let mut config = CloudConfig::of_test(&server.uri());
    config.endpoints.insert("compute".into(), format!("http://{address}/v2.1"));
    let session = Session::new(config).unwrap();
    let hang_up = async {
        let (mut stream, _) = rude.accept().await.unwrap();
        let mut some = [0; 16];
        tokio::io::AsyncReadExt::read(&mut stream, &mut some).await.unwrap();
        drop((stream, rude));
    };
    let (error, ()) = futures::future::join(session.call(create()), hang_up).await;
    let error = error.unwrap_err();
    assert!(matches!(error, CallError::NoAnswer { .. }) && !error.had_no_effect(), "{error:?}");
    // Here nobody listens, and nobody else can.
    let deaf = tokio::net::TcpSocket::new_v4().unwrap();
    deaf.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = deaf.local_addr().unwrap();
    let mut config = CloudConfig::of_test(&server.uri());
    config.endpoints.insert("compute".into(), format!("http://{address}/v2.1"));
    log_in_with(&server, "two", LONG, 1).await;
    let error = Session::new(config).unwrap().call(create()).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable { .. }) && error.had_no_effect(), "{error:?}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn what_is_no_json_makes_no_sense() {
    let server = MockServer::start().await;
    log_in_with(&server, "one", LONG, 1).await;
    servers_answer(&server, "one", ResponseTemplate::new(200).set_body_string("<html>"), 1).await;
    let session = session(&server.uri());
    assert!(matches!(session.call(list()).await, Err(CallError::Garbled { .. })));
    servers_answer(&server, "one", ResponseTemplate::new(204), 1).await;
    assert_eq!(session.call(list()).await.unwrap().body, Value::Null);
}

#[tokio::test]
async fn a_service_that_the_cloud_has_not_is_named() {
    let server = MockServer::start().await;
    log_in_with(&server, "one", LONG, 1).await;
    let error = session(&server.uri()).call(Call::get(Service::Image, "/v2/images")).await.unwrap_err();
    assert!(matches!(error, CallError::NoEndpoint(_)) && error.to_string().contains("`image`"), "{error}");
}
