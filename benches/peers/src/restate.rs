//! Restate: a server that journals what services do, over HTTP.
//!
//! The server is a program of its own, with its log and state in RocksDB; here it runs as one node, as it does by default, on
//! loopback. The saga is a handler of a service in this process: each step is a durable `run`, and its compensations are
//! written by hand, as that project's guide to sagas has them. Clients call it through the server's ingress.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use restate_sdk::ingress::ReqwestClient;
use restate_sdk::prelude::{Endpoint, HttpServer};
use saga_benches::Failure;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use self::service::{Chain, ChainIngressClient};
use crate::peer::{Engine, Ground, Kind, Peer};

/// How long the server may take until it answers.
const START: Duration = Duration::from_secs(60);

/// Restate with one server.
#[derive(Debug, Clone)]
pub struct Restate {
    program: PathBuf,
    version: String,
}

impl Restate {
    /// With this program for its server, or the one that its npm package has beside this one, or the one among the system's
    /// programs.
    ///
    /// # Errors
    ///
    /// That there is none, with how to come by it; or that it does not run.
    pub fn find(program: Option<&Path>) -> Result<Self, Failure> {
        let missing = "there is no restate-server: npm install --prefix benches/peers";
        let program = program.map(Path::to_owned).or_else(installed).ok_or(missing)?;
        let said = std::process::Command::new(&program).arg("--version").output();
        let said = said.map_err(|error| format!("{}: {error}", program.display()))?;
        let said = String::from_utf8(said.stdout)?;
        let version = said.trim().strip_prefix("restate-server ");
        let version = version.ok_or_else(|| format!("{} is no restate-server: it says {said:?}", program.display()))?;
        Ok(Self { version: version.to_owned(), program })
    }
}

fn installed() -> Option<PathBuf> {
    let system = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let processor = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let package = format!("node_modules/@restatedev/restate-server-{system}-{processor}/bin");
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join(package);
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::iter::once(beside).chain(std::env::split_paths(&paths));
    places.find_map(|place| Some(place.join("restate-server")).filter(|program| program.is_file()))
}

#[async_trait]
impl Peer for Restate {
    fn name(&self) -> String {
        format!("restate {}", self.version)
    }

    fn kind(&self) -> Kind {
        Kind::Durable
    }

    fn durability(&self) -> String {
        "RocksDB's log, fsync".to_owned()
    }

    async fn start(&self, ground: &Ground<'_>) -> Result<Box<dyn Engine>, Failure> {
        let [ingress, admin, node] = free_addresses()?;
        let log_path = ground.directory.join("log");
        let log = std::fs::File::create(&log_path)?;
        let mut server = Command::new(&self.program)
            .args(["--no-logo", "--listen-mode", "tcp", "--base-dir"])
            .arg(ground.directory.join("data"))
            .env("RESTATE_DISABLE_TELEMETRY", "true")
            .env("RESTATE_LOG_FILTER", "warn")
            .env("RESTATE_BIND_ADDRESS", node.to_string())
            .env("RESTATE_INGRESS__BIND_ADDRESS", ingress.to_string())
            .env("RESTATE_ADMIN__BIND_ADDRESS", admin.to_string())
            .current_dir(ground.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;

        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let service = format!("http://{}", listener.local_addr()?);
        let endpoint = HttpServer::new(Endpoint::builder().bind(Chain).build());
        let mut serving = JoinSet::new();
        serving.spawn(endpoint.serve_with_cancel(listener, std::future::pending::<()>()));

        let chain = ChainIngressClient::from_client(ReqwestClient::connect(format!("http://{ingress}").parse()?)?);
        tokio::select! {
            ready = ready(&chain, admin, &service) => ready?,
            status = server.wait() => {
                let said = std::fs::read_to_string(&log_path).unwrap_or_default();
                return Err(format!("restate-server ended, {}: {said}", status?).into());
            }
        }
        Ok(Box::new(Running { server: Mutex::new(server), chain, _serving: serving }))
    }
}

/// Addresses on loopback that nobody listens on.
fn free_addresses<const COUNT: usize>() -> Result<[SocketAddr; COUNT], Failure> {
    // All at the same time, so that they differ.
    let listeners = (0..COUNT).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let listeners = listeners.collect::<Result<Vec<_>, _>>()?;
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
    addresses.try_into().map_err(|_| "fewer addresses than were asked for".into())
}

/// Makes the service known to the server, and waits until a saga runs.
async fn ready(chain: &ChainIngressClient<reqwest::Client>, admin: SocketAddr, service: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + START;
    let http = reqwest::Client::new();
    let deployments = format!("http://{admin}/deployments");
    loop {
        let known = async {
            let deployment = serde_json::json!({ "uri": service });
            http.post(&deployments).json(&deployment).send().await?.error_for_status()?;
            Ok::<_, Failure>(chain.run(0).call().await?.into_body()?)
        };
        match known.await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= deadline => {
                return Err(format!("restate-server was not ready within {START:?}: {error}").into());
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

struct Running {
    server: Mutex<Child>,
    chain: ChainIngressClient<reqwest::Client>,
    /// It ends when this is dropped.
    _serving: JoinSet<()>,
}

#[async_trait]
impl Engine for Running {
    async fn saga(&self, input: u64) -> Result<u64, Failure> {
        Ok(self.chain.run(input).call().await?.into_body()?)
    }

    /// What the server has on the disk goes with its directory, so it need not take the time to end in good order.
    async fn stop(&self) -> Result<(), Failure> {
        Ok(self.server.lock().await.kill().await?)
    }
}

/// The service, with the saga as its handler.
// The client that the macro makes of it says nothing of itself.
#[allow(missing_docs)]
mod service {
    use restate_sdk::prelude::*;

    use crate::peer::STEPS;

    pub(super) struct Chain;

    #[service]
    impl Chain {
        #[handler]
        async fn run(&self, context: Context<'_>, input: u64) -> HandlerResult<u64> {
            let mut value = input;
            for number in 0..STEPS {
                let before = value;
                match context.run(move || act(before)).name(format!("step-{number}")).await {
                    Ok(output) => value = output,
                    Err(error) => {
                        for done in (0..number).rev() {
                            context.run(move || undo(input + done)).name(format!("undo-{done}")).await?;
                        }
                        return Err(error.into());
                    }
                }
            }
            Ok(value)
        }
    }

    async fn act(n: u64) -> HandlerResult<u64> {
        Ok(n + 1)
    }

    async fn undo(_: u64) -> HandlerResult<()> {
        Ok(())
    }
}
