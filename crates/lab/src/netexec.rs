//! The server that runs in pods, with the habits of Kubernetes' agnhost netexec: `/hostname`, `/clientip`, `/echo`,
//! `/healthz` over HTTP, the same words over UDP, and a TCP port that echoes lines. `/big` is a long answer, and `/digest`
//! tells of a long request what came.

use crate::pattern::{Digest, chunks};
use anyhow::{Context, Result};
use axum::body::Body;
use axum::extract::{ConnectInfo, Query};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Router, serve};
use futures::{StreamExt, stream};
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// What to serve.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// What `/hostname` answers
    #[arg(long)]
    pub name: String,
    /// HTTP port
    #[arg(long, default_value_t = 8080)]
    pub http_port: u16,
    /// UDP port
    #[arg(long, default_value_t = 8081)]
    pub udp_port: u16,
    /// TCP port that echoes what it hears
    #[arg(long, default_value_t = 8082)]
    pub echo_port: u16,
}

/// Serves until killed.
pub fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { tokio::try_join!(http(args), udp(args), echo(args)).map(drop) })
}

/// Both families on one socket.
fn any(port: u16) -> SocketAddr {
    (Ipv6Addr::UNSPECIFIED, port).into()
}

/// An address as people write it: IPv4 without its IPv6 mapping.
fn plain(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        ip @ IpAddr::V4(_) => (ip, addr.port()).into(),
        IpAddr::V6(_) => addr,
    }
}

async fn http(args: &Args) -> Result<()> {
    let name = args.name.clone();
    let client = |ConnectInfo(from): ConnectInfo<SocketAddr>| async move { plain(from).to_string() };
    let echo =
        |Query(q): Query<HashMap<String, String>>| async move { q.get("msg").cloned().unwrap_or_default() };
    let big = |Query(q): Query<HashMap<String, String>>| async move {
        let bytes = q.get("bytes").and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
        Body::from_stream(stream::iter(chunks(bytes).map(Ok::<_, Infallible>)))
    };
    // Both facts that a test of balancing wants, in one answer.
    let who = name.clone();
    let whoami = move |ConnectInfo(from): ConnectInfo<SocketAddr>| async move {
        format!("{who} {}", plain(from).ip())
    };
    let router = Router::new()
        .route("/", get(whoami))
        .route("/hostname", get(|| async move { name }))
        .route("/clientip", get(client))
        .route("/echo", get(echo))
        .route("/big", get(big))
        .route("/digest", post(digest))
        .route("/healthz", get(|| async { "ok" }));
    let listener = TcpListener::bind(any(args.http_port)).await.context("the HTTP port")?;
    serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

/// Length and digest of what was said.
async fn digest(body: Body) -> Result<String, (StatusCode, String)> {
    let mut digest = Digest::default();
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        digest.add(&piece.map_err(|e| (StatusCode::BAD_REQUEST, e.to_string()))?);
    }
    Ok(digest.to_string())
}

async fn udp(args: &Args) -> Result<()> {
    let socket = UdpSocket::bind(any(args.udp_port)).await.context("the UDP port")?;
    let mut buffer = vec![0; 65_536];
    loop {
        // An ICMP error about an earlier answer shows up here; the client is gone, nothing else is wrong.
        let Ok((len, from)) = socket.recv_from(&mut buffer).await else { continue };
        let text = String::from_utf8_lossy(&buffer[..len]);
        let words = text.trim_end();
        let answer = match words.split_once(' ').unwrap_or((words, "")) {
            ("hostname", _) => args.name.clone(),
            ("clientip", _) => plain(from).to_string(),
            ("echo", message) => message.to_owned(),
            _ => format!("{} {}", args.name, plain(from).ip()),
        };
        // As above.
        let _ = socket.send_to(answer.as_bytes(), from).await;
    }
}

async fn echo(args: &Args) -> Result<()> {
    let listener = TcpListener::bind(any(args.echo_port)).await.context("the echo port")?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut buffer = vec![0; 4096];
            while let Ok(len @ 1..) = stream.read(&mut buffer).await {
                if stream.write_all(&buffer[..len]).await.is_err() {
                    break;
                }
            }
        });
    }
}
