//! Whatever a cluster looks like, the plan for it is whole, balanced and no larger than it must be.

use proptest::prelude::*;

use super::*;

fn server(id: &str, slots: impl IntoIterator<Item = u16>) -> Server {
    Server { id: id.into(), slots: slots.into_iter().collect(), ..Server::default() }
}

fn leaving(mut server: Server) -> Server {
    server.leaves = true;
    server
}

fn replica(id: &str, master: &str) -> Server {
    Server { id: id.into(), master: Some(master.into()), ..Server::default() }
}

fn moved(moves: &[Move]) -> usize {
    moves.iter().map(|one| one.slots.len()).sum()
}

#[test]
fn a_new_cluster_is_divided() {
    let servers = ["a", "b", "c"].map(|id| server(id, []));
    let masters = choose_masters(&servers, 0);
    let moves = plan_moves(&servers, &masters);
    let slots: Vec<_> = moves.iter().map(|one| (one.from.clone(), one.to.as_str(), one.slots.len())).collect();
    assert_eq!(slots, [(None, "a", 5462), (None, "b", 5461), (None, "c", 5461)]);
}

#[test]
fn a_fourth_master_gets_its_share_and_nothing_else_moves() {
    let servers = [server("a", 0..5462), server("b", 5462..10923), server("c", 10923..SLOTS), server("d", [])];
    let masters = choose_masters(&servers, 0);
    let moves = plan_moves(&servers, &masters);
    assert_eq!(moved(&moves), 4096);
    assert!(moves.iter().all(|one| one.to == "d"));
}

#[test]
fn who_leaves_is_emptied() {
    let servers =
        [server("a", 0..4096), server("b", 4096..8192), server("c", 8192..12288), leaving(server("d", 12288..SLOTS))];
    let masters = choose_masters(&servers, 0);
    assert_eq!(masters, ["a", "b", "c"]);
    let moves = plan_moves(&servers, &masters);
    assert_eq!(moved(&moves), 4096);
    assert!(moves.iter().all(|one| one.from.as_deref() == Some("d")));
}

#[test]
fn with_replicas_fewer_nodes_are_masters() {
    assert_eq!(masters_among(6, 1), 3);
    assert_eq!(masters_among(7, 1), 3);
    assert_eq!(masters_among(8, 1), 4);
    assert_eq!(masters_among(5, 0), 5);
    // While nodes leave, before others come, there may be no replicas for a while, but never fewer than three masters.
    assert_eq!(masters_among(4, 1), 3);
    assert_eq!(masters_among(2, 0), 2);
}

#[test]
fn a_replica_that_loses_its_master_is_promoted_before_another() {
    let servers = [
        leaving(server("a", 0..5462)),
        server("b", 5462..10923),
        server("c", 10923..SLOTS),
        replica("d", "b"),
        replica("e", "a"),
        replica("f", "c"),
    ];
    assert_eq!(choose_masters(&servers, 1), ["b", "c", "e"]);
}

#[test]
fn replicas_stay_where_they_are_if_that_is_even() {
    let servers = [
        server("a", [0]),
        server("b", [1]),
        server("c", [2]),
        replica("d", "c"),
        replica("e", "gone"),
        replica("f", "c"),
        replica("g", "a"),
    ];
    let masters: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
    let homes = plan_replicas(&servers, &masters);
    let homes: Vec<_> = homes.iter().map(|(replica, master)| (replica.as_str(), master.as_str())).collect();
    assert_eq!(homes, [("d", "c"), ("e", "b"), ("f", "c"), ("g", "a")]);
}

