//! How the API server is reached.

use crate::server::rest_client_metrics::RestClient;
use axum::http::Request;
use kube::client::Body;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where the API server is and who we are to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Access {
    /// A kubeconfig file, and the URL of the API server when it is not the file's.
    Kubeconfig(PathBuf, Option<String>),
    /// A host and port, with the service account's token and CA. It needs no Service to be served first. A whole URL
    /// in place of the host is reached without a token.
    Host(String, u16),
    /// What the cluster tells a pod.
    InCluster,
}

/// Where Kubernetes mounts a pod's identity.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A watch's quiet time is below five minutes by the server's own timeout; longer silence is a dead connection.
const READ_TIMEOUT: Duration = Duration::from_secs(310);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client whose requests are counted; it does not connect yet.
///
/// # Errors
/// One line that says what is missing and what to set.
pub async fn connect(access: &Access, metrics: &RestClient) -> Result<Client, String> {
    let mut config = match access {
        Access::Kubeconfig(path, server) => from_file(path, server.as_deref()).await?,
        Access::Host(host, port) => from_host(host, *port, Path::new(SERVICE_ACCOUNT))?,
        Access::InCluster => Config::incluster().map_err(|e| {
            format!(
                "no API server: {e}; set --manifests DIR, --kubeconfig FILE, or --set k8sServiceHost=ADDRESS \
                 (with a service account's token in {SERVICE_ACCOUNT})"
            )
        })?,
    };
    if is_unchecked(&config) && config.root_cert.is_none() {
        // Not even an empty list is the system's, which a bare container lacks: asking for that would be an error.
        config.root_cert = Some(Vec::new());
    }
    config.read_timeout = Some(READ_TIMEOUT);
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // Not the authority, which may have a password.
    let (host, port) = (config.cluster_url.host().unwrap_or_default(), config.cluster_url.port());
    let host = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let own = config.root_cert.is_some() || config.root_cert_file.is_some();
    let client = Client::try_from(config).map_err(|e| match own {
        true => format!("API client: {e}"),
        false => format!(
            "API client: {e}; no certificate authority is named for {host}, and the system's are asked: name one \
             (certificate-authority in the kubeconfig), or install the system's (ca-certificates)"
        ),
    })?;
    Ok(counted(client, host, metrics.clone()))
}

/// True where no server certificate is checked: there is none, or the owner says so.
fn is_unchecked(config: &Config) -> bool {
    config.cluster_url.scheme_str() == Some("http") || config.accept_invalid_certs
}

/// The same client, with its requests in the metrics.
fn counted(client: Client, host: String, metrics: RestClient) -> Client {
    let namespace = client.default_namespace().to_owned();
    let shared = Arc::new((host, metrics));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, shared) = (client.clone(), shared.clone());
        async move {
            let (method, begun) = (request.method().clone(), Instant::now());
            let answer = client.send(request).await;
            let code = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            let (host, metrics) = &*shared;
            metrics.observe(host, method.as_str(), code, begun.elapsed());
            answer
        }
    });
    Client::new(service, namespace)
}

/// The URL of an API server; a host that is one already stays as it is.
#[must_use]
pub fn url(host: &str, port: u16) -> String {
    if host.contains("://") {
        return host.into();
    }
    // An IPv6 address needs brackets in a URL.
    let host = if host.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.into() };
    format!("https://{host}:{port}")
}

async fn from_file(path: &Path, server: Option<&str>) -> Result<Config, String> {
    let failed = |e: kube::config::KubeconfigError| format!("kubeconfig {}: {e}", path.display());
    let file = Kubeconfig::read_from(path).map_err(failed)?;
    let mut config =
        Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(failed)?;
    if let Some(server) = server {
        config.cluster_url = server.parse().map_err(|e| format!("k8sServiceHost: {server}: {e}"))?;
    }
    Ok(config)
}

/// `account` is the directory of a service account: its token, and its CA, which are both read again as they change.
fn from_host(host: &str, port: u16, account: &Path) -> Result<Config, String> {
    let text = url(host, port);
    let url = text.parse().map_err(|e| format!("k8sServiceHost: {text}: {e}"))?;
    if text == host {
        return Ok(Config::new(url));
    }
    let mut config = Config::new(url);
    let (token, ca) = (account.join("token"), account.join("ca.crt"));
    if !token.exists() {
        return Err(format!(
            "k8sServiceHost needs a service account's token: {} is missing",
            token.display()
        ));
    }
    config.auth_info = AuthInfo { token_file: Some(token.display().to_string()), ..AuthInfo::default() };
    config.root_cert_file = ca.exists().then_some(ca);
    Ok(config)
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
