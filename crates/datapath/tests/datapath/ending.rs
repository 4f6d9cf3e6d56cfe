//! Sockets of a backend that is gone end, in every namespace, and no others.

use crate::support::{Node, ip, run};
use shunt_common::{Backend, Frontend, FrontendKey, FrontendKind, Ip4, Ip6, Pool, PortBe, Proto, feature};
use shunt_datapath::{Datapath, Repair, sockets};
use shunt_model::Departed;
use shunt_model::store::{BackendRow, FrontendRef, MapStore, Op};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// The service's address; `backend` n is 127.0.0.n, where a server answers.
const SERVICE: &str = "10.96.0.53:53";
const TO_TWO: &str = "10.96.0.54:53";

struct Cluster {
    datapath: Datapath,
    /// Where the test's process was before it came into the cgroup whose sockets are translated.
    was: PathBuf,
    _servers: Vec<UdpSocket>,
    _node: Node,
    /// Threads of one process are in one cgroup: one test at a time.
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

fn backend(n: u8, proto: Proto) -> BackendRow {
    let (addr, port) = (ip(&format!("127.0.0.{n}")), PortBe::new(5353));
    BackendRow::V4(Backend { addr, port, proto: proto as u8, state: 1, ..Backend::ZERO })
}

impl Cluster {
    /// Service 1 leads to backend 1, service 2 to backend 2.
    fn new() -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let node = Node::new();
        let was = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let was = was.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
        let was = node.cgroup.parent().unwrap().join(was).join("cgroup.procs");
        std::fs::write(node.cgroup.join("cgroup.procs"), std::process::id().to_string()).unwrap();
        let mut settings = node.settings();
        settings.features |= feature::IPV4 | feature::IPV6;
        let datapath = Datapath::start(&settings).unwrap();
        let mut store = datapath.store().unwrap();
        for (n, proto) in [(1, Proto::Udp), (2, Proto::Udp), (3, Proto::Tcp)] {
            store.apply(&Op::PutBackend { id: n, row: backend(n as u8, proto) }).unwrap();
            store.apply(&Op::PutPool { pool: Pool { offset: n, len: 1 }, ids: vec![n] }).unwrap();
        }
        for (service, addr, proto) in
            [(1, "10.96.0.53", Proto::Udp), (2, "10.96.0.54", Proto::Udp), (3, "10.96.0.53", Proto::Tcp)]
        {
            let pool = Pool { offset: service, len: 1 };
            let kind = FrontendKind::ClusterIp as u8;
            let row = Frontend { service, kind, pools: [pool, pool], ..Frontend::default() };
            let key = FrontendRef::V4(FrontendKey::<Ip4>::new(ip(addr), PortBe::new(53), proto as u8));
            store.apply(&Op::PutFrontend { key, row }).unwrap();
        }
        let server = |n| UdpSocket::bind(format!("127.0.0.{n}:5353")).unwrap();
        Self { datapath, was, _servers: vec![server(1), server(2)], _node: node, _alone: alone }
    }

    fn repair(&self, departed: &[Departed]) -> Repair {
        let (sender, receiver) = mpsc::channel();
        let sockets = self.datapath.sockets().unwrap();
        sockets.repair(departed.to_vec(), move |repair| sender.send(repair).unwrap()).unwrap();
        receiver.recv_timeout(Duration::from_secs(20)).unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        std::fs::write(&self.was, std::process::id().to_string()).unwrap();
    }
}

fn gone(service: Option<u32>) -> Departed {
    Departed { service, id: 1, backend: backend(1, Proto::Udp) }
}

