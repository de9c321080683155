//! Tables that read well at 80 columns.

use comfy_table::{Cell, ColumnConstraint, ContentArrangement, Table, Width};

/// The width to write for: that of the terminal, or 80.
pub(super) fn width() -> u16 {
    let terminal = rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| size.ws_col);
    terminal.filter(|columns| *columns >= 40).unwrap_or(80)
}

/// A table without lines, of which only the last column is wrapped.
pub(super) fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width());
    table.set_header(headings.iter().map(Cell::new));
    for row in rows {
        table.add_row(row);
    }
    let last = headings.len() - 1;
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if index < last {
            column.set_constraint(ColumnConstraint::ContentWidth);
        } else {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(16)));
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Breaks text for standard output into lines that fit, each after the first indented as far as the first one begins.
pub(in crate::cli) fn wrapped(indent: usize, text: &str) -> String {
    wrapped_to(usize::from(width()), indent, text)
}

/// The same for standard error. Where that is no terminal, lines stay whole: a log is searched, not read.
pub(super) fn wrapped_error(indent: usize, text: &str) -> String {
    let terminal = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
    match terminal.map(|size| usize::from(size.ws_col)).filter(|columns| *columns >= 40) {
        Some(columns) => wrapped_to(columns, indent, text),
        None => text.replace('\n', &format!("\n{}", " ".repeat(indent))),
    }
}

fn wrapped_to(width: usize, indent: usize, text: &str) -> String {
    let room = width.saturating_sub(indent).max(20);
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines.join(&format!("\n{}", " ".repeat(indent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words_and_indented() {
        assert_eq!(wrapped_to(26, 2, "one two three four five six seven"), "one two three four five\n  six seven");
        assert_eq!(wrapped_to(26, 2, "a\nb"), "a\n  b");
        assert_eq!(wrapped_to(1, 0, &"x".repeat(40)), "x".repeat(40));
    }

    #[test]
    fn a_table_keeps_within_its_width_and_wraps_what_is_last() {
        let why = "something that takes a great many words to explain, more than fit into a line of this table";
        let table = table(&["NAME", "STATUS", "WHY"], [vec!["store".into(), "error".into(), why.into()]]);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines.len() > 2 && lines.iter().all(|line| line.chars().count() <= usize::from(width())), "{table}");
        assert!(lines[1].starts_with("store  error   something"), "{table}");
    }
}
