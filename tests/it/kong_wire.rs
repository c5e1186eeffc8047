//! Either end of Kong's dialect by hand: bytes of a WebSocket over mutual TLS, by no code of ours.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::harness::PATIENCE;

/// Types of frames.
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Believes every certificate: whom ours believes is tested elsewhere.
#[derive(Debug)]
struct Anyone;

type Valid = Result<HandshakeSignatureValid, Error>;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Valid {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Valid {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Anyone {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Valid {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Valid {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Reads `cluster.crt` and `cluster.key` of a directory.
fn pair(directory: &Path) -> Arc<SingleCertAndKey> {
    let certificate = CertificateDer::from_pem_file(directory.join("cluster.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(directory.join("cluster.key")).unwrap();
    let key = default_provider().key_provider.load_private_key(key).unwrap();
    Arc::new(SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key)))
}

/// One end of a connection.
pub(crate) struct Wire<S> {
    stream: S,
    buffer: Vec<u8>,
    is_client: bool,
}

/// A data plane's end.
pub(crate) type DataWire = Wire<tokio_rustls::client::TlsStream<TcpStream>>;

/// A control plane's end.
pub(crate) type ControlWire = Wire<tokio_rustls::server::TlsStream<TcpStream>>;

/// Connects as a data plane.
pub(crate) async fn dial(address: SocketAddr, directory: &Path) -> DataWire {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_client_cert_resolver(pair(directory));
    let name = ServerName::try_from("kong_clustering").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    Wire { stream, buffer: Vec::new(), is_client: true }
}

/// Accepts a data plane as a control plane.
pub(crate) async fn accept(listener: &TcpListener, directory: &Path) -> ControlWire {
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(Arc::new(Anyone))
        .with_cert_resolver(pair(directory));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let accepting = async {
        let (stream, _) = listener.accept().await.unwrap();
        acceptor.accept(stream).await.unwrap()
    };
    let stream = timeout(PATIENCE, accepting).await.expect("nobody connects");
    Wire { stream, buffer: Vec::new(), is_client: false }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Sends bytes as they are.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Reads the head of a request or an answer.
    pub(crate) async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|it| it == b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return String::from_utf8(head).unwrap();
            }
            assert!(self.fill().await, "the connection ended: {:?}", self.buffer);
        }
    }

    /// Sends an unfragmented frame.
    pub(crate) async fn send(&mut self, opcode: u8, payload: &[u8]) {
        let mut bytes = vec![0x80 | opcode];
        let masked = if self.is_client { 0x80 } else { 0 };
        match payload.len() {
            len @ 0..=125 => bytes.push(masked | len as u8),
            len @ 126..=0xffff => {
                bytes.push(masked | 126);
                bytes.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                bytes.push(masked | 127);
                bytes.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        let mask = [9, 8, 7, 6];
        if self.is_client {
            bytes.extend_from_slice(&mask);
            bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        } else {
            bytes.extend_from_slice(payload);
        }
        self.write(&bytes).await;
    }

    /// Waits for an unfragmented frame; none when the connection ends.
    pub(crate) async fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some(frame) = self.frame() {
                return Some(frame);
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// Waits for a configuration and unpacks it.
    pub(crate) async fn reconfigure(&mut self) -> Value {
        let (opcode, packed) = self.receive().await.expect("a frame");
        assert_eq!((opcode, &packed[..3]), (BINARY, &[0x1f, 0x8b, 8][..]));
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut text).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// Sends a configuration, packed.
    pub(crate) async fn send_packed(&mut self, message: &Value) {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(message.to_string().as_bytes()).unwrap();
        self.send(BINARY, &packed.finish().unwrap()).await;
    }

    async fn fill(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let read = timeout(PATIENCE, self.stream.read(&mut bytes)).await.expect("nothing comes");
        let read = read.unwrap_or(0);
        self.buffer.extend_from_slice(&bytes[..read]);
        read > 0
    }

    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (first, second) = (*self.buffer.first()?, *self.buffer.get(1)?);
        assert_eq!(first & 0xf0, 0x80, "fragmented, or with an extension");
        assert_eq!(second & 0x80 != 0, !self.is_client, "only a client masks");
        let (len, mut at) = match second & 0x7f {
            126 => (u16::from_be_bytes(self.buffer.get(2..4)?.try_into().unwrap()).into(), 4),
            127 => (u64::from_be_bytes(self.buffer.get(2..10)?.try_into().unwrap()) as usize, 10),
            len => (usize::from(len), 2),
        };
        let mask: [u8; 4] = match self.is_client {
            true => [0; 4],
            false => {
                at += 4;
                self.buffer.get(at - 4..at)?.try_into().unwrap()
            }
        };
        let payload = self.buffer.get(at..at + len)?;
        let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        let payload = payload.collect();
        self.buffer.drain(..at + len);
        Some((first & 0x0f, payload))
    }
}
