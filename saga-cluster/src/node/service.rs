//! What a node does with a request. No network here.

use std::io;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use super::NodeArgs;
use super::block::{BlockKey, Blocks, Written};
use super::files;
use super::wire::{Refusal, Request, Response, State};

/// One node: who it is, what it was told, what it keeps.
#[derive(Debug)]
pub(super) struct Service {
    identity: NodeArgs,
    blocks: Blocks,
    state_file: PathBuf,
    /// Held for reading during a write of a block, so that once the node is retired no write is on its way any more.
    state: RwLock<State>,
}

/// Why a request had no effect.
enum Unable {
    Refused(Refusal),
    Broken(io::Error),
}

impl From<io::Error> for Unable {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl Service {
    pub(super) fn open(identity: NodeArgs) -> io::Result<Self> {
        let state_file = files::state(&identity.dir);
        let state = match std::fs::read(&state_file) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
            Err(error) => return Err(error),
        };
        let blocks = Blocks::open(files::blocks(&identity.dir))?;
        Ok(Self { identity, blocks, state_file, state: RwLock::new(state) })
    }

    /// Answers a request. Blocks on the disk. `greeted` is whether the connection has named this node before.
    pub(super) fn answer(&self, greeted: bool, request: Request, body: &[u8]) -> (Response, Vec<u8>) {
        let done = if greeted || matches!(request, Request::Hello { .. }) {
            self.handle(request, body)
        } else {
            Err(Unable::Refused(Refusal::NotGreeted))
        };
        match done {
            Ok(answer) => answer,
            Err(Unable::Refused(why)) => (Response::Refused { why }, Vec::new()),
            Err(Unable::Broken(error)) => (Response::Broken { message: error.to_string() }, Vec::new()),
        }
    }

    fn handle(&self, request: Request, body: &[u8]) -> Result<(Response, Vec<u8>), Unable> {
        let response = match request {
            Request::Hello { token } if token == self.identity.token => {
                Response::Welcome { cluster: self.identity.cluster.clone(), name: self.identity.name.clone() }
            }
            Request::Hello { .. } => return Err(Unable::Refused(Refusal::WrongNode)),
            Request::State => Response::State(self.read_state()),
            Request::Configure { peers } => self.change_state(|state| {
                // A node that is configured is (again) a member that may be written to.
                *state = State { configured: true, retired: false, peers, started: state.started };
                Ok(())
            })?,
            Request::Start => self.change_state(|state| {
                state.started = true;
                if state.configured { Ok(()) } else { Err(Refusal::NotConfigured) }
            })?,
            Request::Retire => self.change_state(|state| {
                state.retired = true;
                Ok(())
            })?,
            Request::Put { key, checksum } => self.put(&key, checksum, body)?,
            Request::Get { key } => {
                self.serves()?;
                match self.blocks.get(&key)? {
                    Some(bytes) => return Ok((Response::Block { checksum: crc32fast::hash(&bytes) }, bytes)),
                    None => Response::NoBlock,
                }
            }
            Request::Delete { key } => {
                // A block has one copy: it goes only when the node goes, and has moved elsewhere before.
                if !self.read_state().retired {
                    return Err(Unable::Refused(Refusal::NotRetired));
                }
                self.blocks.delete(&key)?;
                Response::Done
            }
            Request::List { after } => {
                self.serves()?;
                Response::Keys { keys: self.blocks.list(after.as_ref())? }
            }
        };
        Ok((response, Vec::new()))
    }

