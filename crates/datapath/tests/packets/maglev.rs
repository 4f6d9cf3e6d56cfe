//! Maglev: every node picks the same backend for a flow, whatever ids its backends have.

use crate::dsr::{DSR, redirected};
use crate::packet::{ACK, Kind, Packet, SYN};
use crate::world::{BOTH, Family, NEXT, World};
use shunt_common::maglev::{FlowHash, TableRef};
use shunt_common::{Addr, AffinityRow, Frontend, FrontendKind, Ip4, Ip6, Proto, frontend_flag};
use shunt_datapath::Table;
use shunt_model::maglev::{Member, Settings, values};
use shunt_model::store::{BackendRow, MapStore, Op};
use std::collections::BTreeSet;
use std::net::IpAddr;

const TCP: u8 = 6;
/// Each transport, and the first packet of a flow.
const TRANSPORTS: [(Proto, Kind); 3] =
    [(Proto::Tcp, SYN), (Proto::Udp, Kind::Udp), (Proto::Sctp, Kind::Sctp(1))];

/// A Maglev service whose backends are one pod at many ports.
struct Service<'a> {
    pod: IpAddr,
    local: bool,
    proto: Proto,
    /// Ports, in the order in which this node heard of them.
    order: &'a [u16],
    flags: u32,
    timeout: u32,
    weight: &'a dyn Fn(u16) -> u16,
}

impl<'a> Service<'a> {
    fn new(family: Family, order: &'a [u16]) -> Self {
        let (proto, flags) = (Proto::Tcp, frontend_flag::EXTERNAL);
        Self { pod: family.local_pod(), local: true, proto, order, flags, timeout: 0, weight: &|_| 0 }
    }

    /// The backends in order of address and port.
    fn members(&self) -> Vec<Member> {
        let ports: BTreeSet<u16> = self.order.iter().copied().collect();
        let row = |port| {
            BackendRow::new(self.pod, port, self.proto, shunt_common::BackendState::Active, 1)
                .with_weight((self.weight)(port))
        };
        ports.iter().map(|p| Member::from(&row(*p))).collect()
    }

    /// A node that has it at port 80 of the virtual address.
    fn node(&self, family: Family) -> World {
        let mut w = World::new(family);
        self.serve(&mut w, family.vip(), 4096);
        w
    }

    /// Writes it to a node, its table at an element; the ids by port.
    fn serve(&self, w: &mut World, vip: IpAddr, at: u32) -> Vec<(u16, u32)> {
        let proto = self.proto as u8;
        let mut rows: Vec<(u16, u32)> =
            self.order.iter().map(|port| (*port, w.backend(self.pod, *port, proto, self.local))).collect();
        rows.sort_unstable();
        self.balance(w, vip, at, &rows);
        rows
    }

    /// Its frontend, over these of its backends.
    fn balance(&self, w: &mut World, vip: IpAddr, at: u32, rows: &[(u16, u32)]) {
        let left: Vec<u16> = rows.iter().map(|(port, _)| *port).collect();
        let table = Settings::default().table(&Service { order: &left, ..*self }.members());
        w.run.store().unwrap().apply(&Op::PutTable { at, table: table.into() }).unwrap();
        let mut ids: Vec<u32> = rows.iter().map(|(_, id)| *id).collect();
        ids.sort_unstable();
        let slots = ids.iter().copied().chain(rows.iter().map(|(_, id)| *id)).collect();
        let word = TableRef::new(at, Settings::is_wide(ids.len())).0;
        let row = Frontend {
            kind: FrontendKind::LoadBalancer as u8,
            flags: self.flags | frontend_flag::MAGLEV,
            affinity_timeout: self.timeout,
            pools: [w.maglev_pool(ids.len() as u32, slots, word); 2],
            ..Frontend::default()
        };
        w.put_frontend(vip, 80, self.proto as u8, row);
    }