/// Servers among which the slots are dealt out at random, some of them to nobody; some leave, some are replicas.
fn servers() -> impl Strategy<Value = Vec<Server>> {
    let roles = prop::collection::vec((any::<bool>(), 0..4u8, 0..9usize), 3..9);
    (roles, prop::collection::vec((0..10usize, 1..900u16), 1..80)).prop_map(|(roles, runs)| {
        let mut servers: Vec<Server> = roles
            .iter()
            .enumerate()
            .map(|(i, (leaves, _, _))| Server { id: format!("s{i}"), leaves: *leaves && i >= 3, ..Server::default() })
            .collect();
        let mut slot = 0;
        for (owner, length) in runs {
            let end = (slot + length).min(SLOTS);
            if let Some(server) = servers.get_mut(owner) {
                server.slots.extend(slot..end);
            }
            slot = end;
        }
        let ids: Vec<String> = servers.iter().map(|server| server.id.clone()).collect();
        for (server, (_, role, master)) in servers.iter_mut().zip(&roles) {
            let master = &ids[master % ids.len()];
            if *role == 0 && server.slots.is_empty() && *master != server.id {
                server.master = Some(master.clone());
            }
        }
        servers
    })
}

proptest! {
    #[test]
    fn masters_stay_and_are_as_many_as_they_should_be(servers in servers(), replicas in 0..3usize) {
        let masters = choose_masters(&servers, replicas);
        let staying: Vec<&Server> = servers.iter().filter(|server| !server.leaves).collect();
        prop_assert_eq!(masters.len(), masters_among(staying.len(), replicas));
        prop_assert!(masters.iter().all(|id| staying.iter().any(|server| server.id == *id)));
        // Whoever is passed over owns no more than who was chosen.
        let owned = |id: &String| servers.iter().find(|server| server.id == *id).map_or(0, |server| server.slots.len());
        let least = masters.iter().map(owned).min().unwrap_or(0);
        prop_assert!(staying.iter().all(|server| masters.contains(&server.id) || server.slots.len() <= least));
    }

    #[test]
    fn after_the_moves_every_slot_has_one_owner_and_masters_are_even(servers in servers(), replicas in 0..3usize) {
        let masters = choose_masters(&servers, replicas);
        let moves = plan_moves(&servers, &masters);
        let mut owners: BTreeMap<String, SlotSet> =
            servers.iter().map(|server| (server.id.clone(), server.slots.clone())).collect();
        let mut given: SlotSet = SlotSet::new();
        for one in &moves {
            prop_assert!(!one.slots.is_empty() && one.from.as_ref() != Some(&one.to));
            for slot in &one.slots {
                match &one.from {
                    Some(from) => prop_assert!(owners.get_mut(from).unwrap().remove(slot), "it was not its own"),
                    None => prop_assert!(servers.iter().all(|server| !server.slots.contains(slot))),
                }
                prop_assert!(given.insert(*slot), "moved once");
                owners.get_mut(&one.to).unwrap().insert(*slot);
            }
        }
        let counts: Vec<usize> = masters.iter().map(|id| owners[id].len()).collect();
        prop_assert_eq!(counts.iter().sum::<usize>(), usize::from(SLOTS));
        prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
        // No plan with fewer moves makes it even: everybody keeps all that may be kept.
        let (each, over) = (usize::from(SLOTS) / masters.len(), usize::from(SLOTS) % masters.len());
        let owned = |id: &String| servers.iter().find(|server| server.id == *id).unwrap().slots.len();
        let kept: usize = masters.iter().map(|id| owned(id).min(each)).sum();
        let more = masters.iter().filter(|id| owned(id) > each).count().min(over);
        prop_assert_eq!(moved(&moves), usize::from(SLOTS) - kept - more);
    }

    #[test]
    fn replicas_are_even_and_move_no_more_than_they_must(servers in servers(), replicas in 0..3usize) {
        let masters = choose_masters(&servers, replicas);
        let homes = plan_replicas(&servers, &masters);
        let expected = servers.iter().filter(|server| !server.leaves && !masters.contains(&server.id)).count();
        prop_assert_eq!(homes.len(), expected);
        let counts: Vec<usize> =
            masters.iter().map(|id| homes.values().filter(|home| *home == id).count()).collect();
        prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
        // Done once, there is nothing left to do.
        let settled: Vec<Server> = servers
            .iter()
            .map(|server| Server { master: homes.get(&server.id).cloned(), ..server.clone() })
            .collect();
        prop_assert_eq!(plan_replicas(&settled, &masters), homes);
    }
}
