//! Where clusters and journals are kept: a data directory, or a database.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::trouble::Trouble;

/// The URL of a database, as it was typed. It is shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct StoreUrl(String);

impl StoreUrl {
    /// The URL with all that it says, for whoever connects.
    pub(super) fn reveal(&self) -> Result<&str, Trouble> {
        if ["postgres://", "postgresql://"].iter().any(|scheme| self.0.starts_with(scheme)) {
            return Ok(&self.0);
        }
        let trouble = Trouble::usage(format!("`{self}` is not the URL of a database"));
        Err(trouble.next("write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE; a directory is named by --data"))
    }
}

/// Takes anything: whoever parses the command line would show what it refuses, with the password.
impl FromStr for StoreUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(&self.0))
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What `store copy` copies from and to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StorePlace {
    /// A data directory.
    Directory(PathBuf),
    /// A database.
    Database(StoreUrl),
}

impl FromStr for StorePlace {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text.contains("://") { Self::Database(StoreUrl(text.to_owned())) } else { Self::Directory(text.into()) })
    }
}

impl fmt::Display for StorePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Database(url) => write!(f, "{url}"),
        }
    }
}

/// A text with the passwords of a URL taken out, if it holds one.
pub(super) fn without_password(text: &str) -> String {
    let mut shown = text.to_owned();
    // Of the user. A password that was not escaped may hold any character, so all goes up to the last `@`.
    if let Some((scheme, rest)) = text.split_once("://")
        && let Some((user, hosts)) = rest.rsplit_once('@')
        && let Some((user, _)) = user.split_once(':')
    {
        shown = format!("{scheme}://{user}:***@{hosts}");
    }
    // Among the options: `password=`, `sslpassword=`.
    const OPTION: &str = "password=";
    let mut from = 0;
    while let Some(found) = shown[from..].to_ascii_lowercase().find(OPTION) {
        from += found + OPTION.len();
        let end = shown[from..].find('&').map_or(shown.len(), |end| from + end);
        shown.replace_range(from..end, "***");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("postgresql://ada@db/clusters", "postgresql://ada@db/clusters"),
            ("postgresql://db:5432/clusters", "postgresql://db:5432/clusters"),
            ("postgres://ada:hush@db:5432/x?sslmode=require", "postgres://ada:***@db:5432/x?sslmode=require"),
            ("postgres://ada:hu:sh@h/ush@db/clusters", "postgres://ada:***@db/clusters"),
            ("postgresql://ada:hu?sh@db/clusters", "postgresql://ada:***@db/clusters"),
            ("postgresql:///x?host=/tmp&password=hush&user=ada", "postgresql:///x?host=/tmp&password=***&user=ada"),
            ("postgresql://db/x?PASSWORD=hush", "postgresql://db/x?PASSWORD=***"),
            ("--store=mysql://ada:hush@db", "--store=mysql://ada:***@db"),
            ("/var/lib/clusters", "/var/lib/clusters"),
        ] {
            assert_eq!(without_password(url), shown);
            let StorePlace::Database(url) = url.parse().unwrap() else { continue };
            assert!(!format!("{url:?} {:?}", url.reveal().err()).contains("hush"));
        }
    }

    #[test]
    fn a_place_is_a_url_or_a_directory() {
        let place = |text: &str| StorePlace::from_str(text).unwrap();
        assert_eq!(place("data"), StorePlace::Directory("data".into()));
        assert!(matches!(place("postgres://db/x"), StorePlace::Database(url) if url.reveal().is_ok()));
        assert!(matches!(place("mysql://db/x"), StorePlace::Database(url) if url.reveal().is_err()));
    }
}
