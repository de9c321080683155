//! Encrypted connections. The key and the certificates in `tests/tls` serve nothing but this.

use std::any::Any;
use std::net::TcpListener;

use saga_core::store::StoreError;
use saga_postgres::testing::{self, Server};
use saga_postgres::{Database, PostgresStore};

/// A server that listens on loopback, and its port.
fn listening() -> (Server, u16) {
    loop {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let port = free.expect("there are ports").port();
        let settings = format!("listen_addresses = '127.0.0.1'\nport = {port}");
        // It was free a moment ago, but somebody may be faster.
        match std::panic::catch_unwind(|| Server::options().fast(true).setting(&settings).start()) {
            Ok(server) => return (server, port),
            Err(panic) if told(&*panic).contains("Address already in use") => {}
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn told(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<String>().map_or("", String::as_str)
}

/// A server that encrypts, and its address up to the options.
async fn encrypting() -> (Server, String) {
    let (server, port) = listening();
    let socket = server.host().display().to_string().replace('/', "%2F");
    let by_socket = format!("postgresql://postgres@{socket}:{port}/postgres");
    for (file, text) in
        [("server.key", include_str!("../tls/server.key")), ("server.crt", include_str!("../tls/server.pem"))]
    {
        // Written by the server itself, so that the files are its own, as it demands.
        let lines = format!("SELECT unnest(string_to_array('{}', E'\\n'))", text.trim_end());
        testing::execute(&by_socket, &format!("COPY ({lines}) TO PROGRAM 'umask 077; cat > {file}'")).await;
    }
    testing::execute(&by_socket, "ALTER SYSTEM SET ssl = on").await;
    testing::execute(&by_socket, "SELECT pg_reload_conf()").await;
    // A new connection may still find the old settings for a moment.
    while testing::ask::<String>(&by_socket, "SELECT current_setting('ssl')").await != "on" {}
    (server, format!("postgresql://postgres@localhost:{port}/postgres"))
}

async fn is_encrypted(url: &str) -> bool {
    let database = Database::connect(url).await.expect("the server works");
    let connection = database.connection().await.expect("the server works");
    let ssl = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    connection.query_one(ssl, &[]).await.expect("the server works").get(0)
}

/// The modes of an address mean what they say.
#[tokio::test]
async fn modes_are_kept() {
    let (_server, url) = encrypting().await;
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/root.pem");
    assert!(is_encrypted(&url).await, "what the server can do is used");
    assert!(!is_encrypted(&format!("{url}?sslmode=disable")).await);
    for mode in ["require", "verify-full"] {
        assert!(is_encrypted(&format!("{url}?sslmode={mode}&sslrootcert={root}")).await, "{mode}");
    }
    PostgresStore::connect(&format!("{url}?sslmode=require&sslrootcert={root}")).await.expect("the server works");
}

/// A certificate that nobody vouches for, or that is another host's, is refused, and not as something that may pass.
#[tokio::test]
async fn a_wrong_certificate_is_refused() {
    let (_server, url) = encrypting().await;
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/server.pem");
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/root.pem");
    let another_name = url.replace("@localhost", "@127.0.0.2");
    for wrong in [
        format!("{url}?sslmode=require&sslrootcert={own}"),
        format!("{another_name}?hostaddr=127.0.0.1&sslmode=require&sslrootcert={root}"),
    ] {
        let error = Database::connect(&wrong).await.map(|_| ()).expect_err("it is not trusted");
        assert!(matches!(&error, StoreError::Denied { message } if message.contains("certificate")), "{error:?}");
    }
}

/// A server that does not encrypt is refused where encryption is required.
#[tokio::test]
async fn a_server_that_does_not_encrypt_is_refused() {
    let (_server, port) = listening();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/root.pem");
    let url = format!("postgresql://postgres@localhost:{port}/postgres?sslmode=require&sslrootcert={root}");
    let error = Database::connect(&url).await.map(|_| ()).expect_err("it does not encrypt");
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
}
