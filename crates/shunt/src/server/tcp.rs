//! TCP listeners: a port that is taken is told once and tried again.

use super::limited::Limited;
use super::{Query, Shared};
use axum::Router;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpListener;

/// How soon a port that is taken is tried again; kube-proxy's own time.
pub(super) const RETRY: Duration = Duration::from_secs(5);

/// Every address of the node, of both families where the kernel has IPv6.
pub(super) fn any(port: u16) -> SocketAddr {
    let v6 = std::path::Path::new("/proc/net/if_inet6").exists();
    let any = if v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    SocketAddr::new(any, port)
}

/// An address that a configuration key names.
#[derive(Clone, Copy)]
pub(super) struct Listen {
    pub(super) address: SocketAddr,
    pub(super) key: &'static str,
    /// `bindAddressHardFail`: a port that is taken is the end.
    pub(super) hard_fail: bool,
}

impl Listen {
    /// Serves for ever.
    pub(super) fn start(self, router: Router, shared: &Shared) -> Result<(), String> {
        let first = if self.hard_fail { Some(self.bind_now()?) } else { None };
        tokio::spawn(self.serve(first, router, shared.clone()));
        Ok(())
    }

    fn bind_now(self) -> Result<TcpListener, String> {
        let bind = || {
            let listener = std::net::TcpListener::bind(self.address)?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let Self { address, key, .. } = self;
        bind().map_err(|error| {
            format!(
                "cannot listen on {address}: {error}; free the port, set {key}, or unset bindAddressHardFail"
            )
        })
    }

    async fn serve(self, mut first: Option<TcpListener>, router: Router, shared: Shared) {
        let Self { address, key, .. } = self;
        let mut told = None;
        loop {
            let listener = match first.take() {
                Some(listener) => Ok(listener),
                None => TcpListener::bind(address).await,
            };
            match listener {
                Ok(listener) => {
                    if told.take().is_some() {
                        tracing::info!(%address, key, "listening now");
                    }
                    _ = shared.queries.send(Query::Listener(key.into(), None)).await;
                    if let Err(error) = axum::serve(Limited::new(listener), router.clone()).await {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layers, Resolved};
    use std::sync::Arc;
    use tokio::sync::mpsc;

    fn shared() -> (Shared, mpsc::Receiver<Query>) {
        let (queries, receiver) = mpsc::channel(4);
        let config = Arc::new(Resolved::new(&Layers::default()).unwrap());
        (
            Shared { queries, config, metrics: Arc::default(), bpf_root: "/".into(), usage: Arc::default() },
            receiver,
        )
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error_that_names_the_key_only_when_it_shall_fail_hard() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let (shared, mut queries) = shared();
        let hard = Listen { address, key: "metricsBindAddress", hard_fail: true };
        let error = hard.start(Router::new(), &shared).unwrap_err();
        assert!(error.contains("metricsBindAddress") && error.contains("bindAddressHardFail"), "{error}");
        Listen { hard_fail: false, ..hard }.start(Router::new(), &shared).unwrap();
        let told = queries.recv().await.unwrap();
        assert!(matches!(&told, Query::Listener(key, Some(_)) if key == "metricsBindAddress"), "{told:?}");
    }

    #[tokio::test]
    async fn a_free_port_is_served_when_it_shall_fail_hard() {
        let (shared, mut queries) = shared();
        let address = "127.0.0.1:0".parse().unwrap();
        Listen { address, key: "k", hard_fail: true }.start(Router::new(), &shared).unwrap();
        assert!(matches!(queries.recv().await.unwrap(), Query::Listener(_, None)));
    }
}
