//! Node 1 of a cluster in the kernel: a network namespace with kube-proxy's rules, and around it those of its pods, of a
//! client pod, of all that comes by a device (clients, other nodes and their pods), and of wherever else packets go.
//!
//! Every endpoint is a listener that tells who connected to whom. What leaves the node for none of them is heard by the
//! sink, so that "untouched" can be told from "dropped".

use super::place::Place;
use super::server::{Server, told};
use crate::cluster::{Cluster, pod_cidrs};
use crate::compare::rulesets;
use crate::rules::Source;
use socket2::{Domain, Socket, Type};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// Of the node, by names that `detectLocalMode: InterfaceNamePrefix` tells apart.
const LINKS: [&str; 4] = ["eth0", "eth1", "veth0", "veth1"];
/// On the wire, beside addresses of endpoints.
const WIRE: [&str; 10] = [
    "192.168.0.2",
    "192.168.0.3",
    "fd00:168::2",
    "fd00:168::3",
    "10.244.2.50",
    "fd00:244:2::50",
    "198.51.100.7",
    "198.51.100.8",
    "203.0.113.77",
    "2001:db8:c::7",
];
/// Of pods that clusters may have endpoints in.
const PODS: [&str; 2] = ["10.244.1.1", "fd00:244:1::1"];
/// Of a pod that is no endpoint.
const POD: [&str; 2] = ["10.244.1.50", "fd00:244:1::50"];
const SINK: [&str; 2] = ["10.99.0.1", "fd00:99::1"];
const SINK_PORT: u16 = 9;
const ALL_TO_SINK: &str = "table inet sink {
  chain everything {
    type nat hook prerouting priority -100
    meta l4proto tcp redirect to :9
  }
}
";

/// What a connect has met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Met {
    /// This endpoint, which saw that address.
    Backend(SocketAddr, IpAddr),
    Sink,
    Refused,
    Silence,
}

/// Servers end before their places.
pub struct World {
    _servers: Vec<Server>,
    node: Place,
    wire: Place,
    pods: Place,
    pod: Place,
    _sink: Place,
    /// Addresses that are somebody's, the node's included.
    pub inhabited: BTreeSet<IpAddr>,
    pub on_wire: BTreeSet<IpAddr>,
    pub in_pods: BTreeSet<IpAddr>,
}

impl World {
    pub fn new(cluster: &Cluster) -> Self {
        let [node, wire, sink, pods, pod] = [(); 5].map(|()| Place::new());
        let own: BTreeSet<IpAddr> = cluster.addresses(1).into_iter().collect();
        let endpoints = endpoints(cluster);
        let (mut on_wire, mut in_pods) = (parse(&WIRE), parse(&PODS));
        for addr in endpoints.iter().map(SocketAddr::ip).filter(|a| !own.contains(a)) {
            let here = pod_cidrs(1).iter().any(|n| n.contains(&addr));
            if here {
                in_pods.insert(addr)
            } else {
                on_wire.insert(addr)
            };
        }
        let mut links = String::new();
        let sides = [(&wire, &on_wire), (&sink, &parse(&SINK)), (&pods, &in_pods), (&pod, &parse(&POD))];
        for (link, (place, addrs)) in LINKS.into_iter().zip(sides) {
            // One address for both ends and no neighbours: whatever is sent arrives.
            let mac = "address 02:00:00:00:00:01";
            links += &format!(
                "link add {link} {mac} type veth peer name up0 {mac} netns {}\nlink set {link} arp off up\n",
                place.thread_id
            );
            addrs.iter().for_each(|a| links += &format!("route add {a} dev {link}\n"));
        }
        own.iter().for_each(|a| links += &format!("addr add {a} dev eth0\n"));
        links += "route add 0.0.0.0/0 dev eth1\nroute add ::/0 dev eth1\n";
        node.batch("ip", &["-batch", "-"], &links);
        for (place, addrs) in sides {
            let mut text = "link set up0 arp off up\n".to_string();
            addrs.iter().for_each(|a| text += &format!("addr add {a} dev up0\n"));
            place.batch("ip", &["-batch", "-"], &text);
            place.batch("ip", &["-batch", "-"], "route add 0.0.0.0/0 dev up0\nroute add ::/0 dev up0\n");
        }
        let local = "rule add iif up0 lookup 100\nroute add local default dev lo table 100\n";
        sink.batch("ip", &["-batch", "-"], local);
        sink.batch("ip", &["-6", "-batch", "-"], local);
        sink.batch("nft", &["-f", "-"], ALL_TO_SINK);
        node.batch("nft", &["-f", "-"], &rulesets(cluster, 1).map(|r| r.to_string()).concat());

        let sinks = SINK.map(|a| SocketAddr::new(a.parse().unwrap(), SINK_PORT)).into();
        let among = |addrs: &BTreeSet<IpAddr>| -> BTreeSet<SocketAddr> {
            endpoints.iter().filter(|e| addrs.contains(&e.ip())).copied().collect()
        };
        let servers =
            [(&node, among(&own)), (&wire, among(&on_wire)), (&pods, among(&in_pods)), (&sink, sinks)];
        let servers =
            servers.map(|(place, at): (&Place, BTreeSet<SocketAddr>)| place.run(move || Server::new(&at)));
        let inhabited = [&own, &on_wire, &in_pods, &parse(&POD)].into_iter().flatten().copied().collect();
        Self { _servers: servers.into(), node, wire, pods, pod, _sink: sink, inhabited, on_wire, in_pods }
    }