    /// What the host says that its table has for a hash.
    fn has(&self, hash: FlowHash) -> u16 {
        let settings = Settings::default();
        let ports: BTreeSet<u16> = self.order.iter().copied().collect();
        let table = values(&settings, &self.members());
        let index = usize::from(table[(hash.finish() % settings.size) as usize]);
        *ports.iter().nth(index).unwrap()
    }

    /// The same for a client's flow from a port.
    fn expected(&self, family: Family, sport: u16) -> u16 {
        let ports = u32::from(sport.to_be()) | u32::from(80u16.to_be()) << 16;
        let hash = of_client(family.client()).words(&words(family.vip()));
        self.has(hash.word(ports).word(self.proto as u32))
    }
}

fn words(addr: IpAddr) -> Vec<u32> {
    match addr {
        IpAddr::V4(a) => Ip4::from(a).words().to_vec(),
        IpAddr::V6(a) => Ip6::from(a).words().to_vec(),
    }
}

fn of_client(client: IpAddr) -> FlowHash {
    FlowHash::new(Settings::default().flow_seed()).words(&words(client))
}

fn reached_at(w: &World, hook: &str, sport: u16, kind: Kind) -> u16 {
    let packet = Packet::new((w.family.client(), sport), (w.family.vip(), 80), kind);
    w.expect(hook, &packet, NEXT).dport
}

fn reached(w: &World, sport: u16, kind: Kind) -> u16 {
    reached_at(w, "tc_ingress", sport, kind)
}

/// Forgets all flows and clients; with the next service that is written all backends have other ids too.
fn become_another_node(w: &World) {
    match w.family {
        Family::V4 => empty(&w.run.flows4().unwrap()),
        Family::V6 => empty(&w.run.flows6().unwrap()),
    }
    empty(&w.run.affinity().unwrap());
}

fn empty<K: aya::Pod, V: aya::Pod>(table: &Table<K, V>) {
    for (key, _) in table.entries().unwrap() {
        table.remove(&key).unwrap();
    }
}

#[test]
fn a_flow_that_fails_over_to_another_node_in_its_middle_reaches_the_same_backend() {
    let one: Vec<u16> = (8000..8010).collect();
    let other: Vec<u16> = one.iter().rev().copied().collect();
    for f in BOTH {
        let mut w = World::new(f);
        for (proto, kind) in TRANSPORTS {
            let [first, second] = [&one, &other].map(|order| Service { proto, ..Service::new(f, order) });
            let middle = match kind {
                Kind::Tcp { .. } => ACK,
                Kind::Sctp(_) => Kind::Sctp(0),
                Kind::Udp => Kind::Udp,
            };
            first.serve(&mut w, f.vip(), 4096);
            let before: Vec<u16> = (1000..1200).map(|sport| reached(&w, sport, kind)).collect();
            assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), 10, "all are used");
            become_another_node(&w);
            second.serve(&mut w, f.vip(), 8192);
            let after: Vec<u16> = (1000..1200).map(|sport| reached(&w, sport, middle)).collect();
            assert_eq!(before, after);
            let want: Vec<u16> = (1000..1200).map(|sport| first.expected(f, sport)).collect();
            assert_eq!(before, want, "the host's code says the same");
        }
    }
}

#[test]
fn a_pod_s_packets_are_balanced_by_the_same_table() {
    let ports: Vec<u16> = (8000..8010).collect();
    for f in BOTH {
        let mut w = World::new(f);
        for ((proto, kind), at) in TRANSPORTS.into_iter().zip([0, 4096, 8192]) {
            let service = Service { proto, ..Service::new(f, &ports) };
            service.serve(&mut w, f.vip(), at);
            let found: Vec<u16> =
                (1000..1100).map(|sport| reached_at(&w, "pod_ingress", sport, kind)).collect();
            let want: Vec<u16> = (1000..1100).map(|sport| service.expected(f, sport)).collect();
            assert_eq!(found, want);
        }
    }
}

