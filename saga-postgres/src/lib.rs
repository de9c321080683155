//! PostgreSQL as the durable home of sagas, shared by any number of workers.
//!
//! It takes one line to move there from another store of `saga-core`:
//!
//! ```no_run
//! # use saga_core::{Coordinator, RecoverError};
//! # async fn start(agency: ()) -> Result<(), Box<dyn std::error::Error>> {
//! use saga_postgres::PostgresStore;
//!
//! // let store = SledStore::open("data")?;
//! let store = PostgresStore::connect("postgresql://app:secret@db1,db2/app?sslmode=require").await?;
//! let coordinator = Coordinator::builder(store, agency).start().await?;
//! # Ok(()) }
//! ```
//!
//! Every worker connects like that. They share the runs: each drives those that it has started or claimed, takes over those
//! of a worker that died when its lease is over, and at once those of a worker that was shut down.
//!
//! # What is durable when
//!
//! A call that has returned is in PostgreSQL's write-ahead log, on disk: sessions raise `synchronous_commit` to `on` where
//! it is off, and leave stricter settings (`remote_apply`) alone. So it survives the crash of any worker and of the server.
//! Whether it survives the loss of the server's machine is up to replication: with an asynchronous standby, a failover
//! can lose the last moments, and runs go on from what the standby has; steps that it does not know of run again. Use
//! synchronous replication (`synchronous_standby_names`) where that must not be. A server with `fsync = off` is warned of.
//!
//! Leases are measured by the server's clock. A batch of appends is one statement: one round trip, one commit.
//!
//! # Tables
//!
//! All are in one schema, `saga` unless [chosen](Options::schema), and are made and migrated by whoever connects first.
//!
//! | table | what it has |
//! |---|---|
//! | `runs` | a row for each run: saga, version, fingerprint, exclusive key, status, newest event, epoch, owner, lease, request to cancel, times |
//! | `journal` | a row for each append: its records, and the place of the last of them |
//! | `migrations` | which versions of the tables were made, when |
//!
//! A build that finds tables of a newer release refuses them ([`StoreError::NewerFormat`]) and changes nothing, so stop old
//! workers before, or let new ones come up when the old ones are gone.
//!
//! # Privileges
//!
//! Nothing needs a superuser. The user who connects first makes the schema, for which it needs `CREATE` on the database, or a
//! schema of that name that it owns. All others get by with less:
//!
//! ```sql
//! GRANT USAGE ON SCHEMA saga TO worker;
//! GRANT SELECT, INSERT, UPDATE, DELETE ON saga.runs, saga.journal TO worker;
//! GRANT SELECT ON saga.migrations TO worker;
//! GRANT USAGE ON SEQUENCE saga.run_numbers TO worker;
//! ```
//!
//! # Addresses
//!
//! `postgresql://user:password@host:port/database?option=value`, with the options of `libpq` that `tokio-postgres` knows.
//!
//! - Several hosts, separated by commas, are tried in turn until one takes writes: that is how a failover is followed. A
//!   replica is never written to, nor read from.
//! - `sslmode=require` (`verify-ca` and `verify-full` mean the same) encrypts, and checks the server's certificate and name,
//!   by the system's roots or those in the file `sslrootcert`. `prefer`, the default, encrypts if the server can, and checks
//!   nothing. `disable` does not encrypt.
//! - Passwords are shown in no error, log or `Debug` text. Reserved characters in them are written as `%XX`.
//!
//! # Operation
//!
//! - **Retention.** Ended runs stay until they are deleted: call [`Store::prune`] from time to time. It deletes by small
//!   transactions, and several workers may call it.
//! - **Vacuum.** Autovacuum is enough. Appends update a run's row in place within its page as long as there is room, which
//!   the tables' settings see to. A transaction that stays open for hours, or a forgotten replication slot, keeps old
//!   versions alive and makes everything slower: watch for those.
//! - **Connections.** A worker uses up to [`pool_size`](Options::pool_size) connections (8 by default) and one that listens
//!   for hints. Appends use one of them at a time. Keep the sum over all workers below the server's `max_connections`.
//! - **Timeouts.** A call that has no answer within [`call_timeout`](Options::call_timeout) is given up, on the server too.
//! - **PgBouncer** works in session mode. In transaction mode it does not: sessions are set up once, with statements.
//! - **Errors** are told as [`StoreError`]s. What may pass is tried again by the coordinator for as long as it takes; runs
//!   wait meanwhile. `Denied`, `Corrupt` and `NewerFormat` are for a person to settle.
//!
//! Tested with PostgreSQL 15; 13 and newer are accepted.
//!
//! # Features
//!
//! - `testing`: throw-away PostgreSQL servers, for tests.
//!
//! [`Store::prune`]: saga_core::store::Store::prune
//! [`StoreError`]: saga_core::store::StoreError
//! [`StoreError::NewerFormat`]: saga_core::store::StoreError::NewerFormat

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
/// The client library, for what is asked of it by [`Connection`]s.
pub use tokio_postgres;
