use super::super::test_client::{Answer as Got, get, try_get};
use super::*;
use std::net::{Ipv4Addr, Ipv6Addr};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const BODY: &str = "{\n\t\"service\": {\n\t\t\"namespace\": \"shop\",\n\t\t\"name\": \"web\"\n\t},\n\t\"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}";

struct Node {
    ports: HealthPorts,
    condition: watch::Sender<Condition>,
    clashes: mpsc::UnboundedReceiver<Clash>,
}

fn node() -> Node {
    let (condition, receiver) = watch::channel(Condition::default());
    let (tell, clashes) = mpsc::unbounded_channel();
    let mut ports = HealthPorts::new(receiver, tell);
    ports.shared.retry = Duration::from_millis(20);
    ports.set_addresses(&[HERE]);
    Node { ports, condition, clashes }
}

/// A port that nobody has.
fn free() -> u16 {
    std::net::TcpListener::bind((HERE, 0)).unwrap().local_addr().unwrap().port()
}

fn check(port: u16, local_endpoints: usize) -> Option<HealthCheck> {
    Some(HealthCheck { port, local_endpoints: [Some(local_endpoints), None] })
}

fn web() -> ServiceName {
    "shop/web".into()
}

async fn eventually(at: SocketAddr) -> Got {
    for _ in 0..500 {
        if let Ok(answer) = try_get(at, "/").await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{at} does not answer");
}

async fn eventually_silent(at: SocketAddr) {
    for _ in 0..500 {
        if try_get(at, "/").await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{at} still answers");
}

#[tokio::test]
async fn a_service_with_local_endpoints_is_200_on_any_path_in_kube_proxys_own_bytes() {
    let mut node = node();
    let at = SocketAddr::new(HERE, free());
    node.ports.set(&web(), check(at.port(), 2));
    eventually(at).await;
    for path in ["/", "/healthz", "/any/path?q"] {
        let answer = get(at, path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, BODY));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("x-load-balancing-endpoint-weight"), Some("2"));
    }
}

#[tokio::test]
async fn without_local_endpoints_or_with_a_late_proxy_it_is_503_and_the_node_object_does_not_matter() {
    let mut node = node();
    let at = SocketAddr::new(HERE, free());
    node.ports.set(&web(), check(at.port(), 0));
    let answer = eventually(at).await;
    assert_eq!((answer.status, answer.header("x-load-balancing-endpoint-weight")), (503, Some("0")));
    node.ports.set(&web(), check(at.port(), 2));
    assert_eq!(get(at, "/").await.status, 200, "the count follows at once");
    node.condition.send_replace(Condition { eligible: false, ..Condition::default() });
    assert_eq!(get(at, "/").await.status, 200);
    let queued = Instant::now().checked_sub(Duration::from_secs(61));
    node.condition.send_replace(Condition { queued, ..Condition::default() });
    let answer = get(at, "/").await;
    assert_eq!((answer.status, answer.body), (503, BODY.replace("true", "false")));
}

#[tokio::test]
async fn servers_follow_ports_policies_and_addresses() {
    let mut node = node();
    let (first, second) = (SocketAddr::new(HERE, free()), SocketAddr::new(HERE, free()));
    node.ports.set(&web(), check(first.port(), 1));
    eventually(first).await;
    node.ports.set(&web(), check(second.port(), 1));
    eventually(second).await;
    eventually_silent(first).await;
    let other = SocketAddr::new(Ipv4Addr::new(127, 0, 0, 2).into(), second.port());
    node.ports.set_addresses(&[other.ip()]);
    eventually(other).await;
    eventually_silent(second).await;
    node.ports.set(&web(), None);
    eventually_silent(other).await;
    assert_eq!(node.ports.problems(), []);
}