    fn put(&self, key: &BlockKey, checksum: u32, bytes: &[u8]) -> Result<Response, Unable> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let refusal = match *state {
            State { retired: true, .. } => Some(Refusal::Retired),
            State { started: false, .. } => Some(Refusal::NotStarted),
            _ if crc32fast::hash(bytes) != checksum => Some(Refusal::Checksum),
            _ => None,
        };
        match refusal {
            Some(why) => Err(Unable::Refused(why)),
            None => match self.blocks.put(key, bytes)? {
                Written::Here => Ok(Response::Done),
                Written::Taken => Err(Unable::Refused(Refusal::KeyTaken)),
            },
        }
    }

    /// Blocks are served by a node that is started, or that is leaving: that one must be emptied, started or not.
    fn serves(&self) -> Result<(), Unable> {
        let state = self.read_state();
        if state.started || state.retired { Ok(()) } else { Err(Unable::Refused(Refusal::NotStarted)) }
    }

    fn read_state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the state, on disk first.
    fn change_state(&self, change: impl FnOnce(&mut State) -> Result<(), Refusal>) -> Result<Response, Unable> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = state.clone();
        change(&mut next).map_err(Unable::Refused)?;
        if next != *state {
            let bytes = serde_json::to_vec_pretty(&next).map_err(io::Error::from)?;
            files::write_atomically(&self.state_file, &bytes)?;
            *state = next;
        }
        Ok(Response::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(dir: &std::path::Path) -> Service {
        let (cluster, name) = ("demo".parse().unwrap(), "w-1".parse().unwrap());
        Service::open(NodeArgs { cluster, name, token: "t".parse().unwrap(), dir: dir.to_owned() }).unwrap()
    }

    fn key() -> BlockKey {
        BlockKey::new("a").unwrap()
    }

    fn put(bytes: &[u8]) -> (Request, &[u8]) {
        (Request::Put { key: key(), checksum: crc32fast::hash(bytes) }, bytes)
    }

    fn refusal(service: &Service, (request, body): (Request, &[u8])) -> Option<Refusal> {
        match service.answer(true, request, body).0 {
            Response::Refused { why } => Some(why),
            Response::Broken { message } => panic!("{message}"),
            _ => None,
        }
    }

    #[test]
    fn data_is_refused_before_the_start_and_while_leaving() {
        let dir = tempfile::tempdir().unwrap();
        let service = service(dir.path());
        assert_eq!(refusal(&service, (Request::Start, b"")), Some(Refusal::NotConfigured));
        assert_eq!(refusal(&service, put(b"x")), Some(Refusal::NotStarted));
        assert_eq!(refusal(&service, (Request::Configure { peers: vec![] }, b"")), None);
        assert_eq!(refusal(&service, put(b"x")), Some(Refusal::NotStarted));
        assert_eq!(refusal(&service, (Request::Get { key: key() }, b"")), Some(Refusal::NotStarted));
        assert_eq!(refusal(&service, (Request::Start, b"")), None);
        assert_eq!(refusal(&service, put(b"x")), None);
        assert_eq!(refusal(&service, put(b"y")), Some(Refusal::KeyTaken));
        let torn = (Request::Put { key: key(), checksum: 1 }, &b"x"[..]);
        assert_eq!(refusal(&service, torn), Some(Refusal::Checksum));
        assert_eq!(refusal(&service, (Request::Delete { key: key() }, b"")), Some(Refusal::NotRetired));
        assert_eq!(refusal(&service, (Request::Retire, b"")), None);
        assert_eq!(refusal(&service, put(b"x")), Some(Refusal::Retired));
        assert_eq!(refusal(&service, (Request::Delete { key: key() }, b"")), None);
    }

    #[test]
    fn a_restarted_node_is_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let first = service(dir.path());
        for request in [Request::Configure { peers: vec!["w-2".parse().unwrap()] }, Request::Start, Request::Retire] {
            assert_eq!(refusal(&first, (request, b"")), None);
        }
        let state = first.read_state();
        drop(first);
        assert_eq!(service(dir.path()).read_state(), state);
        assert!(state.retired && state.started);
    }

    #[test]
    fn whoever_means_another_node_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let service = service(dir.path());
        let other = Request::Hello { token: "other".parse().unwrap() };
        assert_eq!(refusal(&service, (other, b"")), Some(Refusal::WrongNode));
        let (answer, _) = service.answer(false, Request::State, b"");
        assert!(matches!(answer, Response::Refused { why: Refusal::NotGreeted }));
    }
}
