//! A web server that keeps what it was sent, and answers as it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

use super::Authority;

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap().to_str().unwrap()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(super) struct Server {
    pub(super) addr: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Answer = Arc<dyn Fn(usize) -> Response<Body> + Send + Sync>;

impl Server {
    /// `script` gets the number of the request, from 0.
    pub(super) async fn start(
        script: impl Fn(usize) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        Self::serve(addr, listener, Arc::new(script))
    }

    /// At an address where nobody was before.
    pub(super) async fn start_at(
        addr: SocketAddr,
        script: impl Fn(usize) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(addr).await.unwrap();
        Self::serve(addr, listener, Arc::new(script))
    }

    pub(super) async fn start_tls(authority: &Authority) -> Self {
        let certificate = CertificateDer::from_pem_file(authority.path("cert.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(authority.path("key.pem")).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = tcp.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::serve(addr, Secure { tcp, acceptor }, Arc::new(|_| status(204)))
    }

    fn serve<L>(addr: SocketAddr, listener: L, script: Answer) -> Self
    where
        L: Listener,
        L::Addr: std::fmt::Debug,
    {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let seen = Arc::clone(&asked);
        let app = Router::new().fallback(move |headers: HeaderMap, body: Bytes| {
            let mut seen = seen.lock().unwrap();
            let answer = script(seen.len());
            seen.push(Asked { headers, body });
            drop(seen);
            std::future::ready(answer)
        });
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { addr, asked, task }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hooks/berth?team=ops", self.addr)
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The requests, once there are so many.
    pub(super) async fn until(&self, count: usize) -> Vec<Asked> {
        let wait = async {
            while self.asked().len() < count {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        let within = std::time::Duration::from_secs(20);
        let came = tokio::time::timeout(within, wait).await;
        assert!(came.is_ok(), "{count} wanted, {} came", self.asked().len());
        self.asked()
    }
}

pub(super) fn status(status: u16) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

struct Secure {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Secure {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, addr) = self.tcp.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, addr);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
