//! Reading an address, without ever showing its password.

use std::str::FromStr;
use std::time::Duration;

use saga_core::store::StoreError;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::options::Options;
use crate::tls;

/// How long one host has to take a connection, unless the address says otherwise: the next host waits for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that is gone without a word is noticed after some 30 s, not after two hours.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// What an address says, with our own defaults for what it leaves open.
pub(crate) fn parse(url: &str, options: &Options) -> Result<(Config, MakeRustlsConnect), StoreError> {
    let (url, tls_options) = tls::options_of(url);
    let mut config = Config::from_str(&url).map_err(|error| refused(Some(&error)))?;
    // What follows an `@` that was not escaped in a password is taken for the host.
    if config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(name) if name.contains('@'))) {
        return Err(refused(None));
    }
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(StoreError::Denied { message: "the address names no host".into() });
    }
    if config.get_application_name().is_none() {
        config.application_name(options.application_name.as_str());
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(options.call_timeout);
    }
    if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
        config.keepalives_idle(KEEPALIVE_IDLE);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(KEEPALIVE_INTERVAL);
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(KEEPALIVE_RETRIES);
    }
    // Whatever the address says: a store that cannot write is none.
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    let only_sockets = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
    let mode = if only_sockets { SslMode::Disable } else { config.get_ssl_mode() };
    config.ssl_mode(mode);
    let tls = tls::connector(mode, &tls_options)?;
    Ok((config, tls))
}

/// Where an address leads, without its password.
pub(crate) fn describe(config: &Config) -> String {
    let ports = config.get_ports();
    let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(5432);
    let mut hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(at, host)| match host {
            Host::Tcp(name) => format!("{name}:{}", port(at)),
            Host::Unix(folder) => format!("{}/.s.PGSQL.{}", folder.display(), port(at)),
        })
        .collect();
    if hosts.is_empty() {
        hosts = config.get_hostaddrs().iter().enumerate().map(|(at, host)| format!("{host}:{}", port(at))).collect();
    }
    let user = config.get_user().map(|user| format!("{user}@")).unwrap_or_default();
    let database = config.get_dbname().or(config.get_user()).map(|name| format!("/{name}")).unwrap_or_default();
    format!("PostgreSQL at {user}{}{database}", hosts.join(","))
}

/// An address that makes no sense. What the parser stumbled over may be a part of a password, so it is told only where it
/// is one of the parser's own words.
fn refused(error: Option<&tokio_postgres::Error>) -> StoreError {
    let what = error.and_then(std::error::Error::source).map(ToString::to_string).unwrap_or_default();
    let detail = if what.starts_with("invalid value for option") { format!(" ({what})") } else { String::new() };
    let message = format!(
        "the address is not of the form postgresql://user:password@host:port/database?option=value{detail}; reserved \
         characters in a name or a password are written as %XX"
    );
    StoreError::Denied { message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_told() {
        let options = Options::default();
        for url in [
            "postgresql://ada:hush@h:hush/d",
            "postgresql://ada:hush@h/d?port=hush",
            "postgresql://ada:hush@h/d?hush=hush",
            "mysql://ada:hush@h/d",
            "user=ada password='hush host=h",
            "host=h 'hush",
            "postgresql://ada:hush@/d",
            "postgresql://ada:hu@hush@h/d",
        ] {
            let error = parse(url, &options).err().unwrap_or_else(|| panic!("{url} makes sense"));
            assert!(!format!("{error} {error:?}").contains("hush"), "{url}: {error:?}");
        }
        let (config, _) = parse("postgresql://ada:hush@h1:1,h2:2/d", &options).expect("it makes sense");
        assert_eq!(describe(&config), "PostgreSQL at ada@h1:1,h2:2/d");
        assert!(!format!("{config:?}").contains("hush"));
    }

    #[test]
    fn what_the_address_says_goes_before_our_defaults() {
        let url = "postgresql://h/d?application_name=mine&connect_timeout=77&keepalives_idle=9&tcp_user_timeout=3";
        let (config, _) = parse(url, &Options::default()).expect("it makes sense");
        assert_eq!(config.get_application_name(), Some("mine"));
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(77)));
        assert_eq!(config.get_keepalives_idle(), Duration::from_secs(9));
        assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_secs(3)));
    }
}
