//! What is broken on purpose: quota, compute service, network service, and a user who changes their mind.
//!
//! `OPENSTACK_FAULT` names the program that breaks the cloud, and mends it: it is called with `quota N`, `compute-stop`,
//! `compute-cont`, `neutron-down` or `neutron-up`.

use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use saga_cluster::engine::Engine;
use saga_cluster::model::Status;
use saga_cluster::service::{Operation, OperationEnd, Service, Verdict};
use tokio::time::{Instant, sleep, timeout};

use crate::case::{Asked, clean, expect, is_active, is_gone, prepare};
use crate::coordinator::{ask, cluster, engine, open};

const CREATED: &[(&str, usize)] = &[("edge", 1), ("workers", 2)];
/// How long a fault lasts that is mended while something waits for it.
const LASTS: Duration = Duration::from_secs(8);
/// An end may be late, but comes.
const ENDS_WITHIN: Duration = Duration::from_secs(200);
/// A command of the user's is answered, whatever is down. Nova itself takes seconds for an answer while Neutron is down.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

pub(crate) fn program() -> Option<OsString> {
    std::env::var_os("OPENSTACK_FAULT")
}

/// A fault; dropped, it is mended.
struct Fault {
    mend: &'static [&'static str],
}

impl Fault {
    fn make(make: &[&str], mend: &'static [&'static str]) -> Result<Self, String> {
        let fault = Self { mend };
        call(make)?;
        Ok(fault)
    }

    fn mend(self) {}
}

impl Drop for Fault {
    fn drop(&mut self) {
        if let Err(error) = call(self.mend) {
            eprintln!("THE CLOUD STAYS BROKEN: {error}");
        }
    }
}

fn call(arguments: &[&str]) -> Result<(), String> {
    let program = program().ok_or("OPENSTACK_FAULT is not set")?;
    let status = Command::new(program).args(arguments).status().map_err(|error| error.to_string())?;
    expect(status.success(), || format!("the fault {arguments:?} failed: {status}"))
}

/// A fault that is made, or mended, beside what goes on.
async fn fault(make: &'static [&'static str], mend: &'static [&'static str]) -> Result<Fault, String> {
    tokio::task::spawn_blocking(|| Fault::make(make, mend)).await.map_err(|error| error.to_string())?
}

async fn mend(fault: Fault) -> Result<(), String> {
    tokio::task::spawn_blocking(|| fault.mend()).await.map_err(|error| error.to_string())
}

async fn quota(at_most: &'static [&'static str]) -> Result<Fault, String> {
    fault(at_most, &["quota", "-1"]).await
}

async fn no_compute() -> Result<Fault, String> {
    fault(&["compute-stop"], &["compute-cont"]).await
}

async fn no_neutron() -> Result<Fault, String> {
    fault(&["neutron-down"], &["neutron-up"]).await
}

/// A trial with a service of its own; what it made goes, whether it went well or not.
async fn with_service(
    data: &std::path::Path,
    trial: impl AsyncFnOnce(&Service) -> Result<(), String>,
) -> Result<(), String> {
    let service = open(data).await?;
    let tried = trial(&service).await;
    let cleaned = clean(&service).await;
    let closed = service.shutdown(Duration::from_secs(10)).await.map_err(|error| error.to_string());
    tried.and(cleaned).and(closed)
}

fn directory() -> Result<tempfile::TempDir, String> {
    tempfile::tempdir().map_err(|error| error.to_string())
}

async fn asked(service: &Service, what: Asked) -> Result<Operation, String> {
    ask(service, what).await.map_err(|error| error.to_string())
}

async fn end(operation: &Operation) -> Result<OperationEnd, String> {
    let end = timeout(ENDS_WITHIN, operation.end()).await.map_err(|_| format!("{operation:?} came to no end"))?;
    end.map_err(|error| error.to_string())
}

async fn ends(operation: &Operation, verdict: Verdict) -> Result<OperationEnd, String> {
    let end = end(operation).await?;
    expect(end.verdict == verdict, || format!("it was to be {verdict}, and ended {end:?}"))?;
    Ok(end)
}

/// `list` and `show` answer.
async fn answers(service: &Service) -> Result<(), String> {
    let both = async {
        service.list().await.map_err(|error| error.to_string())?;
        service.show(&cluster()).await.map(drop).map_err(|error| error.to_string())
    };
    timeout(ANSWERS_WITHIN, both).await.map_err(|_| "a question was not answered".to_owned())?
}