fn client(to: &str) -> UdpSocket {
    let socket = UdpSocket::bind(if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" }).unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    socket
}

/// What a client sees that waits for an answer.
fn waits(socket: &UdpSocket) -> i32 {
    socket.recv(&mut [0; 16]).unwrap_err().raw_os_error().unwrap()
}

/// A network namespace that ends with this.
struct Elsewhere(Option<mpsc::Sender<()>>, Option<JoinHandle<()>>);

impl Drop for Elsewhere {
    fn drop(&mut self) {
        drop(self.0.take());
        // A thread that panicked has said so.
        _ = self.1.take().map(JoinHandle::join);
    }
}

/// Runs in a new network namespace, on a thread that stays there.
fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> (T, Elsewhere) {
    let (done, result) = mpsc::channel();
    let (stay, leave) = mpsc::channel::<()>();
    // A thread's namespace is found by its process alone, so it gets a process of its own: `sleep`.
    let thread = std::thread::spawn(move || {
        // SAFETY: no pointers; changes this thread only.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
        run("ip", &["link", "set", "lo", "up"]);
        let mut process = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        done.send(work()).unwrap();
        leave.recv().unwrap_err();
        process.kill().unwrap();
        process.wait().unwrap();
    });
    (result.recv().unwrap(), Elsewhere(Some(stay), Some(thread)))
}

#[test]
fn the_sockets_of_a_backend_that_is_gone_see_an_error_and_no_others_do() {
    let cluster = Cluster::new();
    let stale = client(SERVICE);
    let mapped = client("[::ffff:10.96.0.53]:53");
    let living = client(TO_TWO);
    let direct = client("127.0.0.1:5353");
    // Connected to the service first, then past it.
    let redirected = client(SERVICE);
    redirected.connect("127.0.0.1:5353").unwrap();
    let (other, stay) = elsewhere(|| client(SERVICE));
    assert_eq!(stale.peer_addr().unwrap().to_string(), SERVICE, "it was translated");

    let repair = cluster.repair(&[gone(Some(1))]);
    println!("{repair:?}");
    assert_eq!((repair.seen, repair.ended, repair.left), (5, 3, 0));
    assert!(repair.error.is_none() && repair.namespaces >= 2);
    for socket in [&stale, &mapped, &other] {
        assert_eq!(waits(socket), libc::ECONNABORTED);
    }
    for socket in [&living, &direct, &redirected] {
        assert_eq!(waits(socket), libc::EAGAIN, "untouched, and nobody answers here");
        socket.send(b"still connected").unwrap();
    }
    drop(stay);
}

#[test]
fn a_client_that_sends_first_sees_an_error_too_and_may_connect_again() {
    let cluster = Cluster::new();
    let stale = client(SERVICE);
    assert_eq!(cluster.repair(&[gone(None)]).ended, 1);
    let error = stale.send(b"query").unwrap_err();
    println!("send: {error}");
    stale.connect(TO_TWO).unwrap();
    assert_eq!(stale.peer_addr().unwrap().to_string(), TO_TWO);
    _ = stale.take_error();
    stale.send(b"query").unwrap();
}

#[test]
fn ipv6_sockets_end_too() {
    let cluster = Cluster::new();
    let addr = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().into();
    let port = PortBe::new(53);
    let row = Backend::<Ip6> { addr: addr("::1"), port, proto: Proto::Udp as u8, state: 1, ..Backend::ZERO };
    let (pool, kind) = (Pool { offset: 9, len: 1 }, FrontendKind::ClusterIp as u8);
    let key = FrontendRef::V6(FrontendKey::new(addr("fd00:96::53"), port, Proto::Udp as u8));
    let mut store = cluster.datapath.store().unwrap();
    for op in [
        Op::PutBackend { id: 1, row: BackendRow::V6(row) },
        Op::PutPool { pool, ids: vec![1] },
        Op::PutFrontend { key, row: Frontend { service: 9, kind, pools: [pool; 2], ..Frontend::default() } },
    ] {
        store.apply(&op).unwrap();
    }
    let (stale, direct) = (client("[fd00:96::53]:53"), client("[::1]:53"));
    assert_eq!(cluster.repair(&[gone(None)]).ended, 0, "the IPv4 backend of the same number is another");
    let departed = Departed { service: Some(9), id: 1, backend: BackendRow::V6(row) };
    assert_eq!(cluster.repair(&[departed]).ended, 1);
    assert_eq!((waits(&stale), waits(&direct)), (libc::ECONNABORTED, libc::EAGAIN));
}

#[test]
fn sockets_that_share_addresses_and_ports_all_end() {
    let cluster = Cluster::new();
    let first = client(SERVICE);
    let port = first.local_addr().unwrap().port();
    drop(first);
    let twins: Vec<UdpSocket> = (0..3).map(|_| reused(port)).collect();
    assert_eq!(cluster.repair(&[gone(Some(1))]).ended, 3);
    assert!(twins.iter().all(|twin| waits(twin) == libc::ECONNABORTED));
}

/// A client on a port that others may have too.
fn reused(port: u16) -> UdpSocket {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0);
    // SAFETY: a fresh descriptor that nobody else owns.
    let socket: UdpSocket = unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) };
    let on = 1i32;
    // SAFETY: the option's value is an int that outlives the call.
    let set = unsafe {
        let (level, option) = (libc::SOL_SOCKET, libc::SO_REUSEPORT);
        libc::setsockopt(socket.as_raw_fd(), level, option, std::ptr::from_ref(&on).cast(), 4)
    };
    assert_eq!(set, 0);
    let addr = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: 0 },
        sin_zero: [0; 8],
    };
    // SAFETY: an IPv4 address of the length that is told.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&addr).cast(), 16) };
    assert_eq!(bound, 0, "{}", std::io::Error::last_os_error());
    socket.connect(SERVICE).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    socket
}