#[tokio::test]
async fn each_family_of_a_service_is_answered_by_its_own_count_and_others_are_not() {
    let mut node = node();
    let (v4, v6) = (SocketAddr::new(HERE, free()), IpAddr::V6(Ipv6Addr::LOCALHOST));
    let v6 = SocketAddr::new(v6, v4.port());
    node.ports.set_addresses(&[v4.ip(), v6.ip()]);
    let weight = |got: &Got| got.header("x-load-balancing-endpoint-weight").map(str::to_owned);
    let check = |local_endpoints| Some(HealthCheck { port: v4.port(), local_endpoints });
    node.ports.set(&web(), check([Some(1), Some(0)]));
    assert_eq!((eventually(v4).await.status, eventually(v6).await.status), (200, 503));
    assert_eq!(weight(&get(v4, "/").await).as_deref(), Some("1"));
    assert_eq!(weight(&get(v6, "/").await).as_deref(), Some("0"));
    node.ports.set(&web(), check([Some(1), None]));
    eventually_silent(v6).await;
    node.ports.set(&web(), check([None, Some(2)]));
    eventually_silent(v4).await;
    assert_eq!(weight(&eventually(v6).await).as_deref(), Some("2"));
}

#[tokio::test]
async fn a_kept_connection_ends_with_its_service() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut node = node();
    let at = SocketAddr::new(HERE, free());
    node.ports.set(&web(), check(at.port(), 1));
    eventually(at).await;
    let mut kept = tokio::net::TcpStream::connect(at).await.unwrap();
    kept.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut buffer = vec![0; 4096];
    assert!(kept.read(&mut buffer).await.unwrap() > 0);
    node.ports.set(&web(), None);
    let end = tokio::time::timeout(Duration::from_secs(5), kept.read(&mut buffer)).await.unwrap();
    assert_eq!(end.unwrap(), 0);
}

#[tokio::test]
async fn two_services_may_swap_their_ports() {
    let mut node = node();
    let (a, b) = (SocketAddr::new(HERE, free()), SocketAddr::new(HERE, free()));
    let other: ServiceName = "shop/other".into();
    node.ports.set(&web(), check(a.port(), 1));
    node.ports.set(&other, check(b.port(), 1));
    eventually(a).await;
    eventually(b).await;
    node.ports.set(&web(), check(b.port(), 1));
    node.ports.set(&other, check(a.port(), 1));
    for (at, name) in [(a, "other"), (b, "web")] {
        let mut answer = eventually(at).await;
        while !answer.body.contains(name) {
            tokio::time::sleep(Duration::from_millis(10)).await;
            answer = eventually(at).await;
        }
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_a_problem_that_names_service_and_port_and_is_tried_again() {
    let mut node = node();
    let taken = std::net::TcpListener::bind((HERE, 0)).unwrap();
    let at = taken.local_addr().unwrap();
    let other = SocketAddr::new(HERE, free());
    node.ports.set(&web(), check(at.port(), 1));
    node.ports.set(&"shop/other".into(), check(other.port(), 1));
    let clash = node.clashes.recv().await.unwrap();
    assert_eq!((&*clash.service, clash.at), ("shop/web", at));
    let problems: Vec<String> = node.ports.problems().iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 1);
    let says = format!("Service shop/web: healthCheckNodePort {}: cannot listen on {at}: Address", at.port());
    assert!(problems[0].starts_with(&says), "{problems:?}");
    assert_eq!(eventually(other).await.status, 200, "all else goes on");
    drop(taken);
    assert_eq!(eventually(at).await.status, 200);
    assert_eq!(node.ports.problems(), []);
    assert!(node.clashes.try_recv().is_err(), "told once");
}

#[tokio::test]
async fn a_problem_ends_with_its_service() {
    let mut node = node();
    let taken = std::net::TcpListener::bind((HERE, 0)).unwrap();
    node.ports.set(&web(), check(taken.local_addr().unwrap().port(), 1));
    node.clashes.recv().await.unwrap();
    node.ports.set(&web(), None);
    for _ in 0..500 {
        if node.ports.problems().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", node.ports.problems());
}

#[tokio::test]
async fn it_answers_on_every_address_of_both_families() {
    let mut node = node();
    if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        use std::io::Write;
        _ = writeln!(std::io::stderr(), "not run: health checks on IPv6: this machine has no ::1");
        return;
    }
    let port = free();
    node.ports.set(&web(), Some(HealthCheck { port, local_endpoints: [Some(1); 2] }));
    node.ports.set_addresses(&[HERE, Ipv6Addr::LOCALHOST.into()]);
    eventually(SocketAddr::new(HERE, port)).await;
    eventually(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port)).await;
}
