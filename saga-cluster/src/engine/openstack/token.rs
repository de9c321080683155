//! What Keystone gives: a token, for how long, and where the services are.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::call::Service;
use super::config::{CloudConfig, Credential, Domain, Interface, Login, Project, User};
use super::secret::Secret;

/// How long before its end a token is renewed, unless it lives for less than ten times that.
const MARGIN: Duration = Duration::from_secs(5 * 60);

/// A token with what came along.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) secret: Secret,
    /// From when on another one should be used.
    pub(super) renew_at: Instant,
    pub(super) project_id: Option<String>,
    catalog: Vec<Entry>,
}

/// What is sent to Keystone to get one.
pub(super) fn request(login: &Login) -> Value {
    match login {
        Login::Password { user, password, project } => {
            let mut user = user_json(user);
            user["password"] = password.expose().into();
            let project = match project {
                Project::Id(id) => json!({ "id": id }),
                Project::Name(name, domain) => json!({ "name": name, "domain": domain_json(domain) }),
            };
            let identity = json!({ "methods": ["password"], "password": { "user": user } });
            json!({ "auth": { "identity": identity, "scope": { "project": project } } })
        }
        Login::ApplicationCredential { credential, secret } => {
            let mut given = match credential {
                Credential::Id(id) => json!({ "id": id }),
                Credential::Name(name, user) => json!({ "name": name, "user": user_json(user) }),
            };
            given["secret"] = secret.expose().into();
            // It is for one project already: a scope would be refused.
            json!({ "auth": { "identity": { "methods": ["application_credential"], "application_credential": given } } })
        }
    }
}

fn user_json(user: &User) -> Value {
    match user {
        User::Id(id) => json!({ "id": id }),
        User::Name(name, domain) => json!({ "name": name, "domain": domain_json(domain) }),
    }
}

fn domain_json(domain: &Domain) -> Value {
    match domain {
        Domain::Id(id) => json!({ "id": id }),
        Domain::Name(name) => json!({ "name": name }),
    }
}

#[derive(Debug, Deserialize)]
struct Body {
    expires_at: String,
    issued_at: String,
    project: Option<Named>,
    #[serde(default)]
    catalog: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Named {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    interface: String,
    region: Option<String>,
    region_id: Option<String>,
    url: String,
}

impl Endpoint {
    fn region(&self) -> &str {
        self.region_id.as_deref().or(self.region.as_deref()).unwrap_or_default()
    }
}

impl Token {
    /// Reads Keystone's answer to what was asked at `asked`.
    ///
    /// Its life is the span between the server's two timestamps, counted from before the request: the clocks need not
    /// agree.
    pub(super) fn read(secret: &str, mut body: Value, asked: Instant) -> Result<Self, String> {
        let body = body.get_mut("token").map(Value::take).ok_or("it has no `token`")?;
        let body: Body = serde_json::from_value(body).map_err(|error| error.to_string())?;
        let seconds = |text: &str| seconds(text).ok_or(format!("`{text}` is no time"));
        let life = seconds(&body.expires_at)?.saturating_sub(seconds(&body.issued_at)?);
        let life = Duration::from_secs(life);
        Ok(Self {
            secret: Secret::new(secret),
            renew_at: asked + life.saturating_sub(MARGIN.min(life / 10)),
            project_id: body.project.map(|project| project.id),
            catalog: body.catalog,
        })
    }