#[test]
fn tcp_connections_end_only_when_they_are_meant() {
    let cluster = Cluster::new();
    let _listener = TcpListener::bind("127.0.0.3:5353").unwrap();
    let stream = TcpStream::connect(SERVICE).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let answer = || std::io::Read::read(&mut &stream, &mut [0; 4]).unwrap_err().raw_os_error();
    let none = cluster.repair(&[gone(None)]);
    println!("{none:?}");
    assert_eq!((none.seen, none.ended, none.namespaces), (1, 0, 0), "no namespace is entered for nothing");
    assert_eq!(answer(), Some(libc::EAGAIN));
    let of_tcp = Departed { service: None, id: 3, backend: backend(3, Proto::Tcp) };
    assert_eq!(cluster.repair(&[of_tcp]).ended, 1);
    assert_eq!(answer(), Some(libc::ECONNABORTED));
}

#[test]
fn without_the_right_to_enter_the_nodes_own_sockets_end_and_the_rest_are_counted() {
    let cluster = Cluster::new();
    let own = client(SERVICE);
    let (other, stay) = elsewhere(|| [client(SERVICE), client(SERVICE)]);
    let closed_meanwhile = elsewhere(|| client(SERVICE));
    drop(closed_meanwhile);
    assert!(sockets::may_enter());
    // The pass has the rights of the thread that asks for it.
    let (ended, error) = std::thread::scope(|scope| {
        let few = scope.spawn(|| {
            keep_capabilities(&[CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF]);
            assert!(!sockets::may_enter());
            let repair = cluster.repair(&[gone(None)]);
            println!("{repair:?}");
            assert!(repair.closed > 0);
            ((repair.ended, repair.left), repair.error)
        });
        few.join().unwrap()
    });
    assert_eq!((ended, error), ((1, 2), None));
    assert_eq!(waits(&own), libc::ECONNABORTED);
    assert!(other.iter().all(|socket| waits(socket) == libc::EAGAIN));
    drop(stay);
}

const CAP_NET_ADMIN: u32 = 12;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Drops all others, for this thread and what it starts.
fn keep_capabilities(kept: &[u32]) {
    let bits = kept.iter().fold(0u64, |bits, cap| bits | 1 << cap);
    let header = [0x2008_0522u32, 0];
    let half = |shift: u32| (bits >> shift) as u32;
    // Effective, permitted and inheritable, of the lower half of the numbers and then of the upper.
    let data = [half(0), half(0), 0, half(32), half(32), 0];
    // SAFETY: both arrays are laid out as version 3 of the call wants them, and outlive it.
    let set = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// How long a pass takes, for ADR 5; `NAMESPACES` and `SOCKETS` (in each) make it larger.
#[test]
fn a_pass_over_many_namespaces_and_sockets_is_short() {
    let size = |name, usual| std::env::var(name).map_or(usual, |text| text.parse::<usize>().unwrap());
    let (namespaces, sockets) = (size("NAMESPACES", 40), size("SOCKETS", 25));
    let cluster = Cluster::new();
    let each = move || {
        let stale: Vec<_> = (0..sockets).map(|_| client(SERVICE)).collect();
        let living: Vec<_> = (0..sockets).map(|_| client(TO_TWO)).collect();
        (stale, living)
    };
    let held: Vec<_> = (0..namespaces).map(|_| elsewhere(each)).collect();
    let all = namespaces * sockets;
    let of_nobody = Departed { service: None, id: 9, backend: backend(9, Proto::Udp) };
    for round in ["first", "second"] {
        let repair = cluster.repair(&[of_nobody]);
        println!("nobody follows it, {round}: {repair:?}");
        assert_eq!((repair.seen, repair.ended, repair.namespaces), (2 * all, 0, 0));
    }
    let repair = cluster.repair(&[gone(None)]);
    println!("{all} follow it: {repair:?}");
    assert_eq!((repair.ended, repair.left), (all, 0));
    assert!(repair.took < Duration::from_secs(2), "{repair:?}");
    drop(held);
}
