//! What is printed: a table for people, or one JSON document.

use std::ops::RangeBounds;

use comfy_table::{Cell, CellAlignment, Table};
use serde::{Deserialize, Serialize};

use crate::chart::Line;
use crate::row::Row;

/// All that one run measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The release that was measured.
    pub version: String,
    /// How many CPUs there are.
    pub cpus: usize,
    /// Whether the build was optimized. Figures of one that was not mean nothing.
    pub optimized: bool,
    /// What the PostgreSQL server has set, if there is one.
    pub postgresql: Option<String>,
    /// What was measured.
    pub rows: Vec<Row>,
}

impl Report {
    /// A report of this build, on this machine.
    #[must_use]
    pub fn new(rows: Vec<Row>, postgresql: Option<String>) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            optimized: !cfg!(debug_assertions),
            postgresql,
            rows,
        }
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let headings = [
            "workload",
            "store",
            "workers",
            "clients",
            "sagas/s",
            "p50",
            "p99",
            "CPU/saga",
            "memory",
            "disk/saga",
            "limit",
            "of limit",
        ];
        let rows = self.rows.iter().map(|row| {
            vec![
                row.workload.name().to_owned(),
                row.store.name().to_owned(),
                if row.workers == 0 { "-".to_owned() } else { row.workers.to_string() },
                row.clients.to_string(),
                number(row.sagas_per_second),
                time(row.p50_micros),
                time(row.p99_micros),
                time(row.cpu_micros_per_saga),
                or_dash(row.peak_memory_bytes, |bytes| size(bytes as f64)),
                or_dash(row.disk_bytes_per_saga, size),
                or_dash(row.limit_sagas_per_second, number),
                or_dash(row.share_of_limit(), |share| format!("{:.0} %", share * 100.0)),
            ]
        });
        let table = table(&headings, 2.., rows);
        match &self.postgresql {
            Some(settings) => format!("{table}\n\nPostgreSQL: {settings}"),
            None => table,
        }
    }

    /// For pictures: throughput against the number of clients. A line for each saga on each store, driven by as many workers;
    /// and one for its limit, if that was measured.
    #[must_use]
    pub fn chart(&self) -> Vec<Line> {
        let several_workloads = self.rows.iter().any(|row| row.workload != self.rows[0].workload);
        let what = |row: &Row| (row.workload, row.store, row.workers);
        let mut lines: Vec<Line> = Vec::new();
        for rows in self.rows.chunk_by(|one, other| what(one) == what(other)) {
            let mut name = rows[0].store.name().to_owned();
            if several_workloads {
                name = format!("{} on {name}", rows[0].workload.name());
            }
            if rows[0].workers > 0 {
                name = format!("{name}, workers: {}", rows[0].workers);
            }
            let mut rows: Vec<&Row> = rows.iter().collect();
            rows.sort_by_key(|row| row.clients);
            let clients = |row: &Row| row.clients as f64;
            let limit: Vec<_> =
                rows.iter().filter_map(|row| Some((clients(row), row.limit_sagas_per_second?))).collect();
            let limit_name = format!("{name}: the limit");
            let points = rows.iter().map(|row| (clients(row), row.sagas_per_second)).collect();
            lines.push(Line { name, points, is_limit: false });
            if !limit.is_empty() {
                lines.push(Line { name: limit_name, points: limit, is_limit: true });
            }
        }
        lines
    }

    /// For programs.
    ///
    /// # Panics
    ///
    /// Never: a report always has a JSON form.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has a JSON form")
    }
}

/// A table without lines. The columns that are figures are aligned to the right.
#[must_use]
pub fn table(
    headings: &[&str],
    figures: impl RangeBounds<usize>,
    rows: impl IntoIterator<Item = Vec<String>>,
) -> String {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(headings.iter().map(Cell::new));
    for row in rows {
        table.add_row(row);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if figures.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn or_dash<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

/// Three digits that mean something, with thousands set apart.
#[must_use]
pub fn number(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.2}");
    }
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut number = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            number.push(' ');
        }
        number.push(digit);
    }
    number
}

/// A time, given in microseconds.
#[must_use]
pub fn time(micros: f64) -> String {
    match micros {
        _ if micros < 1e3 => format!("{} µs", number(micros)),
        _ if micros < 1e6 => format!("{} ms", number(micros / 1e3)),
        _ => format!("{} s", number(micros / 1e6)),
    }
}

/// A size, given in bytes.
#[must_use]
pub fn size(bytes: f64) -> String {
    match bytes {
        _ if bytes < 1024.0 => format!("{bytes:.0} B"),
        _ if bytes < 1024.0 * 1024.0 => format!("{} KiB", number(bytes / 1024.0)),
        _ => format!("{} MiB", number(bytes / (1024.0 * 1024.0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stores::StoreKind;
    use crate::workload::Workload;

    #[test]
    fn figures_are_easy_to_read() {
        assert_eq!([number(1.234), number(56.78), number(999.4)], ["1.23", "56.8", "999"]);
        assert_eq!([number(1234.5), number(1_234_567.0)], ["1 234", "1 234 567"]);
        assert_eq!([time(12.3), time(4_560.0), time(2_500_000.0)], ["12.3 µs", "4.56 ms", "2.50 s"]);
        assert_eq!([size(100.0), size(2048.0), size(3.0 * 1024.0 * 1024.0)], ["100 B", "2.00 KiB", "3.00 MiB"]);
    }

    #[test]
    fn a_report_is_a_table_and_a_document() {
        let row = Row {
            workload: Workload::Linear5,
            store: StoreKind::Sled,
            durability: "fdatasync".to_owned(),
            workers: 0,
            clients: 16,
            sagas: 100,
            seconds: 0.5,
            sagas_per_second: 200.0,
            p50_micros: 10.0,
            p99_micros: 20.0,
            cpu_micros_per_saga: 5.0,
            peak_memory_bytes: None,
            appends_per_saga: 6.0,
            journal_bytes_per_saga: 1000.0,
            appends_per_group: 10.0,
            disk_bytes_per_saga: Some(2000.0),
            limit_sagas_per_second: Some(400.0),
        };
        let more = Row { clients: 64, sagas_per_second: 300.0, ..row.clone() };
        let report = Report::new(vec![row, more], None);
        let table = report.table();
        assert!(
            table.lines().nth(1).is_some_and(|line| line.starts_with("linear-5") && line.ends_with("50 %")),
            "{table}"
        );
        let document: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(document["rows"][0]["workload"], "linear-5");
        assert_eq!(document["rows"][0]["sagas_per_second"], 200.0);
        let line = |name: &str, points: &[(f64, f64)], is_limit| Line {
            name: name.to_owned(),
            points: points.to_vec(),
            is_limit,
        };
        let [first, second] = [(16.0, 200.0), (64.0, 300.0)];
        let limit = line("sled: the limit", &[(16.0, 400.0), (64.0, 400.0)], true);
        assert_eq!(report.chart(), [line("sled", &[first, second], false), limit]);
    }
}