#[test]
fn by_dsr_another_node_sends_a_connection_on_to_its_remote_backend_with_all_that_it_must_know() {
    let one: Vec<u16> = (8000..8010).collect();
    let other: Vec<u16> = one.iter().rev().copied().collect();
    for f in BOTH {
        let mut w = World::new(f);
        let [first, second] = [&one, &other].map(|order| Service {
            pod: f.remote_pod(),
            local: false,
            flags: DSR,
            ..Service::new(f, order)
        });
        let packet = |sport, kind| Packet::new((f.client(), sport), (f.vip(), 80), kind);
        first.serve(&mut w, f.vip(), 4096);
        let syns: Vec<Vec<u8>> = (1000..1100).map(|sport| redirected(&w, &packet(sport, SYN))).collect();
        become_another_node(&w);
        second.serve(&mut w, f.vip(), 8192);
        for (sport, syn) in (1000..1100).zip(&syns) {
            let ack = redirected(&w, &packet(sport, ACK));
            assert_eq!(ack.len(), syn.len(), "the service's address is in it, as in a SYN");
            // From the backend's address on, through the option, to the client's port and the backend's.
            let through = if f == Family::V4 { 30..46 } else { 38..82 };
            assert_eq!(ack[through.clone()], syn[through], "the same backend, and what it needs to answer");
        }
    }
}

#[test]
fn more_backends_than_a_byte_counts_are_all_reached_where_the_table_says() {
    for f in BOTH {
        let ports: Vec<u16> = (8000..8300).rev().collect();
        let service = Service::new(f, &ports);
        let w = service.node(f);
        let found: Vec<u16> = (1000..1300).map(|sport| reached(&w, sport, SYN)).collect();
        let want: Vec<u16> = (1000..1300).map(|sport| service.expected(f, sport)).collect();
        assert_eq!(found, want);
        assert!(found.iter().any(|p| *p >= 8256));
    }
}

#[test]
fn one_backend_gets_all_and_weights_count() {
    for f in BOTH {
        let w = Service::new(f, &[8000]).node(f);
        assert!((1000..1020).all(|sport| reached(&w, sport, SYN) == 8000));
        let weight = |port| if port == 8000 { 300 } else { 100 };
        let w = Service { weight: &weight, ..Service::new(f, &[8001, 8000]) }.node(f);
        let heavy = (1000..1400).filter(|sport| reached(&w, *sport, SYN) == 8000).count();
        assert!((260..340).contains(&heavy), "{heavy} of 400, 300 expected");
    }
}

#[test]
fn a_table_of_other_settings_and_a_table_that_is_not_there_still_lead_to_backends_of_the_pool() {
    let ports: Vec<u16> = (8000..8010).collect();
    for f in BOTH {
        let mut w = Service::new(f, &ports).node(f);
        // What an agent with a larger maglev.tableSize finds behind the end of a smaller table.
        w.run.store().unwrap().apply(&Op::PutTable { at: 4096, table: [0xff; 2050 * 8].into() }).unwrap();
        let found: BTreeSet<u16> = (1000..1200).map(|sport| reached(&w, sport, SYN)).collect();
        assert_eq!(found.len(), 10, "by the hash itself");
        // An array that was never made.
        let slots: Vec<u32> = (1..=10).chain(1..=10).collect();
        let pool = w.maglev_pool(10, slots, TableRef::new(shunt_common::maglev::CHUNK_UNITS * 9, false).0);
        let flags = frontend_flag::EXTERNAL | frontend_flag::MAGLEV;
        let kind = FrontendKind::LoadBalancer as u8;
        w.put_frontend(f.vip(), 80, TCP, Frontend { kind, flags, pools: [pool; 2], ..Frontend::default() });
        let found: BTreeSet<u16> = (1200..1400).map(|sport| reached(&w, sport, SYN)).collect();
        assert_eq!(found.len(), 10);
    }
}

