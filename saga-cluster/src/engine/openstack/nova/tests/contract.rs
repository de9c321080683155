//! The contract of engines, held by this one on a Nova that remembers, and on a real one.

use uuid::Uuid;
use wiremock::MockServer;

use super::fake::FakeNova;
use super::*;
use crate::engine::conformance;
use crate::model::ClusterSpec;

fn spec(name: &str, flavor: &str, image: &str) -> ClusterSpec {
    let settings = format!("flavor='{flavor}', image='{image}', networks='none'");
    let text =
        format!("name='{name}'\nplugin='x'\nengine='nova'\nsettings={{{settings}}}\n[[groups]]\nname='w'\ncount=3");
    ClusterSpec::from_toml(&text).unwrap()
}

struct Remembering(MockServer);

impl conformance::Bench for Remembering {
    type Engine = NovaEngine;

    fn engine(&self) -> NovaEngine {
        engine_of(&self.0)
    }

    fn spec(&self) -> ClusterSpec {
        spec("demo", "small", IMAGE_NAME)
    }

    fn aftermath(&self) -> Duration {
        Duration::from_millis(200)
    }
}

#[tokio::test]
async fn it_keeps_the_contract() {
    conformance::all(async || {
        let (cloud, _) = cloud().await;
        says(&cloud, "GET", &compute("/limits"), &recorded("limits").answer()).await;
        FakeNova::default().mount(&cloud).await;
        Remembering(cloud)
    })
    .await;
}

/// Clusters of a name of its own, in the cloud of the environment.
struct Real(String);

impl conformance::Bench for Real {
    type Engine = NovaEngine;

    fn engine(&self) -> NovaEngine {
        NovaEngine::new(Session::of_environment())
    }

    fn spec(&self) -> ClusterSpec {
        spec(&self.0, &variable("NOVA_FLAVOR"), &variable("NOVA_IMAGE"))
    }
}

/// `cargo test -p saga-cluster --all-features -- --ignored nova::tests::contract`, with `OS_*`, NOVA_FLAVOR and NOVA_IMAGE set. Its
/// clusters are called `nova-` and a number.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an OpenStack: see the comment"]
async fn it_keeps_the_contract_on_a_real_one() {
    conformance::all(async || Real(format!("nova-{}", &Uuid::now_v7().simple().to_string()[16..]))).await;
}
