//! What the socket path makes of calls by real sockets: of the node, and of pods, which have a network namespace of
//! their own.

use crate::support::{Node, ip, run};
use shunt_common::maglev::TableRef;
use shunt_common::{
    Backend, BackendState, Frontend, FrontendKey, FrontendKind, Pool, PortBe, Proto, Reason, feature,
    frontend_flag,
};
use shunt_datapath::Datapath;
use shunt_model::store::{BackendRow, FrontendRef, MapStore, Op};
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

/// Backends 1 to 10 are this address at ports 8001 to 8010, where somebody listens.
const SERVER: &str = "10.0.0.5";

struct World {
    node: Node,
    datapath: Datapath,
    listeners: Vec<TcpListener>,
}

impl World {
    fn new(features: u32) -> Self {
        let node = Node::new();
        run("ip", &["addr", "add", "10.0.0.5/32", "dev", "lo"]);
        let mut settings = node.settings();
        settings.features |= features;
        let datapath = Datapath::start(&settings).unwrap();
        let mut store = datapath.store().unwrap();
        let mut listeners = Vec::new();
        for id in 1..=10u32 {
            let port = 8000 + id as u16;
            let row = Backend {
                addr: ip(SERVER),
                port: PortBe::new(port),
                proto: Proto::Tcp as u8,
                state: BackendState::Active as u8,
                ..Backend::ZERO
            };
            store.apply(&Op::PutBackend { id, row: BackendRow::V4(row) }).unwrap();
            let listener = TcpListener::bind((SERVER, port)).unwrap();
            listener.set_nonblocking(true).unwrap();
            listeners.push(listener);
        }
        let ids = (1..=10).collect();
        store.apply(&Op::PutPool { pool: Pool { offset: 0, len: 10 }, ids }).unwrap();
        Self { node, datapath, listeners }
    }

    /// A frontend with the ten backends, or with none.
    fn frontend(&self, addr: &str, port: u16, flags: u32, served: bool, affinity_timeout: u32) {
        let pool = if served { Pool { offset: 0, len: 10 } } else { Pool::default() };
        let kind = FrontendKind::LoadBalancer as u8;
        let row =
            Frontend { service: 7, kind, flags, affinity_timeout, pools: [pool; 2], ..Frontend::default() };
        let proto = if port == 0 { 0 } else { Proto::Tcp as u8 };
        let key = FrontendRef::V4(FrontendKey::new(ip(addr), PortBe::new(port), proto));
        self.datapath.store().unwrap().apply(&Op::PutFrontend { key, row }).unwrap();
    }

    /// Connects from a process in a cgroup; what the shell says, empty when it succeeds.
    fn connect_in(&self, cgroup: &Path, pod: bool, addr: &str, port: u16) -> String {
        let script = format!("echo $$ > {}/cgroup.procs && : 3<>/dev/tcp/{addr}/{port}", cgroup.display());
        let mut command = if pod { Command::new("unshare") } else { Command::new("bash") };
        if pod {
            command.args(["--net", "bash"]);
        }
        let done = command.args(["-c", &script]).output().unwrap();
        String::from_utf8_lossy(&done.stderr).into_owned()
    }

    fn connect(&self, addr: &str, port: u16) -> String {
        self.connect_in(&self.node.cgroup, false, addr, port)
    }

    fn connect_from_pod(&self, addr: &str, port: u16) -> String {
        self.connect_in(&self.node.cgroup, true, addr, port)
    }

    fn counted(&self, reason: Reason) -> u64 {
        let counters = self.datapath.reader().unwrap().counters().unwrap();
        counters.iter().filter(|(r, ..)| *r == reason).map(|(_, _, c)| c.packets).sum()
    }

    /// Which backends were connected to since the last call.
    fn reached(&self) -> BTreeSet<u16> {
        let mut ports = BTreeSet::new();
        for listener in &self.listeners {
            while listener.accept().is_ok() {
                ports.insert(listener.local_addr().unwrap().port());
            }
        }
        ports
    }
}

