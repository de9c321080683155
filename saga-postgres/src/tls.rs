//! Encrypted connections, as the address asks for them.
//!
//! `sslmode=require` (or `verify-full`) checks the server's certificate, against the system's roots or those of
//! `sslrootcert`. `sslmode=prefer`, the default, encrypts if the server can and checks nothing: whoever could show a wrong
//! certificate could as well say that there is no encryption.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use saga_core::store::StoreError;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

/// The options of an address that the client library does not know.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsOptions {
    /// A file of certificates to trust, instead of those of the system.
    pub(crate) root_certificates: Option<PathBuf>,
}

/// Takes our own options out of an address: `sslrootcert`, and the stricter values of `sslmode`, which all mean that the
/// certificate is checked.
pub(crate) fn options_of(url: &str) -> (String, TlsOptions) {
    let mut options = TlsOptions::default();
    let Some((address, query)) = url.split_once('?').filter(|_| url.contains("://")) else {
        return (url.to_owned(), options);
    };
    let mut rest = Vec::new();
    for option in query.split('&') {
        match option.split_once('=') {
            Some(("sslmode", "verify-full" | "verify-ca")) => rest.push("sslmode=require"),
            Some(("sslrootcert", path)) => options.root_certificates = Some(decode(path).into()),
            _ => rest.push(option),
        }
    }
    let query = rest.join("&");
    (if query.is_empty() { address.to_owned() } else { format!("{address}?{query}") }, options)
}

/// Undoes percent-encoding. What is not encoded soundly stands for itself.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The connector for a mode.
pub(crate) fn connector(mode: SslMode, options: &TlsOptions) -> Result<MakeRustlsConnect, StoreError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let denied = |message: String| StoreError::Denied { message };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| denied(format!("TLS cannot be set up: {error}")))?;
    let config = if mode == SslMode::Require {
        builder.with_root_certificates(roots(options).map_err(denied)?).with_no_client_auth()
    } else {
        let any = Arc::new(AnyCertificate(provider));
        builder.dangerous().with_custom_certificate_verifier(any).with_no_client_auth()
    };
    Ok(MakeRustlsConnect::new(config))
}

fn roots(options: &TlsOptions) -> Result<RootCertStore, String> {
    let found = match &options.root_certificates {
        Some(file) => rustls_native_certs::load_certs_from_paths(Some(file), None),
        None => rustls_native_certs::load_native_certs(),
    };
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        let errors: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        let from = options.root_certificates.as_ref().map_or("the system".into(), |file| file.display().to_string());
        return Err(format!("{from} has no root certificates to check the server's by ({})", errors.join("; ")));
    }
    Ok(roots)
}

/// Takes every certificate, but sees to it that the server has its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_taken_out_of_the_address() {
        let taken = |url| {
            let (rest, options) = options_of(url);
            (rest, options.root_certificates.map(|path| path.display().to_string()))
        };
        assert_eq!(taken("postgresql://h/d"), ("postgresql://h/d".into(), None));
        assert_eq!(
            taken("postgresql://h/d?sslmode=verify-full&sslrootcert=%2Fa%20b%2Fc.pem&port=1"),
            ("postgresql://h/d?sslmode=require&port=1".into(), Some("/a b/c.pem".into()))
        );
        assert_eq!(taken("postgresql://h/d?sslrootcert=x%zz"), ("postgresql://h/d".into(), Some("x%zz".into())));
        assert_eq!(taken("host=h sslmode=require"), ("host=h sslmode=require".into(), None));
    }

    #[test]
    fn a_missing_root_file_is_named() {
        let options = TlsOptions { root_certificates: Some("/nowhere/ca.pem".into()) };
        let error = connector(SslMode::Require, &options).err().expect("there is no such file");
        assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
        assert!(connector(SslMode::Prefer, &options).is_ok(), "nothing is checked, so nothing is needed");
    }
}
