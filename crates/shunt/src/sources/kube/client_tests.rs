use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A certificate authority.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server on loopback whose certificate that authority signed; it tells the tokens that it was shown.
struct Server {
    port: u16,
    tokens: Arc<Mutex<Vec<String>>>,
    identity: Arc<Mutex<TlsAcceptor>>,
}

fn identity(authority: &CertifiedIssuer<'static, KeyPair>) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names.push(rcgen::SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let certificate = params.signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

impl Server {
    async fn start(authority: &CertifiedIssuer<'static, KeyPair>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tokens, identity) = (Arc::default(), Arc::new(Mutex::new(identity(authority))));
        let server = Self { port, tokens, identity };
        let (tokens, identity) = (server.tokens.clone(), server.identity.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = identity.lock().unwrap().clone();
                tokio::spawn(answer(stream, acceptor, tokens.clone()));
            }
        });
        server
    }

    fn last_token(&self) -> Option<String> {
        self.tokens.lock().unwrap().last().cloned()
    }
}

/// One request on a connection: what it was shown is kept, the answer says little.
async fn answer(stream: TcpStream, acceptor: TlsAcceptor, tokens: Arc<Mutex<Vec<String>>>) {
    // A client that does not trust us ends here.
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let token = head.lines().find_map(|line| line.strip_prefix("authorization: Bearer "));
    tokens.lock().unwrap().push(token.unwrap_or_default().to_owned());
    let body =
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
    stream.write_all(body.as_bytes()).await.unwrap();
    // The client may be gone before the last word of TLS.
    let _ = stream.shutdown().await;
}

async fn ask(client: &Client) -> Result<String, kube::Error> {
    let request = axum::http::Request::get("/version").body(Vec::new()).unwrap();
    client.request_text(request).await
}

fn account(authority: &CertifiedIssuer<'static, KeyPair>, token: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), token).unwrap();
    std::fs::write(dir.path().join("ca.crt"), authority.pem()).unwrap();
    dir
}

fn client(server: &Server, account: &Path) -> Client {
    Client::try_from(from_host("127.0.0.1", server.port, account).unwrap()).unwrap()
}

#[tokio::test]
async fn a_service_account_is_shown_to_a_server_that_its_ca_vouches_for_and_to_no_other() {
    let (ours, theirs) = (authority(), authority());
    let server = Server::start(&ours).await;
    let good = account(&ours, "first");
    assert_eq!(ask(&client(&server, good.path())).await.unwrap(), "ok");
    assert_eq!(server.last_token().as_deref(), Some("first"));
    let wrong = account(&theirs, "secret");
    ask(&client(&server, wrong.path())).await.unwrap_err();
    assert_eq!(server.tokens.lock().unwrap().len(), 1, "no token for a server that is not trusted");
}

#[tokio::test]
async fn without_a_token_the_message_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let error = from_host("127.0.0.1", 6443, dir.path()).unwrap_err();
    assert!(error.contains("token") && error.contains(&dir.path().display().to_string()), "{error}");
}

/// Kubernetes replaces both files while a pod runs; the client reads a token again after a minute at the most.
#[tokio::test]
async fn a_token_and_a_ca_that_are_replaced_are_read_again() {
    let (old, new) = (authority(), authority());
    let server = Server::start(&old).await;
    let dir = account(&old, "first");
    let client = client(&server, dir.path());
    ask(&client).await.unwrap();
    std::fs::write(dir.path().join("token"), "second").unwrap();
    std::fs::write(dir.path().join("ca.crt"), new.pem()).unwrap();
    *server.identity.lock().unwrap() = identity(&new);
    let end = std::time::Instant::now() + Duration::from_secs(120);
    while server.last_token().as_deref() != Some("second") {
        assert!(std::time::Instant::now() < end, "still {:?}", server.last_token());
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Until the new CA is read the server is a stranger.
        let _ = ask(&client).await;
    }
}

#[tokio::test]
async fn kubeadms_kubeconfig_tells_the_server_and_another_address_may_stand_in_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kubeconfig.conf");
    let text = "apiVersion: v1\nkind: Config\nclusters:\n- cluster:\n    server: https://192.0.2.1:6443\n  name: default\n\
                contexts:\n- context: {cluster: default, namespace: default, user: default}\n  name: default\n\
                current-context: default\nusers:\n- name: default\n  user: {tokenFile: /nonexistent/token}\n";
    std::fs::write(&path, text).unwrap();
    let server = async |other| from_file(&path, other).await.unwrap().cluster_url.to_string();
    assert_eq!(server(None).await, "https://192.0.2.1:6443/");
    assert_eq!(server(Some("https://192.0.2.2:443")).await, "https://192.0.2.2:443/");
    assert_eq!(url("fd00::1", 6443), "https://[fd00::1]:6443");
    assert_eq!(url("http://127.0.0.1:8001", 6443), "http://127.0.0.1:8001");
}

#[tokio::test]
async fn requests_are_counted_with_their_code_or_as_an_error_and_no_password_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let server = tokio::spawn(axum::serve(listener, axum::Router::new()).into_future());
    let metrics = RestClient::default();
    let access = Access::Host(format!("http://user:secret@{at}"), 0);
    let client = connect(&access, &metrics).await.unwrap();
    ask(&client).await.unwrap_err();
    server.abort();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let access = Access::Host(format!("http://{closed}"), 0);
    ask(&connect(&access, &metrics).await.unwrap()).await.unwrap_err();
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &metrics.registry()).unwrap();
    for line in [
        format!(r#"rest_client_requests_total{{code="404",host="{at}",method="GET"}} 1"#),
        format!(r#"rest_client_requests_total{{code="<error>",host="{closed}",method="GET"}} 1"#),
        format!(r#"rest_client_request_duration_seconds_count{{host="{at}",verb="GET"}} 1"#),
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("secret"), "{text}");
}
