//! Asking an engine, before anything is made.

use crate::support::{Place, SPEC};

#[test]
fn a_check_tells_all_at_once_and_makes_nothing() {
    let place = Place::new();
    let spec = place.spec();
    let spec = spec.to_str().unwrap();
    let fine = place.run(&["engine", "check", spec]).expect(0).stdout;
    assert!(fine.contains("fine: engine `process` could make `store` now"), "{fine}");
    assert!(fine.contains("program") && fine.contains("directory"), "{fine}");

    let mut command = place.command(&["engine", "check", spec, "--json"]);
    let output = command.env("SAGA_CLUSTER_NODE_PROGRAM", "/nowhere/node").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "a problem is a spec that will not do: {output:?}");
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&line["type"], &line["cluster"], &line["engine"]),
        (&"checked".into(), &"store".into(), &"process".into())
    );
    assert_eq!(line["findings"][0]["severity"], "problem");
    assert!(line["findings"][0]["text"].as_str().unwrap().contains("/nowhere/node"), "{line}");
    assert_eq!(line["findings"][1]["severity"], "ok", "what is fine is told too: {line}");

    assert_eq!(place.processes(), 0);
    assert!(!place.data().join("journal").exists(), "no store is opened");
}

#[test]
fn a_check_refuses_what_a_create_would_refuse() {
    let place = Place::new();
    let typo = place.file("typo.toml", &SPEC.replace("count = 1", "count = 1\nsettings = { flavour = 'small' }"));
    for command in [&["engine", "check", &typo][..], &["create", &typo]] {
        let refused = place.run(command).expect(2).stderr;
        assert!(refused.contains("`groups[1].settings.flavour` is unknown"), "{refused}");
    }
    let missing = place.run(&["engine", "check", "/nowhere/x.toml"]).expect(2).stderr;
    assert!(missing.contains("/nowhere/x.toml"), "{missing}");
}

#[cfg(feature = "openstack")]
mod openstack {
    use super::*;
    use crate::support::Done;

    const SERVERS: &str = "name = 'store'\nplugin = 'commands'\nengine = 'nova'\n\n\
        [settings]\nflavor = 'small'\nimage = 'tiny'\n[settings.commands]\ndecommission = 'nothing-to-drain'\n\n\
        [[groups]]\nname = 'east'\ncount = 1\n";

    /// Runs a command for which `clouds.yaml` is that file, and of which no variable says anything of a cloud but these.
    fn run(place: &Place, clouds: &str, variables: &[(&str, &str)], args: &[&str]) -> Done {
        let mut command = place.command(args);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("OS_") {
                command.env_remove(name);
            }
        }
        command.env("OS_CLIENT_CONFIG_FILE", clouds).envs(variables.iter().copied());
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Done { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Whoever asks for a server is told that, and nobody else.
    fn is_told(place: &Place, clouds: &str, variables: &[(&str, &str)], why: &str) {
        for engine in ["nova", "heat"] {
            let spec = place.file("servers.toml", &SERVERS.replace("nova", engine));
            for args in [&["engine", "check", &spec][..], &["create", &spec]] {
                let refused = run(place, clouds, variables, args).expect(2).stderr;
                assert!(refused.contains(&format!("the engine `{engine}` cannot be used here")), "{args:?}: {refused}");
                assert!(refused.contains(why) && refused.contains("nothing was touched"), "{args:?}: {refused}");
            }
        }
        for args in [&["list"][..], &["engine", "check", place.spec().to_str().unwrap()]] {
            let done = run(place, clouds, variables, args).expect(0);
            assert!(!done.stderr.contains(why) && !done.stdout.contains("store  "), "{args:?}: {done:?}");
        }
        let missing = run(place, clouds, variables, &["show", "nobody"]).expect(1).stderr;
        assert!(missing.contains("there is no cluster `nobody`") && !missing.contains(why), "{missing}");
    }

    #[test]
    fn without_a_cloud_whoever_asks_for_a_server_is_told_where_it_was_looked_for() {
        let why = "no OpenStack cloud is configured: OS_CLOUD and OS_AUTH_URL are not set, and there is no clouds.yaml \
                   (looked for: /nowhere/clouds.yaml)";
        is_told(&Place::new(), "/nowhere/clouds.yaml", &[], why);
    }

    #[test]
    fn a_configuration_that_is_broken_troubles_nobody_else() {
        let place = Place::new();
        let broken = place.file("clouds.yaml", "clouds: [");
        is_told(&place, &broken, &[], &format!("{broken} cannot be used: "));

        let half = place.file("half.yaml", "clouds:\n  lab:\n    auth: {auth_url: 'https://keystone.example'}\n");
        is_told(
            &place,
            &half,
            &[],
            &format!("the cloud `lab` of {half} cannot be used: `username` or `user_id` is missing"),
        );

        let ca = place.file("ca.pem", "no certificate");
        let variables = [
            ("OS_AUTH_URL", "https://keystone.example"),
            ("OS_APPLICATION_CREDENTIAL_ID", "me"),
            ("OS_APPLICATION_CREDENTIAL_SECRET", "hush"),
            ("OS_CACERT", &ca),
        ];
        is_told(&place, "/nowhere/clouds.yaml", &variables, &format!("{ca} has no certificate"));
    }
}
