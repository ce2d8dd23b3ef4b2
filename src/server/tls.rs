//! What a TLS connection to a target is held to: whom we trust, and who we say we are.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use super::client::ClientError;
use crate::experiment::Tls;

/// The TLS settings of a target, ready for connections. No protocols are offered yet (ALPN):
/// that is for whoever connects.
///
/// # Errors
/// When a file of certificates or of the key can't be read, or holds none.
pub fn tls_config(tls: &Tls) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let build = |e: rustls::Error| ClientError::Build(e.to_string());
    let verifier: Arc<dyn ServerCertVerifier> = if tls.insecure {
        Arc::new(Anyone(Arc::clone(&provider)))
    } else {
        let extra = match &tls.ca_file {
            Some(path) => certificates("target.tls.ca_file", path)?,
            None => Vec::new(),
        };
        let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(extra, Arc::clone(&provider));
        Arc::new(verifier.map_err(build)?)
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(build)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) else {
        return Ok(config.with_no_client_auth());
    };
    let chain = certificates("target.tls.cert_file", cert)?;
    let key_error = |reason: String| ClientError::Pem {
        key: "target.tls.key_file",
        path: key.clone(),
        what: "private key",
        reason,
    };
    let pem = read("target.tls.key_file", key)?;
    let secret = PrivateKeyDer::from_pem_slice(&pem).map_err(|e| key_error(format!(": {e}")))?;
    config.with_client_auth_cert(chain, secret).map_err(|e| key_error(format!(": {e}")))
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, ClientError> {
    std::fs::read(path).map_err(|source| ClientError::File { key, path: path.to_owned(), source })
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let bad = |reason: String| ClientError::Pem { key, path: path.to_owned(), what: "certificate", reason };
    let pem = read(key, path)?;
    let certs: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|e| bad(format!(": {e}")))?;
    if certs.is_empty() { Err(bad(String::new())) } else { Ok(certs) }
}

/// Takes any certificate for `tls.insecure`; signatures are still checked.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
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
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