/// Waits until Nova has a server of the cluster.
async fn begun() -> Result<(), String> {
    let engine = engine()?;
    let started = Instant::now();
    while started.elapsed() < ENDS_WITHIN {
        if !engine.list(&cluster()).await.map_err(|error| error.to_string())?.is_empty() {
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
    Err("no server was made".into())
}

/// Nothing is made but a record that says why, and it goes.
pub(crate) async fn quota_ends_in_the_middle_of_a_create() -> Result<(), String> {
    let data = directory()?;
    let fault = quota(&["quota", "2"]).await?;
    with_service(data.path(), async |service| {
        let end = ends(&asked(service, Asked::Create).await?, Verdict::RolledBack).await?;
        expect(end.reason.contains("Quota exceeded"), || format!("the reason is {:?}", end.reason))?;
        expect(end.status == Some(Status::Error), || format!("the status is {:?}", end.status))?;
        expect(end.nodes_left.is_empty(), || format!("left: {:?}", end.nodes_left))?;
        answers(service).await?;
        mend(fault).await?;
        clean(service).await
    })
    .await
}

/// A scale that has no room comes back to what there was.
pub(crate) async fn quota_ends_in_the_middle_of_a_scale() -> Result<(), String> {
    let data = directory()?;
    prepare(data.path()).await?;
    // Of two that go and two that come, none may come.
    with_service(data.path(), async |service| {
        let fault = quota(&["quota", "0"]).await?;
        let end = ends(&asked(service, Asked::Scale).await?, Verdict::RolledBack).await?;
        expect(end.reason.contains("Quota exceeded"), || format!("the reason is {:?}", end.reason))?;
        answers(service).await?;
        mend(fault).await?;
        // What was decommissioned and terminated stays away; what was to come did not.
        is_active(service, &[("edge", 1), ("workers", 1)]).await
    })
    .await
}

/// Servers that stay in `BUILD` come to be when the compute service does.
pub(crate) async fn compute_is_stopped_for_a_while() -> Result<(), String> {
    let data = directory()?;
    with_service(data.path(), async |service| {
        let fault = no_compute().await?;
        let creation = asked(service, Asked::Create).await?;
        begun().await?;
        sleep(LASTS).await;
        answers(service).await?;
        mend(fault).await?;
        ends(&creation, Verdict::Done).await?;
        is_active(service, CREATED).await?;

        let fault = no_compute().await?;
        let deletion = asked(service, Asked::Delete).await?;
        sleep(LASTS).await;
        answers(service).await?;
        mend(fault).await?;
        ends(&deletion, Verdict::Done).await?;
        is_gone(service).await
    })
    .await
}

/// The user need not wait for a compute service that is not coming back.
pub(crate) async fn compute_is_stopped_and_the_user_deletes() -> Result<(), String> {
    let data = directory()?;
    with_service(data.path(), async |service| {
        let fault = no_compute().await?;
        asked(service, Asked::Create).await?;
        begun().await?;
        ends(&asked(service, Asked::Delete).await?, Verdict::Done).await?;
        is_gone(service).await?;
        mend(fault).await
    })
    .await
}

/// Nova answers half, and deletes nothing.
pub(crate) async fn neutron_is_down_for_a_while() -> Result<(), String> {
    let data = directory()?;
    with_service(data.path(), async |service| {
        let fault = no_neutron().await?;
        let creation = asked(service, Asked::Create).await?;
        ends(&creation, Verdict::Done).await?;
        answers(service).await?;
        let deletion = asked(service, Asked::Delete).await?;
        sleep(LASTS).await;
        answers(service).await?;
        mend(fault).await?;
        ends(&deletion, Verdict::Done).await?;
        is_gone(service).await
    })
    .await
}

/// No fault but a user who changes their mind, twice: in a create, and in a scale.
pub(crate) async fn the_user_deletes_in_the_middle() -> Result<(), String> {
    let data = directory()?;
    with_service(data.path(), async |service| {
        asked(service, Asked::Create).await?;
        begun().await?;
        ends(&asked(service, Asked::Delete).await?, Verdict::Done).await?;
        is_gone(service).await?;

        ends(&asked(service, Asked::Create).await?, Verdict::Done).await?;
        asked(service, Asked::Scale).await?;
        ends(&asked(service, Asked::Delete).await?, Verdict::Done).await?;
        is_gone(service).await
    })
    .await
}