#[test]
fn a_client_with_affinity_first_gets_the_same_backend_on_every_node() {
    let ports: Vec<u16> = (8000..8050).collect();
    let reversed: Vec<u16> = ports.iter().rev().copied().collect();
    for f in BOTH {
        let mut w = World::new(f);
        for (proto, kind) in TRANSPORTS {
            let mut seen = BTreeSet::new();
            for (order, sport, at) in [(&ports, 1000, 0), (&reversed, 2000, 4096)] {
                Service { proto, timeout: 100, ..Service::new(f, order) }.serve(&mut w, f.vip(), at);
                seen.extend((sport..sport + 20).map(|sport| reached(&w, sport, kind)));
                seen.extend((sport + 20..sport + 30).map(|sport| reached_at(&w, "pod_ingress", sport, kind)));
                become_another_node(&w);
            }
            let want = Service { proto, ..Service::new(f, &ports) }.has(of_client(f.client()));
            assert_eq!(seen.into_iter().collect::<Vec<_>>(), [want], "as the hash of the client alone says");
        }
    }
}

#[test]
fn a_client_with_affinity_stays_when_the_table_changes_and_follows_it_when_its_time_is_over() {
    let ports: Vec<u16> = (8000..8010).collect();
    for f in BOTH {
        let mut w = World::new(f);
        for (proto, kind) in TRANSPORTS {
            become_another_node(&w);
            let service = Service { proto, timeout: 100, ..Service::new(f, &ports) };
            let rows = service.serve(&mut w, f.vip(), 4096);
            let by_table = service.has(of_client(f.client()));
            assert_eq!(reached(&w, 1000, kind), by_table);
            let table = w.run.affinity().unwrap();
            let (key, row) = table.entries().unwrap()[0];
            // It had come to another backend before, by an older table.
            let (other, id) = *rows.iter().find(|(port, _)| *port != by_table).unwrap();
            table.set(&key, &AffinityRow { backend: id, ..row }).unwrap();
            assert!((1001..1020).all(|sport| reached(&w, sport, kind) == other), "the table says {by_table}");
            assert_eq!(reached_at(&w, "pod_ingress", 1020, kind), other);

            table.set(&key, &AffinityRow { backend: id, stamp: row.stamp.wrapping_sub(105) }).unwrap();
            assert_eq!(reached(&w, 1021, kind), by_table, "its time is over");

            // Its backend leaves the pool: what the next table says, and with that it stays.
            let left: Vec<(u16, u32)> = rows.iter().filter(|(port, _)| *port != by_table).copied().collect();
            service.balance(&mut w, f.vip(), 8192, &left);
            let next = reached(&w, 1022, kind);
            let ports: Vec<u16> = left.iter().map(|(port, _)| *port).collect();
            assert_eq!(next, Service { order: &ports, ..service }.has(of_client(f.client())));
            service.balance(&mut w, f.vip(), 16_384, &rows);
            assert!((1023..1040).all(|sport| reached(&w, sport, kind) == next), "though its old one is back");
        }
    }
}

#[test]
fn two_services_of_one_pool_have_their_own_tables_and_other_clients_other_backends() {
    let ports: Vec<u16> = (8000..8010).collect();
    for f in BOTH {
        let service = Service { proto: Proto::Udp, ..Service::new(f, &ports) };
        let mut w = service.node(f);
        let few = Service { proto: Proto::Udp, ..Service::new(f, &[9000, 9001]) };
        few.serve(&mut w, f.cluster_ip(), 8192);
        let to = |addr, sport| Packet::new((f.client(), sport), (addr, 80), Kind::Udp);
        for sport in 1000..1050 {
            let got = w.expect("pod_ingress", &to(f.cluster_ip(), sport), NEXT).dport;
            assert!(few.order.contains(&got), "{got}");
            assert_eq!(reached(&w, sport, Kind::Udp), service.expected(f, sport));
        }
        assert_eq!(w.rows(), 200, "both rows of each flow");
    }
}