/// A pod of these tests has no route, so that a connect that was left alone fails like this.
const LEFT_ALONE: &str = "Network is unreachable";

#[test]
fn an_empty_pool_refuses_and_a_local_policy_without_a_local_backend_says_so() {
    let w = World::new(0);
    w.frontend("10.96.0.1", 80, 0, false, 0);
    w.frontend("10.96.0.2", 80, frontend_flag::DROP_INTERNAL, false, 0);
    assert!(w.connect("10.96.0.1", 80).contains("Connection refused"));
    assert!(w.connect("10.96.0.2", 80).contains("No route to host"));
    assert_eq!((w.counted(Reason::SocketNoBackend), w.counted(Reason::SocketNoLocalBackend)), (1, 1));
}

#[test]
fn source_ranges_are_decided_for_the_node_at_once_and_for_pods_by_their_packets() {
    let w = World::new(0);
    w.frontend("10.96.0.1", 80, frontend_flag::SOURCE_RANGES, true, 0);
    w.frontend("10.96.0.2", 80, frontend_flag::SOURCE_RANGES | frontend_flag::NODE_ALLOWED, true, 0);
    assert!(w.connect("10.96.0.1", 80).contains("Operation not permitted"));
    assert_eq!(w.connect("10.96.0.2", 80), "");
    assert_eq!((w.counted(Reason::SocketSourceRange), w.counted(Reason::SocketForwarded)), (1, 1));
    for addr in ["10.96.0.1", "10.96.0.2"] {
        assert!(w.connect_from_pod(addr, 80).contains(LEFT_ALONE));
    }
    assert_eq!((w.counted(Reason::SocketSourceRange), w.counted(Reason::SocketForwarded)), (1, 1));
}

#[test]
fn a_node_port_on_loopback_is_the_node_s_alone() {
    let w = World::new(0);
    w.frontend("127.0.0.1", 30080, frontend_flag::HOST_ONLY, true, 0);
    assert_eq!(w.connect("127.0.0.1", 30080), "");
    assert_eq!(w.reached().len(), 1);
    assert_ne!(w.connect_from_pod("127.0.0.1", 30080), "");
    assert_eq!(w.counted(Reason::SocketForwarded), 1);
}

#[test]
fn a_service_address_refuses_ports_that_no_service_has() {
    let w = World::new(0);
    w.frontend("10.96.0.1", 0, frontend_flag::WILDCARD, false, 0);
    w.frontend("10.96.0.1", 80, 0, true, 0);
    assert_eq!(w.connect("10.96.0.1", 80), "");
    assert!(w.connect("10.96.0.1", 81).contains("Connection refused"));
    assert!(w.connect_from_pod("10.96.0.1", 81).contains("Connection refused"));
    assert_eq!(w.counted(Reason::SocketUnknownPort), 2);
    assert_eq!(w.connect(SERVER, 8001), "", "other addresses are none of our business");
    assert_eq!(w.counted(Reason::SocketForwarded), 1);
}

#[test]
fn with_affinity_all_sockets_of_a_namespace_reach_one_backend() {
    let w = World::new(0);
    w.frontend("10.96.0.1", 80, 0, true, 100);
    w.frontend("10.96.0.2", 80, 0, true, 0);
    for _ in 0..12 {
        assert_eq!(w.connect("10.96.0.1", 80), "");
    }
    assert_eq!(w.reached().len(), 1);
    for _ in 0..12 {
        assert_eq!(w.connect("10.96.0.2", 80), "");
    }
    assert!(w.reached().len() > 1, "without it they are spread");
}

