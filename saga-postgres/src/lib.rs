//! PostgreSQL as the durable home of sagas.

mod address;
mod connection;
mod database;
mod error;
mod migrate;
mod options;
mod session;
mod store;
mod tls;

#[cfg(feature = "testing")]
pub mod testing;

pub use connection::Connection;
pub use database::Database;
pub use options::Options;
pub use store::PostgresStore;
