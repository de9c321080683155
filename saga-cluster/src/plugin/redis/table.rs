//! What a server says of its cluster: the answer to `CLUSTER NODES`.

use std::collections::{BTreeMap, BTreeSet};

/// How many slots a cluster has.
pub(super) const SLOTS: u16 = 16384;

/// Some of the slots.
pub(super) type SlotSet = BTreeSet<u16>;

/// One server, as one (other) server sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Row {
    pub(super) id: String,
    /// The port of the cluster bus.
    pub(super) bus_port: Option<u16>,
    pub(super) flags: BTreeSet<String>,
    /// Whose replica it is.
    pub(super) master: Option<String>,
    pub(super) epoch: u64,
    pub(super) slots: SlotSet,
    /// The slots that it is giving away, and to whom. Only a server itself says this.
    pub(super) migrating: BTreeMap<u16, String>,
    /// The slots that it is being given, and by whom. Only a server itself says this.
    pub(super) importing: BTreeMap<u16, String>,
}

impl Row {
    pub(super) fn is(&self, flag: &str) -> bool {
        self.flags.contains(flag)
    }

    /// Whether nothing is said against it.
    pub(super) fn is_sound(&self) -> bool {
        !["fail", "fail?", "handshake", "noaddr"].into_iter().any(|flag| self.is(flag))
    }
}

/// All servers that a server knows, itself included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Reads an answer; `None` if it makes no sense.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let rows: Option<Vec<Row>> = text.lines().map(parse_row).collect();
        rows.filter(|rows| rows.iter().any(|row| row.is("myself"))).map(|rows| Self { rows })
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The server that was asked.
    pub(super) fn own(&self) -> &Row {
        // `parse` made sure that there is one.
        self.rows.iter().find(|row| row.is("myself")).unwrap_or(&self.rows[0])
    }

    pub(super) fn row(&self, id: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.id == id)
    }

    /// Whether it knows nobody but itself.
    pub(super) fn is_alone(&self) -> bool {
        self.rows.len() == 1
    }
}

/// Reads `id ip:port@bus[,hostname] flags master ping pong epoch link slot…`.
fn parse_row(line: &str) -> Option<Row> {
    let mut words = line.split_whitespace();
    let mut row = Row { id: words.next()?.to_owned(), ..Row::default() };
    let address = words.next()?.split(',').next()?;
    row.bus_port = address.rsplit_once('@').and_then(|(_, port)| port.parse().ok());
    row.flags = words.next()?.split(',').map(str::to_owned).collect();
    row.master = words.next().filter(|master| *master != "-").map(str::to_owned);
    row.epoch = words.nth(2)?.parse().ok()?;
    words.next()?;
    for word in words {
        match word.strip_prefix('[') {
            None => {
                let (first, last) = word.split_once('-').unwrap_or((word, word));
                row.slots.extend(first.parse::<u16>().ok()?..=last.parse::<u16>().ok().filter(|last| *last < SLOTS)?);
            }
            Some(open) => {
                let open = open.strip_suffix(']')?;
                if let Some((slot, to)) = open.split_once("->-") {
                    row.migrating.insert(slot.parse().ok()?, to.to_owned());
                } else {
                    let (slot, from) = open.split_once("-<-")?;
                    row.importing.insert(slot.parse().ok()?, from.to_owned());
                }
            }
        }
    }
    Some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let text = "\
            aa 127.0.0.1:7101@7201,w-1.6c myself,master - 0 0 7 connected 0-3 9 [5->-bb] [6-<-cc]\n\
            bb 127.0.0.1:7102@7202 slave,fail? aa 0 1795415794746 2 disconnected\n\
            cc :0@0,,shard-id=12 master,noaddr - 0 0 0 disconnected\n";
        let table = Table::parse(text).unwrap();
        let own = table.own();
        assert_eq!((own.id.as_str(), own.bus_port, own.epoch), ("aa", Some(7201), 7));
        assert_eq!(own.slots, SlotSet::from([0, 1, 2, 3, 9]));
        assert_eq!(own.migrating, BTreeMap::from([(5, "bb".to_owned())]));
        assert_eq!(own.importing, BTreeMap::from([(6, "cc".to_owned())]));
        assert!(own.is_sound() && own.master.is_none() && !table.is_alone());
        let replica = table.row("bb").unwrap();
        assert!(!replica.is_sound() && replica.master.as_deref() == Some("aa"));
        assert!(!table.row("cc").unwrap().is_sound() && table.row("dd").is_none());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "aa", "aa 1:1@1 master - 0 0 1 connected", "aa 1:1@1 myself - 0 0 1 connected 0-16384"] {
            assert_eq!(Table::parse(text), None, "{text}");
        }
    }
}
