//! TCP listeners: a port that is taken is told once and tried again.

use super::{Query, Shared};
use axum::Router;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpListener;

const RETRY: Duration = Duration::from_secs(5);

/// Every address of the node, of both families where the kernel has IPv6.
pub(super) fn any(port: u16) -> SocketAddr {
    let v6 = std::path::Path::new("/proc/net/if_inet6").exists();
    let any = if v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    SocketAddr::new(any, port)
}

/// Serves on an address that a configuration key names, for ever.
pub(super) async fn serve(address: SocketAddr, key: &'static str, router: Router, shared: Shared) {
    let mut told = None;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                if told.take().is_some() {
                    tracing::info!(%address, key, "listening now");
                }
                _ = shared.queries.send(Query::Listener(key.into(), None)).await;
                if let Err(error) = axum::serve(listener, router.clone()).await {
                    tracing::error!(%address, key, %error, "stopped listening");
                }
            }
            Err(error) => {
                let message = format!("{address}: {error}; free the port or set {key}");
                if told.as_ref() != Some(&message) {
                    tracing::error!("cannot listen on {message}");
                    _ = shared.queries.send(Query::Listener(key.into(), Some(message.clone()))).await;
                    told = Some(message);
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}
