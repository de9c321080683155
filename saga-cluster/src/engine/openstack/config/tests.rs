//! Where clouds are looked for, what has precedence, and what is told of what is missing.

use std::fs;

use super::*;

const CLOUDS: &str = "
clouds:
  one:
    auth:
      auth_url: https://keystone.example/
      username: ada
      password: 0042
      project_name: lab
      user_domain_name: Default
      project_domain_name: Default
    region_name: north
    compute_endpoint_override: https://nova.example/v2.1/
  two:
    auth_type: v3applicationcredential
    auth: {auth_url: 'https://keystone.example/v3', application_credential_id: abc, application_credential_secret: hush}
    interface: internalURL
";

/// A directory with these files.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn around(directories: &[&tempfile::TempDir], variables: &[(&str, &str)]) -> Surroundings {
    Surroundings {
        variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        directories: directories.iter().map(|dir| dir.path().to_owned()).collect(),
    }
}

#[test]
fn a_cloud_of_a_file_is_read() {
    let dir = directory(&[("clouds.yaml", CLOUDS)]);
    let one = find(&around(&[&dir], &[("OS_CLOUD", "one")])).unwrap();
    assert_eq!(one.auth_url, "https://keystone.example/v3");
    let default = || Domain::Name("Default".into());
    let expected = Login::Password {
        user: User::Name("ada".into(), default()),
        password: Secret::new("0042"),
        project: Project::Name("lab".into(), default()),
    };
    assert_eq!(one.login, expected);
    assert_eq!((one.region.as_deref(), one.interface), (Some("north"), Interface::Public));
    assert_eq!(one.endpoints["compute"], "https://nova.example/v2.1");
    assert!(one.origin().contains("`one`"), "{}", one.origin());

    let two = find(&around(&[&dir], &[("OS_CLOUD", "two")])).unwrap();
    assert_eq!(two.interface, Interface::Internal);
    assert!(matches!(two.login, Login::ApplicationCredential { credential: Credential::Id(id), .. } if id == "abc"));
}

#[test]
fn the_first_file_counts_and_secure_yaml_lies_over_it() {
    let first = directory(&[
        ("clouds.yaml", "clouds: {x: {auth: {auth_url: 'http://a', user_id: u, project_id: p}}}"),
        ("secure.yaml", "clouds: {x: {auth: {password: hush}}}"),
    ]);
    let second = directory(&[("clouds.yaml", CLOUDS)]);
    let config = find(&around(&[&first, &second], &[])).unwrap();
    assert_eq!(config.auth_url, "http://a/v3");
    assert!(matches!(&config.login, Login::Password { password, .. } if password.expose() == "hush"));
    let named = second.path().join("clouds.yaml");
    let variables = [("OS_CLIENT_CONFIG_FILE", named.to_str().unwrap()), ("OS_CLOUD", "one")];
    assert_eq!(find(&around(&[&first], &variables)).unwrap().region.as_deref(), Some("north"));
}

#[test]
fn variables_do_without_a_file_and_have_the_last_word_over_one() {
    let variables = [
        ("OS_AUTH_URL", "http://127.0.0.1:5000/v3"),
        ("OS_USERNAME", "admin"),
        ("OS_PASSWORD", "hush"),
        ("OS_PROJECT_NAME", "admin"),
        ("OS_DEFAULT_DOMAIN", "default"),
        ("OS_REGION_NAME", "south"),
    ];
    let dir = directory(&[("clouds.yaml", CLOUDS)]);
    let config = find(&around(&[&dir], &variables)).unwrap();
    assert_eq!((config.auth_url.as_str(), config.region.as_deref()), ("http://127.0.0.1:5000/v3", Some("south")));
    assert!(matches!(config.login, Login::Password { user: User::Name(_, Domain::Id(id)), .. } if id == "default"));

    let variables = [("OS_CLOUD", "one"), ("OS_PASSWORD", "other"), ("OS_REGION_NAME", "south"), ("OS_USERNAME", "no")];
    let config = find(&around(&[&dir], &variables)).unwrap();
    assert_eq!(config.region.as_deref(), Some("south"));
    let Login::Password { user, password, .. } = config.login else { panic!() };
    assert_eq!((user, password.expose()), (User::Name("ada".into(), Domain::Name("Default".into())), "other"));
}

#[test]
fn what_is_missing_is_named_with_where_it_was_looked_for() {
    let empty = directory(&[]);
    let told = |around: &Surroundings| find(around).unwrap_err().to_string();
    let nothing = told(&around(&[&empty], &[]));
    assert!(nothing.contains("OS_CLOUD") && nothing.contains(&empty.path().display().to_string()), "{nothing}");
    let gone = told(&around(&[&empty], &[("OS_CLOUD", "one")]));
    assert!(gone.contains("`one`") && gone.contains("clouds.yaml"), "{gone}");

    let dir = directory(&[("clouds.yaml", CLOUDS)]);
    assert!(told(&around(&[&dir], &[("OS_CLOUD", "three")])).contains("known: one, two"));
    assert!(told(&around(&[&dir], &[])).contains("OS_CLOUD to one of one, two"));

    let all = told(&around(&[], &[("OS_AUTH_URL", "keystone"), ("OS_INTERFACE", "none"), ("OS_USERNAME", "u")]));
    for missing in ["OS_AUTH_URL is no", "OS_USER_DOMAIN_NAME", "OS_PASSWORD", "OS_PROJECT_NAME", "OS_INTERFACE"] {
        assert!(all.contains(missing), "{missing}: {all}");
    }
    let broken = directory(&[("clouds.yaml", "clouds: [")]);
    assert!(told(&around(&[&broken], &[])).contains("line"));
    let other = directory(&[("clouds.yaml", "cloud: {}")]);
    assert!(told(&around(&[&other], &[])).contains("no map `clouds`"));
}

#[test]
fn what_would_make_it_less_safe_is_refused() {
    let text =
        "clouds: {x: {auth: {auth_url: 'https://a', user_id: u, project_id: p, password: s}, verify: no, cert: c}}";
    let dir = directory(&[("clouds.yaml", text)]);
    let told = find(&around(&[&dir], &[])).unwrap_err().to_string();
    assert!(told.contains("`verify`") && told.contains("`cacert`") && told.contains("`cert`"), "{told}");
}

#[test]
fn a_secret_is_never_shown() {
    let dir = directory(&[("clouds.yaml", CLOUDS)]);
    for cloud in ["one", "two"] {
        let config = find(&around(&[&dir], &[("OS_CLOUD", cloud)])).unwrap();
        let shown = format!("{config:?}");
        assert!(!shown.contains("0042") && !shown.contains("hush"), "{shown}");
    }
}