    /// Connects by TCP, all at once: a refused IPv6 connect may take a second, a dropped one as long as its patience.
    pub fn connect(&self, probes: Vec<(Source, SocketAddr, Duration)>) -> Vec<Met> {
        let places = [&self.node, &self.wire, &self.pods, &self.pod];
        let started: Vec<_> = probes
            .into_iter()
            .map(|(from, to, patience)| {
                let index = match from {
                    Source::Node(_) => 0,
                    Source::Device(_) => 1,
                    Source::Pod(addr) if self.in_pods.contains(&addr) => 2,
                    Source::Pod(_) => 3,
                };
                // A thread is in the namespace of the one that starts it.
                places[index].run(move || std::thread::spawn(move || connect(from.addr(), to, patience)))
            })
            .collect();
        started.into_iter().map(|one| one.join().expect("a connect ends")).collect()
    }
}

fn parse(addrs: &[&str]) -> BTreeSet<IpAddr> {
    addrs.iter().map(|a| a.parse().unwrap()).collect()
}

/// Every address and port that a TCP port of a slice gives.
fn endpoints(cluster: &Cluster) -> BTreeSet<SocketAddr> {
    let mut all = BTreeSet::new();
    for slice in cluster.slices() {
        let tcp =
            slice.ports.iter().flatten().filter(|p| matches!(p.protocol.as_deref(), None | Some("TCP")));
        for number in tcp.filter_map(|p| p.port) {
            let addrs = slice.endpoints.iter().flatten().filter_map(|e| e.addresses.first()?.parse().ok());
            all.extend(addrs.map(|a: IpAddr| SocketAddr::new(a, number as u16)));
        }
    }
    all
}

fn connect(from: IpAddr, to: SocketAddr, patience: Duration) -> Met {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap_or_else(|e| panic!("bind {from}: {e}"));
    match socket.connect_timeout(&to.into(), patience) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => return Met::Refused,
        Err(e) if e.kind() == ErrorKind::TimedOut => return Met::Silence,
        Err(e) => panic!("{from} to {to}: {e}"),
    }
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut line = String::new();
    stream.read_to_string(&mut line).unwrap();
    match told(&line) {
        Some((own, _)) if own.port() == SINK_PORT => Met::Sink,
        Some((own, seen)) => Met::Backend(own, seen),
        None => panic!("{from} to {to}: {line:?}"),
    }
}