    /// Where a service is.
    pub(super) fn endpoint(&self, service: Service, config: &CloudConfig) -> Result<String, String> {
        let kind = service.kind();
        if let Some(url) = config.endpoints.get(kind) {
            return Ok(url.clone());
        }
        let of_interface = |interface: Interface| {
            let entries = self.catalog.iter().filter(|entry| entry.kind == kind);
            let all = entries.flat_map(|entry| &entry.endpoints);
            all.filter(move |one| one.interface == interface.as_str()).collect::<Vec<_>>()
        };
        let endpoints = of_interface(config.interface);
        let interface = config.interface.as_str();
        let mut regions: Vec<&str> = endpoints.iter().map(|one| one.region()).collect();
        regions.sort_unstable();
        regions.dedup();
        let region = match (config.region.as_deref(), &regions[..]) {
            (_, []) => return Err(format!("the catalog has no {interface} endpoint of type `{kind}`")),
            (Some(region), regions) if regions.contains(&region) => region,
            (Some(region), regions) => {
                let known = regions.join(", ");
                return Err(format!(
                    "the catalog has no {interface} `{kind}` in the region `{region}`; it has: {known}"
                ));
            }
            (None, [only]) => only,
            (None, regions) => {
                return Err(format!("`{kind}` is in several regions ({}): say which", regions.join(", ")));
            }
        };
        let found = endpoints.iter().find(|one| one.region() == region).expect("it is one of theirs");
        Ok(service.root(&found.url).to_owned())
    }
}

/// The seconds since 1970 of a time such as `2026-01-31T12:00:00.000000Z`.
fn seconds(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers =
        |text: &str, between: char| text.split(between).map(|part| part.parse().ok()).collect::<Option<Vec<u64>>>();
    let [year, month @ 1..=12, day @ 1..=31] = numbers(date, '-')?[..] else { return None };
    let whole = time.split_once('.').map_or(time, |(whole, _)| whole);
    let [hour @ ..24, minute @ ..60, second @ ..=60] = numbers(whole, ':')?[..] else { return None };
    if !(1970..10_000).contains(&year) {
        return None;
    }
    // Years are counted from March, so that the leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    const DAYS_UNTIL_1970: u64 = 719_468;
    Some((days - DAYS_UNTIL_1970) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T00:00:00.000000Z", 951_782_400),
            ("2024-03-01T00:00:00.999999Z", 1_709_251_200),
            ("2100-02-28T23:59:59Z", 4_107_542_399),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for wrong in [
            "",
            "2026-01-31",
            "2026-13-01T00:00:00Z",
            "2026-01-31T12:00:00",
            "0000-01-01T00:00:00Z",
            "2026-01-31T24:00:00Z",
        ] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    fn token(expires: &str) -> Token {
        let endpoint = |interface, region, url| json!({ "interface": interface, "region_id": region, "region": region, "url": url });
        let body = json!({ "token": {
            "issued_at": "2026-01-31T12:00:00.000000Z",
            "expires_at": expires,
            "project": { "id": "p", "name": "lab" },
            "catalog": [
                { "type": "compute", "endpoints": [
                    endpoint("public", "north", "http://north/v2.1/"),
                    endpoint("internal", "north", "http://inside/v2.1"),
                    endpoint("public", "south", "http://south/v2.1"),
                ] },
                { "type": "image", "endpoints": [endpoint("public", "north", "http://glance/v2")] },
            ],
        } });
        Token::read("gAAA", body, Instant::now()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_before_its_end() {
        let now = Instant::now();
        assert_eq!(token("2026-01-31T13:00:00Z").renew_at - now, Duration::from_secs(55 * 60));
        assert_eq!(token("2026-01-31T12:00:50Z").renew_at - now, Duration::from_secs(45));
        assert_eq!(token("2026-01-31T11:00:00Z").renew_at, now, "it has ended already");
        assert!(!format!("{:?}", token("2026-01-31T13:00:00Z")).contains("gAAA"));
    }

    #[tokio::test]
    async fn the_catalog_is_asked_for_interface_and_region() {
        let token = token("2026-01-31T13:00:00Z");
        let mut config = CloudConfig { region: Some("south".into()), ..CloudConfig::of_test("") };
        assert_eq!(token.endpoint(Service::Compute, &config).unwrap(), "http://south/v2.1");
        assert!(token.endpoint(Service::Image, &config).unwrap_err().contains("it has: north"));
        assert!(
            token.endpoint(Service::Network, &config).unwrap_err().contains("no public endpoint of type `network`")
        );
        config.region = None;
        assert!(token.endpoint(Service::Compute, &config).unwrap_err().contains("north, south"));
        assert_eq!(token.endpoint(Service::Image, &config).unwrap(), "http://glance");
        config.interface = Interface::Internal;
        assert_eq!(token.endpoint(Service::Compute, &config).unwrap(), "http://inside/v2.1");
        config.endpoints.insert("compute".into(), "http://mine".into());
        assert_eq!(token.endpoint(Service::Compute, &config).unwrap(), "http://mine");
    }

    #[test]
    fn what_is_sent_to_keystone() {
        let default = || Domain::Name("Default".into());
        let login = Login::Password {
            user: User::Name("ada".into(), default()),
            password: Secret::new("hush"),
            project: Project::Name("lab".into(), default()),
        };
        let user = json!({ "name": "ada", "domain": { "name": "Default" }, "password": "hush" });
        let expected = json!({ "auth": {
            "identity": { "methods": ["password"], "password": { "user": user } },
            "scope": { "project": { "name": "lab", "domain": { "name": "Default" } } },
        } });
        assert_eq!(request(&login), expected);
        let login = Login::ApplicationCredential {
            credential: Credential::Name("robot".into(), User::Id("u".into())),
            secret: Secret::new("hush"),
        };
        let given = json!({ "name": "robot", "user": { "id": "u" }, "secret": "hush" });
        let identity = json!({ "methods": ["application_credential"], "application_credential": given });
        assert_eq!(request(&login), json!({ "auth": { "identity": identity } }));
    }
}
