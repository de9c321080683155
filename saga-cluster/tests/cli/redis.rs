//! A Redis Cluster on the command line: each command is a process of its own, and finds what the one before it made.

use crate::support::Place;

const SPEC: &str = "name = 'cache'\nplugin = 'redis'\nengine = 'process'\n\n\
                    [[groups]]\nname = 'east'\ncount = 3\n\n[groups.settings.config]\ncluster-node-timeout = 3000\n";

/// The servers of a place: their standard input is in its data directory. They end with it, even if the test fails.
struct Servers<'a>(&'a Place);

impl Servers<'_> {
    fn pids(&self) -> Vec<i32> {
        let data = self.0.data();
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid: &i32| std::fs::read_link(format!("/proc/{pid}/fd/0")).is_ok_and(|at| at.starts_with(&data)))
            .collect()
    }
}

impl Drop for Servers<'_> {
    fn drop(&mut self) {
        for pid in self.pids().into_iter().filter_map(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

#[test]
fn a_redis_cluster_is_made_shown_scaled_and_deleted() {
    let place = Place::new();
    let servers = Servers(&place);
    let spec = place.file("cache.toml", SPEC);
    place.run(&["create", &spec]).expect(0);
    let show = place.run(&["show", "cache"]).expect(0).stdout;
    assert!(show.contains("health   green") && show.contains("plugin redis"), "{show}");
    assert_eq!(servers.pids().len(), 3);
    place.run(&["scale", "cache", "east=+1"]).expect(0);
    let refused = place.run(&["scale", "cache", "east=2"]).expect(2);
    assert!(refused.stderr.contains("3 masters"), "{refused:?}");
    place.run(&["scale", "cache", "east=3"]).expect(0);
    assert_eq!(servers.pids().len(), 3);
    place.run(&["delete", "cache"]).expect(0);
    assert_eq!(servers.pids().len(), 0);
}

#[test]
fn a_spec_that_redis_cannot_be_is_refused_before_anything_is_made() {
    let place = Place::new();
    let spec = place.file("cache.toml", &SPEC.replace("count = 3", "count = 2"));
    let refused = place.run(&["create", &spec]).expect(2);
    assert!(refused.stderr.contains("at least 3 masters"), "{refused:?}");
    assert!(place.run(&["list"]).expect(0).stdout.contains("no clusters"));
}
