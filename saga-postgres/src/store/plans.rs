//! The plans of the store's statements are the same whatever the tables hold, and look everything up by index.

use super::*;
use crate::testing;

/// Each statement, with parameters that are as good as any: a generic plan does not depend on them.
fn statements(store: &PostgresStore) -> Vec<(&'static str, String, usize)> {
    let Statements { append, claims, read, retention } = &*store.sql;
    let mut statements = append.all();
    statements.extend(claims.all());
    statements.extend(read.all());
    statements.extend(retention.all());
    statements
        .into_iter()
        .map(|(name, sql)| {
            let parameters = (1..40).filter(|number| sql.contains(&format!("${number}"))).count();
            (name, sql.to_owned(), parameters)
        })
        .collect()
}

/// The plan of each statement on a new connection, as a worker makes it that starts now.
async fn plans(url: &str) -> Vec<(&'static str, String)> {
    let store = PostgresStore::connect(url).await.expect("the server works");
    let connection = store.database.connection().await.expect("the server works");
    let mut plans = Vec::new();
    for (number, (name, sql, parameters)) in statements(&store).into_iter().enumerate() {
        connection.batch(&format!("PREPARE statement_{number} AS {sql}")).await.expect("it is a statement");
        let nulls = vec!["NULL"; parameters].join(", ");
        let nulls = if parameters == 0 { String::new() } else { format!("({nulls})") };
        let explain = format!("EXPLAIN (COSTS OFF) EXECUTE statement_{number}{nulls}");
        let rows = connection.guard(connection.client().simple_query(&explain)).await.expect("it can be planned");
        let lines = rows.iter().filter_map(|row| match row {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        // What is numbered is numbered by the way in which the planner came there.
        let text: Vec<String> = lines.map(|line| line.split(" (returns").next().unwrap_or(line).to_owned()).collect();
        plans.push((name, text.join("\n")));
    }
    plans
}

#[tokio::test]
async fn there_is_one_plan_for_each_statement() {
    let url = testing::database().await;
    let when_new = plans(&url).await;
    for (name, plan) in &when_new {
        assert!(!plan.contains("Seq Scan"), "{name} reads a whole table:\n{plan}");
        // An index is only ever searched by what it begins with.
        let scans = plan.lines().filter(|line| line.contains("Index Scan") || line.contains("Index Only Scan")).count();
        assert_eq!(plan.matches("Index Cond").count(), scans, "{name} reads a whole index:\n{plan}");
    }
    // Many runs, of which next to none are live, rest, have a key or a lease: the worst that statistics can say.
    let fill = |from: u32, to: u32| {
        format!(
            "INSERT INTO saga.runs SELECT 'run-' || i, i, 's' || i % 3, 1, '6ba7b812-9dad-11d1-80b4-00c04fd430c8',
                 CASE WHEN i % 500 < 2 THEN 'key-' || i END, CASE WHEN i % 500 = 0 THEN 0 ELSE 3 END, 5, 1, NULL,
                 CASE WHEN i % 500 = 0 THEN '-infinity'::timestamptz END, NULL, i, i,
                 CASE WHEN i % 500 = 0 THEN NULL ELSE i END
             FROM generate_series({from}, {to}) AS i;
             INSERT INTO saga.journal SELECT i, s, 'x' FROM generate_series({from}, {to}) AS i, generate_series(1, 2) AS s;"
        )
    };
    let look = "VACUUM ANALYZE saga.runs";
    let look_too = "VACUUM ANALYZE saga.journal";
    for (when, sql) in [
        ("empty, and known to be", vec![look.to_owned(), look_too.to_owned()]),
        ("filled, and thought to be empty", vec![fill(1, 1000)]),
        ("small", vec![look.to_owned(), look_too.to_owned()]),
        ("large, and thought to be small", vec![fill(1001, 50_000)]),
        ("large", vec![look.to_owned(), look_too.to_owned()]),
    ] {
        for sql in sql {
            testing::execute(&url, &sql).await;
        }
        for ((name, before), (_, now)) in when_new.iter().zip(plans(&url).await) {
            assert_eq!(*before, now, "the plan of {name} is another one when the tables are {when}");
        }
    }
}
