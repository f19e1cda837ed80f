//! Whom the network service trusts.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::AsyncWrite;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer},
};

use super::*;

/// A certificate authority, and a TLS server that it vouches for under `name`.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn policy(&self) -> RequestPolicy {
        RequestPolicy {
            ca_bundle: Some(Arc::new(CaBundle::parse(self.0.pem().as_bytes()).unwrap())),
            addresses: None,
        }
    }

    async fn server(&self, name: &str, expired: bool) -> Server {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
            params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Server::start(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    read_head(&mut stream).await;
                    answer(&mut stream).await;
                }
            }
        })
        .await
    }
}

async fn answer(stream: &mut (impl AsyncWrite + Unpin)) {
    // A client that distrusts the certificate has left already.
    if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.is_ok() {
        stream.shutdown().await.ok();
    }
}

#[tokio::test]
async fn a_server_is_trusted_by_the_bundle_and_by_nothing_less() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = authority.server("localhost", false).await;
    let url = format!("https://localhost:{}/", server.address.port());
    let service = reqwest::service();
    let received = exchange_with(&service, &url, PATIENT, authority.policy())
        .await
        .unwrap();
    assert_eq!(received.status, StatusCode::NO_CONTENT);
    for policy in [RequestPolicy::default(), other.policy()] {
        let error = exchange_with(&service, &url, PATIENT, policy).await.unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Unreachable(Unreachable::Tls));
    }
}

#[rstest]
#[case("other.example", false)]
#[case("localhost", true)]
#[tokio::test]
async fn a_wrong_name_or_an_expired_certificate_is_refused(#[case] name: &str, #[case] expired: bool) {
    let authority = Authority::new();
    let server = authority.server(name, expired).await;
    let url = format!("https://localhost:{}/", server.address.port());
    let error = exchange_with(&reqwest::service(), &url, PATIENT, authority.policy())
        .await
        .unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Unreachable(Unreachable::Tls));
}

#[tokio::test]
async fn a_server_without_tls_is_not_spoken_to() {
    let server = Server::start(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    })
    .await;
    let error = exchange(&format!("https://{}/", server.address), PATIENT)
        .await
        .unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Unreachable(Unreachable::Tls));
}

#[tokio::test]
async fn a_handshake_that_hangs_is_given_up_before_the_deadline() {
    let server = Server::start(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let error = exchange(&format!("https://{}/", server.address), PATIENT)
        .await
        .unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Unreachable(Unreachable::Connect));
    assert!(error.duration >= Duration::from_secs(3) && error.duration < Duration::from_secs(8));
}

#[rstest]
#[case(b"")]
#[case(b"not PEM")]
#[case(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")]
#[case(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")]
fn a_text_that_is_no_bundle_is_refused(#[case] pem: &[u8]) {
    assert_eq!(CaBundle::parse(pem).unwrap_err(), InvalidCaBundle);
}
