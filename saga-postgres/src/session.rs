//! How every connection is set up, and what is looked at once.

use saga_core::store::StoreError;
use tracing::warn;

use crate::connection::Connection;
use crate::options::Options;

/// The oldest server that is accepted: those before it get no corrections any more.
const OLDEST_SERVER: i32 = 13_00_00;

/// The statements that a new connection begins with.
///
/// They are statements and no start-up options, because connection poolers in between refuse or ignore the latter.
pub(crate) fn setup(options: &Options) -> String {
    let millis = options.call_timeout.as_millis();
    // Names are resolved as PostgreSQL's own and nobody else's: nobody can slip in a function of the same name.
    // Appends compare under the row's lock, for which READ COMMITTED is what is needed; a default may be another.
    // An answer has to mean that it is on disk; stricter settings (a standby has it too) are left as they are.
    format!(
        "SET search_path = pg_catalog, pg_temp;
         SET default_transaction_isolation = 'read committed';
         SET statement_timeout = {millis};
         SET idle_in_transaction_session_timeout = {millis};
         SET client_min_messages = warning;
         SET jit = off;
         SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
         {PLANS}"
    )
}

/// Plans that stay right, whatever the tables held when they were made.
///
/// To plan the append takes about 0.6 ms, where a batch of 64 takes some 1.4 ms as a whole, so statements are planned once for
/// each connection (`force_generic_plan`). A plan that was made for an empty table may be the wrong one a second later, and
/// PostgreSQL plans anew only when it has looked at the table again, which can be minutes. So there is to be only one
/// plan: nothing is ever found by reading a whole table, and the statements and indexes of the store leave but one index to
/// each look-up. A test compares the plans for tables that are empty, small and large.
const PLANS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off;";

/// Refuses servers that are too old, and warns of one that does not sync.
pub(crate) async fn check_server(connection: &Connection) -> Result<(), StoreError> {
    let sql = "SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
               current_setting('fsync') = 'on'";
    let row = connection.query_one(sql, &[]).await?;
    let (number, version, syncs): (i32, String, bool) = (row.get(0), row.get(1), row.get(2));
    if number < OLDEST_SERVER {
        let message = format!("it is PostgreSQL {version}; 13 or newer is needed");
        return Err(StoreError::Denied { message });
    }
    if !syncs {
        warn!(
            "the PostgreSQL server runs with fsync = off: a crash of its machine can lose or damage what it acknowledged"
        );
    }
    Ok(())
}
