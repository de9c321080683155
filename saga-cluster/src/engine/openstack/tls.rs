//! Whose certificates are trusted.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// The system's certificates, and those of a file.
///
/// # Errors
/// What is wrong with the file. That the system has none is not an error yet: the cloud may do without encryption.
pub(super) fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = ca_file {
        let found = rustls_native_certs::load_certs_from_paths(Some(file), None);
        let (taken, _) = roots.add_parsable_certificates(found.certs);
        if taken == 0 {
            let errors: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
            return Err(format!("{} has no certificate ({})", file.display(), errors.join("; ")));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| format!("TLS cannot be set up: {error}"))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_named() {
        assert!(client_config(None).is_ok());
        assert!(client_config(Some(Path::new("/nowhere/ca.pem"))).unwrap_err().contains("/nowhere/ca.pem"));
    }
}
