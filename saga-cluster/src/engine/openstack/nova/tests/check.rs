//! Whether a cluster could be made, asked of a cloud that has one flavor that fits and one image.

use serde_json::json;
use wiremock::MockServer;

use super::recorded::{compute, image, recorded};
use super::*;
use crate::engine::{EngineCheck, Severity};
use crate::model::ClusterSpec;

/// Three nodes of that flavor and that image.
fn spec(flavor: &str, image: &str, further: &str) -> ClusterSpec {
    let settings = format!("flavor='{flavor}', image='{image}', networks='none'{further}");
    let text =
        format!("name='demo'\nplugin='x'\nengine='nova'\nsettings={{{settings}}}\n[[groups]]\nname='w'\ncount=3");
    ClusterSpec::from_toml(&text).unwrap()
}

async fn with_limits(name: &str) -> (MockServer, NovaEngine) {
    let (cloud, engine) = cloud().await;
    says(&cloud, "GET", &compute("/limits"), &recorded(name).answer()).await;
    (cloud, engine)
}

fn found<'a>(check: &'a EngineCheck, about: &str) -> (Severity, &'a str) {
    let finding = check.findings.iter().find(|one| one.about == about);
    let finding = finding.unwrap_or_else(|| panic!("{about} was not looked at: {check:?}"));
    (finding.severity, &finding.text)
}

#[tokio::test]
async fn all_is_well() {
    let (_cloud, engine) = with_limits("limits").await;
    let check = engine.check(&spec("small", "tiny", "")).await.unwrap();
    assert_eq!(check.worst(), Severity::Ok, "{check:?}");
    assert_eq!(found(&check, "credentials"), (Severity::Ok, "a test lets us in"));
    assert_eq!(found(&check, "flavor small"), (Severity::Ok, "it is small"));
    assert_eq!(found(&check, "image tiny").1, format!("it is {}", image()));
    assert_eq!(found(&check, "quota of instances"), (Severity::Ok, "3 needed, no limit"));
    assert_eq!(found(&check, "quota of memory in MiB"), (Severity::Ok, "192 needed, no limit"));
}

#[tokio::test]
async fn all_that_is_not_there_is_told_at_once() {
    let (cloud, engine) = with_limits("limits").await;
    says(&cloud, "GET", &compute("/os-keypairs/lost"), &recorded("delete-gone").answer()).await;
    let check = engine.check(&spec("vast", "nobody", ", key_name='lost'")).await.unwrap();
    assert_eq!(found(&check, "flavor vast"), (Severity::Problem, "there is no flavor `vast`"));
    assert_eq!(found(&check, "image nobody"), (Severity::Problem, "there is no image `nobody`"));
    assert_eq!(found(&check, "key lost"), (Severity::Problem, "there is no key `lost`"));
}

#[tokio::test]
async fn a_quota_that_is_too_small_is_a_problem() {
    let (_cloud, engine) = with_limits("limits-spent").await;
    let check = engine.check(&spec("small", "tiny", "")).await.unwrap();
    assert_eq!(found(&check, "quota of instances"), (Severity::Problem, "3 needed, 0 of 0 left"));
    assert_eq!(found(&check, "quota of cores"), (Severity::Ok, "3 needed, no limit"));
}

#[tokio::test]
async fn what_cannot_be_told_is_a_warning() {
    let (cloud, engine) = with_limits("limits").await;
    let down = wiremock::Mock::given(path(IMAGES)).respond_with(ResponseTemplate::new(500)).with_priority(1);
    down.mount(&cloud).await;
    let check = engine.check(&spec("small", "tiny", "")).await.unwrap();
    let (severity, text) = found(&check, "image tiny");
    assert!(severity == Severity::Warning && text.contains("500"), "{text}");
}

#[tokio::test]
async fn without_a_way_in_nothing_is_looked_at() {
    let (_cloud, engine) = with_limits("token-refused").await;
    let error = engine.check(&spec("small", "tiny", "")).await.unwrap_err();
    let told = crate::saga::chain(&error);
    assert!(told.contains("login refused (a test)") && told.contains("requires authentication"), "{told}");
    // What is wrong with the spec is told before anybody is asked.
    let mut wrong = spec("small", "tiny", "");
    wrong.settings.insert("networks".into(), json!([]));
    assert!(engine.check(&wrong).await.unwrap_err().message().contains("`networks`"));
}