/// A frontend with these of the ten backends, and a table in which every value is the first.
fn by_table(w: &World, addr: &str, at: u32, ids: &[u32], affinity_timeout: u32) {
    let mut store = w.datapath.store().unwrap();
    let settings = shunt_model::maglev::Settings::default();
    let units = settings.units(ids.len());
    let mut table = vec![0; units as usize * 8];
    table[8..16].copy_from_slice(&u64::from(units).to_le_bytes());
    store.apply(&Op::PutTable { at, table: table.into() }).unwrap();
    let pool = Pool { offset: 16 + at / 64, len: ids.len() as u32 };
    let words = ids.iter().chain(ids).copied().chain([TableRef::new(at, false).0]).collect();
    store.apply(&Op::PutPool { pool, ids: words }).unwrap();
    let (kind, flags) = (FrontendKind::LoadBalancer as u8, frontend_flag::MAGLEV);
    let row = Frontend { service: 7, kind, flags, affinity_timeout, pools: [pool; 2], ..Frontend::default() };
    let key = FrontendRef::V4(FrontendKey::new(ip(addr), PortBe::new(80), Proto::Tcp as u8));
    store.apply(&Op::PutFrontend { key, row }).unwrap();
}

/// A socket that connects has no source port, and often no address yet, so there is no flow to look up by.
#[test]
fn sockets_are_spread_over_the_pool_whatever_a_maglev_table_says() {
    let w = World::new(0);
    by_table(&w, "10.96.0.1", 0, &(1..=10).collect::<Vec<_>>(), 0);
    for _ in 0..30 {
        assert_eq!(w.connect("10.96.0.1", 80), "");
    }
    assert!(w.reached().len() > 3, "the table has one backend alone");
    assert_eq!(w.counted(Reason::SocketForwarded), 30);
}

#[test]
fn a_namespace_with_affinity_keeps_its_backend_when_the_table_changes() {
    let w = World::new(0);
    let reached = || {
        for _ in 0..12 {
            assert_eq!(w.connect("10.96.0.1", 80), "");
        }
        let ports = w.reached();
        assert_eq!(ports.len(), 1, "{ports:?}");
        u32::from(ports.into_iter().next().unwrap()) - 8000
    };
    by_table(&w, "10.96.0.1", 0, &(1..=10).collect::<Vec<_>>(), 100);
    let first = reached();
    let two = if first == 10 { [9, 10] } else { [first, 10] };
    by_table(&w, "10.96.0.1", 4096, &two, 100);
    assert_eq!(reached(), first, "another table, and it is still in the pool");
    let others: Vec<u32> = (1..=10).filter(|id| *id != first).collect();
    by_table(&w, "10.96.0.1", 8192, &others, 100);
    let next = reached();
    assert_ne!(next, first);
    by_table(&w, "10.96.0.1", 12_288, &(1..=10).collect::<Vec<_>>(), 100);
    assert_eq!(reached(), next);
}

#[test]
fn pods_are_left_to_the_packet_path_where_only_the_host_is_served() {
    let w = World::new(feature::HOST_NAMESPACE_ONLY);
    w.frontend("10.96.0.1", 80, 0, true, 0);
    w.frontend("10.96.0.3", 80, 0, false, 0);
    assert_eq!(w.connect("10.96.0.1", 80), "");
    assert!(w.connect_from_pod("10.96.0.1", 80).contains(LEFT_ALONE));
    assert!(w.connect_from_pod("10.96.0.3", 80).contains(LEFT_ALONE));
    assert_eq!((w.counted(Reason::SocketForwarded), w.counted(Reason::SocketNoBackend)), (1, 0));
}

#[test]
fn a_pod_that_opted_out_is_left_to_the_packet_path_wherever_in_its_cgroup_it_runs() {
    use std::os::unix::fs::MetadataExt;
    let w = World::new(feature::OPT_OUT);
    w.frontend("10.96.0.3", 80, 0, false, 0);
    let pod = w.node.cgroup.join("pod");
    let container = pod.join("container");
    std::fs::create_dir_all(&container).unwrap();
    let refused = |cgroup: &Path| w.connect_in(cgroup, true, "10.96.0.3", 80).contains("Connection refused");
    assert!(refused(&container), "before it opts out");
    let table = w.datapath.opt_out().unwrap();
    table.set(&std::fs::metadata(&pod).unwrap().ino(), &1).unwrap();
    assert!(!refused(&container) && !refused(&pod));
    assert!(refused(&w.node.cgroup), "others are served");
    std::fs::remove_dir(container).unwrap();
    std::fs::remove_dir(pod).unwrap();
}
