//! Both ends of conversations, with a desk that only pretends.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokio::sync::mpsc::Sender;
use tokio::sync::watch;

use super::wire::{Call, Line, PROTOCOL};
use super::{Answer, Conversation, Heard, Server, Unanswered, socket, wire};
use crate::cli::reply::Reply;
use crate::cli::request::Request;
use crate::cli::trouble::Exit;

/// Repeats who asked, and ends when it may.
#[derive(Clone)]
struct Echo {
    may_end: watch::Receiver<bool>,
    ended: watch::Sender<u32>,
}

impl Echo {
    fn new() -> (Self, watch::Sender<bool>) {
        let (gate, may_end) = watch::channel(false);
        (Self { may_end, ended: watch::Sender::new(0) }, gate)
    }
}

impl Answer for Echo {
    async fn answer(&self, call: Call, replies: Sender<Reply>) -> Exit {
        let _ = replies.send(Reply::note(format!("{} by {}", call.request, call.by))).await;
        let _ = self.may_end.clone().wait_for(|may| *may).await;
        self.ended.send_modify(|count| *count += 1);
        Exit::RolledBack
    }
}

fn call() -> Call {
    Call::new("alice", Request::List)
}

async fn note(conversation: &mut Conversation) -> String {
    match conversation.next().await {
        Heard::Reply(Reply::Note { text }) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_request_is_answered_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let (echo, gate) = Echo::new();
    let server = Server::open(&path, echo).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let mut conversation = Conversation::open(&path, &call()).await.unwrap();
    assert_eq!(note(&mut conversation).await, "list by alice");
    assert_eq!(server.conversations(), 1);
    gate.send(true).unwrap();
    assert!(matches!(conversation.next().await, Heard::Finished(Exit::RolledBack)));
    server.idle().await;
    server.close().await;
    assert!(!path.exists());
    assert!(matches!(Conversation::open(&path, &call()).await, Err(Unanswered::NobodyListens)));
}

#[tokio::test]
async fn what_was_asked_for_goes_on_without_the_one_who_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let (echo, gate) = Echo::new();
    let mut ended = echo.ended.subscribe();
    let server = Server::open(&path, echo).unwrap();
    drop(Conversation::open(&path, &call()).await.unwrap());
    gate.send(true).unwrap();
    ended.wait_for(|count| *count == 1).await.unwrap();
    server.close().await;
}

#[tokio::test]
async fn a_stale_socket_is_nobody_and_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    // Nobody ever listened there, so no process that is just being started has something that does.
    let deaf = tokio::net::UnixSocket::new_stream().unwrap();
    let (short, _directory) = socket::shorten(&path).unwrap();
    deaf.bind(short).unwrap();
    drop(deaf);
    assert!(path.exists());
    assert!(matches!(Conversation::open(&path, &call()).await, Err(Unanswered::NobodyListens)));
    let (echo, _gate) = Echo::new();
    let server = Server::open(&path, echo).unwrap();
    let mut conversation = Conversation::open(&path, &call()).await.unwrap();
    assert_eq!(note(&mut conversation).await, "list by alice");
    drop(server);
}

#[tokio::test]
async fn a_holder_that_vanishes_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let (short, _directory) = socket::shorten(&path).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(short).unwrap();
    let (may_die, die) = std::sync::mpsc::channel::<()>();
    let holder = std::thread::spawn(move || {
        use std::io::{BufRead, BufReader, Write};
        let (mut stream, _) = listener.accept().unwrap();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut String::new()).unwrap();
        stream.write_all(b"\"accepted\"\n{\"reply\":").unwrap();
        die.recv().unwrap();
        drop(stream);
        drop(listener.accept().unwrap());
    });
    let mut conversation = Conversation::open(&path, &call()).await.unwrap();
    may_die.send(()).unwrap();
    assert!(matches!(conversation.next().await, Heard::Gone));
    assert!(matches!(Conversation::open(&path, &call()).await, Err(Unanswered::Unknown(_))));
    holder.join().unwrap();
}

#[tokio::test]
async fn a_path_may_be_longer_than_a_socket_address() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("d".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    let path = deep.join("control.sock");
    let (echo, gate) = Echo::new();
    gate.send(true).unwrap();
    let server = Server::open(&path, echo).unwrap();
    Conversation::open(&path, &call()).await.unwrap();
    server.close().await;
}

/// Says a line to the server as it is, and returns what the first answer after the acceptance is.
async fn say(path: &Path, line: &str) -> Line {
    use tokio::io::AsyncWriteExt;
    let mut stream = tokio::io::BufReader::new(socket::connect(path).await.unwrap());
    stream.write_all(line.as_bytes()).await.unwrap();
    assert_eq!(wire::read(&mut stream).await.unwrap().unwrap(), "\"accepted\"");
    wire::parse(&wire::read(&mut stream).await.unwrap().unwrap()).unwrap()
}

#[tokio::test]
async fn another_release_is_told_from_nonsense() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let (echo, _gate) = Echo::new();
    let server = Server::open(&path, echo).unwrap();
    let newer = format!("{{\"protocol\":{},\"telepathy\":true}}\n", PROTOCOL + 1);
    let strange = format!("{{\"protocol\":{PROTOCOL},\"by\":\"x\",\"request\":{{\"command\":\"dance\"}}}}\n");
    for (line, expected) in [
        (newer.as_str(), "another release"),
        (strange.as_str(), "does not know this request"),
        ("GET / HTTP/1.1\n", "not the control protocol"),
    ] {
        let Line::Reply(reply) = say(&path, line).await else { panic!("{line}") };
        let Reply::Error(trouble) = *reply else { panic!("{line}") };
        assert!(trouble.what.contains(expected), "{}", trouble.what);
    }
    server.close().await;
}
