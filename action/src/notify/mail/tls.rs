//! TLS to a mail server as `tls_config` asks for.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};
use serde_json::Value;
use tokio_rustls::TlsConnector;

use super::session::Stream;
use crate::notify::http::{TlsConfig, pem};
use crate::notify::settings::{Problem, Text, read, secret};

/// Makes connections private.
pub(super) struct Connector {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Connector {
    /// Makes what `settings` ask for, towards `host`.
    pub(super) fn new(settings: &Value, host: &str) -> Result<Self, Problem> {
        let config: TlsConfig = read(settings)?;
        let name = config.server_name.as_ref().map_or(host, |name| &name.0).to_owned();
        let name = ServerName::try_from(name)
            .map_err(|error| Problem::new("smarthost", error.to_string()))?;
        let provider = Arc::new(ring::default_provider());
        let wrong = |error: Error| Problem::new("tls_config", error.to_string());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions(&config)?)
            .map_err(wrong)?;
        let builder = if config.insecure_skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        } else {
            builder.with_root_certificates(roots(&config)?)
        };
        let certificate = pem("cert", config.cert.as_ref(), config.cert_file.as_ref())?;
        let key = secret("key", &config.key, &config.key_file)?;
        let config = match (certificate, key) {
            (Some(chain), Some(key)) => {
                let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes())
                    .map_err(|error| Problem::new("key_file", error.to_string()))?;
                builder
                    .with_client_auth_cert(certificates("cert_file", &chain)?, key)
                    .map_err(wrong)?
            }
            (None, None) => builder.with_no_client_auth(),
            _ => {
                let text = "cert_file and key_file are given together or not at all";
                return Err(Problem::new("tls_config", text));
            }
        };
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }

    /// Shakes hands.
    pub(super) async fn connect(&self, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, String> {
        let connected = self.connector.connect(self.name.clone(), stream).await;
        connected
            .map(|stream| Box::new(stream) as Box<dyn Stream>)
            .map_err(|error| format!("TLS: {error}"))
    }
}

fn versions(config: &TlsConfig) -> Result<Vec<&'static SupportedProtocolVersion>, Problem> {
    let number = |name: &str, text: Option<&Text>| {
        let Some(text) = text else { return Ok(None) };
        let known = ["TLS10", "TLS11", "TLS12", "TLS13"];
        let found = known.iter().position(|known| *known == text.0);
        found
            .map(Some)
            .ok_or_else(|| Problem::new(name, format!("{:?} is not TLS12 or TLS13", text.0)))
    };
    let min = number("min_version", config.min_version.as_ref())?.unwrap_or(2);
    let max = number("max_version", config.max_version.as_ref())?.unwrap_or(3);
    let kept: Vec<_> = [(2, &TLS12), (3, &TLS13)]
        .into_iter()
        .filter(|(number, _)| (min..=max).contains(number))
        .map(|(_, version)| version)
        .collect();
    if kept.is_empty() {
        let text = "no version is left: TLS12 and TLS13 are supported";
        return Err(Problem::new("max_version", text));
    }
    Ok(kept)
}

fn roots(config: &TlsConfig) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    if let Some(own) = pem("ca", config.ca.as_ref(), config.ca_file.as_ref())? {
        for certificate in certificates("ca_file", &own)? {
            let added = roots.add(certificate);
            added.map_err(|error| Problem::new("ca_file", error.to_string()))?;
        }
        return Ok(roots);
    }
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let text = "no root certificates: install the system's (Debian: apt-get install ca-certificates), or name a ca_file";
        return Err(Problem::new("tls_config", text));
    }
    Ok(roots)
}

fn certificates(name: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let found = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| Problem::new(name, error.to_string()))?;
    if found.is_empty() {
        return Err(Problem::new(name, "it holds no certificate in PEM"));
    }
    Ok(found)
}

/// Takes every certificate, as `insecure_skip_verify` asks; the other side must still own its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
