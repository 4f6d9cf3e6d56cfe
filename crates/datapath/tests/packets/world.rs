//! The node that the packets meet: a network namespace with a device, routes and neighbours, and the maps.

use crate::packet::{NODE, Packet};
use crate::{AT_DRIVER, coverage};
use shunt_common::{
    Addr, Backend, BackendState, Device, Flow, FlowKey, Frontend, FrontendKey, FrontendKind, Ip4, Ip6, Pool,
    PortBe, Reason, XdpDevice, feature, frontend_flag,
};
use shunt_datapath::testrun::{About, Outcome, TestRun};
use shunt_datapath::{Settings, Sizes};
use shunt_model::store::{BackendRow, FrontendRef, MapStore, Op};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::process::{Command, Stdio};

pub const XDP_DROP: i32 = 1;
pub const XDP_PASS: i32 = 2;
pub const XDP_TX: i32 = 3;
pub const XDP_REDIRECT: i32 = 4;
pub const NEXT: i32 = -1;
pub const DROP: i32 = 2;
pub const REDIRECT: i32 = 7;

/// Which family a case runs for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    V4,
    V6,
}

pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

impl Family {
    fn pick(self, v4: &str, v6: &str) -> IpAddr {
        match self {
            Self::V4 => v4,
            Self::V6 => v6,
        }
        .parse()
        .expect("an address")
    }
    pub fn client(self) -> IpAddr {
        self.pick("198.51.100.7", "2001:db8:c::7")
    }
    /// The node's own address on its device.
    pub fn node(self) -> IpAddr {
        self.pick("10.0.0.1", "fd00::1")
    }
    pub fn vip(self) -> IpAddr {
        self.pick("203.0.113.10", "2001:db8:f::10")
    }
    pub fn cluster_ip(self) -> IpAddr {
        self.pick("10.96.0.10", "fd00:96::10")
    }
    pub fn local_pod(self) -> IpAddr {
        self.pick("10.1.1.5", "fd00:1:1::5")
    }
    pub fn remote_pod(self) -> IpAddr {
        self.pick("10.1.2.5", "fd00:1:2::5")
    }
}

const NETWORK: &str = "
link set lo up
link add eth0 address 02:00:00:00:00:01 type veth peer name wire0
link set eth0 up
link set wire0 up
addr add 10.0.0.1/24 dev eth0
addr add fd00::1/64 dev eth0 nodad
neigh add 10.0.0.254 lladdr 02:00:00:00:00:fe dev eth0 nud permanent
neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev eth0 nud permanent
neigh add fd00::fe lladdr 02:00:00:00:00:fe dev eth0 nud permanent
neigh add fd00::2 lladdr 02:00:00:00:00:02 dev eth0 nud permanent
route add default via 10.0.0.254
route add 10.1.2.0/24 via 10.0.0.2
route add default via fd00::fe
route add fd00:1:2::/64 via fd00::2
";

/// The MAC of the node that remote pods live on, and of the router to the clients.
pub const REMOTE_NODE: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];

/// A node with one device, in a network namespace of the test's own thread, which dies with it.
pub struct World {
    pub family: Family,
    pub run: TestRun,
    pub eth0: u32,
    next_id: u32,
    next_slot: u32,
}

impl World {
    pub fn new(family: Family) -> Self {
        Self::start(family, Settings { sizes: Sizes::new(1024, 4096), ..Self::settings() })
    }

    /// With tables of other sizes.
    pub fn sized(family: Family, sizes: Sizes) -> Self {
        stay();
        Self::start(family, Settings { sizes, ..Self::settings() })
    }

    fn settings() -> Settings {
        let (node4, node6) = (Ipv4Addr::new(10, 0, 0, 1), "fd00::1".parse().expect("an address"));
        Settings { node4: Some(node4), node6: Some(node6), ..Settings::new("/nowhere", "/nowhere") }
    }

    /// With another range of SNAT ports.
    pub fn with_ports(family: Family, snat_ports: RangeInclusive<u16>) -> Self {
        let sizes = Sizes::new(1024, 4096);
        Self::start(family, Settings { sizes, snat_ports, ..Self::settings() })
    }

    /// With other settings.
    pub fn with(family: Family, settings: Settings) -> Self {
        Self::start(family, settings)
    }

    /// With other features of the programs.
    pub fn with_features(family: Family, features: u32) -> Self {
        Self::start(family, Settings { features, sizes: Sizes::new(1024, 4096), ..Self::settings() })
    }

    fn start(family: Family, settings: Settings) -> Self {
        // SAFETY: no pointers; a new network namespace for this thread only.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "a network namespace (is this root?)");
        for (key, value) in [("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")] {
            std::fs::write(format!("/proc/sys/net/{key}"), value).expect("a sysctl of the own namespace");
        }
        let mut ip =
            Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("iproute2");
        ip.stdin.take().expect("piped").write_all(NETWORK.as_bytes()).expect("ip reads its batch");
        assert!(ip.wait().expect("ip ends").success(), "ip -batch");
        // SAFETY: a NUL-terminated name.
        let eth0 = unsafe { libc::if_nametoindex(c"eth0".as_ptr()) };
        let mut config = TestRun::config(&settings);
        config.features |= TestRun::kernel_features().expect("a kernel that is new enough");
        if AT_DRIVER {
            config.features |= feature::XDP;
        }
        // Where the verifier is slow, as in an emulator, programs serve the one family of a case.
        if std::env::var_os("PACKET_CASES_ONE_FAMILY").is_some() {
            config.features &= !if family == Family::V4 { feature::IPV6 } else { feature::IPV4 };
        }
        let run = TestRun::load(&config, &settings.sizes).expect("the programs load");
        if config.features & feature::XDP != 0 {
            let row = XdpDevice { ifindex: eth0, mac: NODE, ..XdpDevice::default() };
            run.xdp_devices().unwrap().set(&XdpDevice::slot(eth0), &row).unwrap();
        }
        let device = Device {
            addr4: Ip4::from(Ipv4Addr::new(10, 0, 0, 1)),
            addr6: Ip6::from("fd00::1".parse::<Ipv6Addr>().expect("an address")),
            flags: 0,
        };
        run.devices().unwrap().set(&eth0, &device).unwrap();
        Self { family, run, eth0, next_id: 1, next_slot: 0 }
    }

    fn apply(&self, op: Op) {
        self.run.store().unwrap().apply(&op).expect("the maps have room");
    }

    /// Adds an active backend; returns its id.
    pub fn backend(&mut self, addr: IpAddr, port: u16, proto: u8, local: bool) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        self.put_backend(id, addr, port, proto, local, BackendState::Active as u8);
        id
    }

    /// Writes a backend's row; state zero takes it away.
    pub fn put_backend(&self, id: u32, addr: IpAddr, port: u16, proto: u8, local: bool, state: u8) {
        fn row<A: Addr>(addr: A, port: u16, proto: u8, local: bool, state: u8) -> Backend<A> {
            Backend { addr, port: PortBe::new(port), proto, state, flags: u32::from(local), ..Backend::ZERO }
        }
        let row = match addr {
            IpAddr::V4(a) => BackendRow::V4(row(Ip4::from(a), port, proto, local, state)),
            IpAddr::V6(a) => BackendRow::V6(row(Ip6::from(a), port, proto, local, state)),
        };
        self.apply(Op::PutBackend { id, row });
    }

    /// Adds or replaces a frontend with these backends, in both scopes.
    pub fn frontend(&mut self, kind: FrontendKind, addr: IpAddr, port: u16, proto: u8, ids: &[u32]) {
        let flags = if kind == FrontendKind::ClusterIp { 0 } else { frontend_flag::EXTERNAL };
        let pool = self.pool(ids);
        let row = Frontend { kind: kind as u8, flags, pools: [pool; 2], ..Frontend::default() };
        self.put_frontend(addr, port, proto, row);
    }

    /// Writes a pool; ids ascend.
    pub fn pool(&mut self, ids: &[u32]) -> Pool {
        let pool = Pool { offset: self.next_slot, len: ids.len() as u32 };
        self.next_slot += pool.len;
        self.apply(Op::PutPool { pool, ids: ids.to_vec() });
        pool
    }

    /// Writes a pool of `len` backends with a Maglev table: its ids twice, and where the table is.
    pub fn maglev_pool(&mut self, len: u32, mut slots: Vec<u32>, table: u32) -> Pool {
        slots.push(table);
        let pool = Pool { offset: self.next_slot, len };
        self.next_slot += slots.len() as u32;
        self.apply(Op::PutPool { pool, ids: slots });
        pool
    }

    /// Writes a frontend's row; its service id follows from the port.
    pub fn put_frontend(&mut self, addr: IpAddr, port: u16, proto: u8, row: Frontend) {
        let key = match addr {
            IpAddr::V4(a) => FrontendRef::V4(FrontendKey::new(Ip4::from(a), PortBe::new(port), proto)),
            IpAddr::V6(a) => FrontendRef::V6(FrontendKey::new(Ip6::from(a), PortBe::new(port), proto)),
        };
        let row = Frontend { service: 1 + u32::from(port), ..row };
        self.apply(Op::PutFrontend { key, row });
    }

    /// Writes the ServiceCIDRs.
    pub fn service_cidrs(&self, nets: &[&str]) {
        let nets = nets.iter().map(|net| net.parse().expect("a range")).collect();
        self.apply(Op::PutServiceCidrs(nets));
    }

    /// A service at `addr:port` with one backend; returns the backend's id.
    pub fn service(
        &mut self,
        kind: FrontendKind,
        at: (IpAddr, u16),
        proto: u8,
        to: (IpAddr, u16),
        local: bool,
    ) -> u32 {
        let id = self.backend(to.0, to.1, proto, local);
        self.frontend(kind, at.0, at.1, proto, &[id]);
        id
    }

    /// Runs a hook on a packet.
    pub fn hook(&self, program: &str, packet: &Packet) -> Outcome {
        self.raw(program, &packet.bytes())
    }

    /// Runs a hook on a frame.
    pub fn raw(&self, program: &str, frame: &[u8]) -> Outcome {
        self.try_raw(program, frame).expect("the program runs")
    }

    /// The same, with the kernel's refusal of the frame.
    pub fn try_raw(&self, program: &str, frame: &[u8]) -> Result<Outcome, shunt_datapath::Error> {
        if AT_DRIVER && program == "tc_ingress" {
            return self.through_driver(frame);
        }
        coverage::ran(self.family, program);
        self.run.run(program, frame, self.eth0, 1)
    }

    /// Runs a hook on a frame of which more is known.
    pub fn with_about(&self, program: &str, frame: &[u8], about: About) -> Outcome {
        coverage::ran(self.family, program);
        self.run.run_with(program, frame, about, 1).expect("the program runs")
    }

    /// What a hook makes of a packet that this node forwards: one that came by an interface.
    pub fn forwarded(&self, program: &str, packet: &Packet, verdict: i32) -> Packet {
        let about = About { ifindex: self.eth0, came_by: self.eth0, ..About::default() };
        let outcome = self.with_about(program, &packet.bytes(), about);
        assert_eq!(outcome.verdict, verdict, "verdict of {program} on {packet:?}");
        Packet::read(&outcome.packet)
    }

    /// What becomes of a frame that meets XDP first and then, if it passes, tc; without the mark, which a test run does not
    /// carry from one to the other: so tc looks again at all that XDP has looked at. The verdict is put in tc's words.
    fn through_driver(&self, frame: &[u8]) -> Result<Outcome, shunt_datapath::Error> {
        coverage::ran(self.family, "xdp");
        let outcome = self.run.run("xdp", frame, self.eth0, 1)?;
        let verdict = match outcome.verdict {
            XDP_DROP => DROP,
            XDP_TX | XDP_REDIRECT => REDIRECT,
            XDP_PASS => {
                assert_eq!(outcome.packet, frame, "what passes is as it came");
                coverage::ran(self.family, "tc_ingress");
                return self.run.run("tc_ingress", frame, self.eth0, 1);
            }
            other => panic!("XDP says {other}"),
        };
        Ok(Outcome { verdict, ..outcome })
    }

    /// Runs a hook, expects a verdict, and reads the packet back.
    pub fn expect(&self, program: &str, packet: &Packet, verdict: i32) -> Packet {
        let outcome = self.hook(program, packet);
        assert_eq!(outcome.verdict, verdict, "verdict of {program} on {packet:?} ({:?})", self.reasons());
        Packet::read(&outcome.packet)
    }

    /// Every reason counted so far, for messages and checks.
    pub fn reasons(&self) -> Vec<(Reason, u64)> {
        use shunt_common::Direction::{Egress, Ingress};
        let count = |r: Reason, d| self.run.counter(r, d).unwrap().packets;
        Reason::ALL
            .iter()
            .map(|r| (*r, count(*r, Ingress) + count(*r, Egress)))
            .filter(|(_, n)| *n > 0)
            .collect()
    }

    /// How often a reason was counted.
    pub fn counted(&self, reason: Reason) -> u64 {
        self.reasons().into_iter().find(|(r, _)| *r == reason).map_or(0, |(_, n)| n)
    }

    /// Number of flow rows of this family.
    pub fn rows(&self) -> usize {
        match self.family {
            Family::V4 => self.run.flows4().unwrap().entries().unwrap().len(),
            Family::V6 => self.run.flows6().unwrap().entries().unwrap().len(),
        }
    }

    /// Changes the row of a packet's tuple in place; `false` when there is none.
    pub fn edit_row(&self, packet: &Packet, edit: impl Fn(&mut u32, &mut u16)) -> bool {
        match (packet.src, packet.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                edit_in(&self.run.flows4().unwrap(), &key(packet, Ip4::from(src), Ip4::from(dst)), edit)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                edit_in(&self.run.flows6().unwrap(), &key(packet, Ip6::from(src), Ip6::from(dst)), edit)
            }
            _ => unreachable!("one family"),
        }
    }

    /// Whether a packet's tuple has a row.
    pub fn has_row(&self, packet: &Packet) -> bool {
        self.edit_row(packet, |_, _| {})
    }

    /// Makes the row's stamp a minute old, as if it had been silent.
    pub fn age(&self, packet: &Packet) {
        assert!(
            self.edit_row(packet, |stamp, _| *stamp = stamp.wrapping_sub(60_000)),
            "a row for {packet:?}"
        );
    }

    /// Removes the row of a packet's tuple, as no program ever does.
    pub fn cut_row(&self, packet: &Packet) {
        let gone = match (packet.src, packet.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                self.run.flows4().unwrap().remove(&key(packet, Ip4::from(src), Ip4::from(dst)))
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                self.run.flows6().unwrap().remove(&key(packet, Ip6::from(src), Ip6::from(dst)))
            }
            _ => unreachable!("one family"),
        };
        assert!(gone.unwrap(), "a row for {packet:?}");
    }
}

/// Keeps the test's thread on its CPU. Each has a ring of unconfirmed flows of its own: those that fill a small one must not go
/// on in another's.
fn stay() {
    // SAFETY: a set of CPUs without any is all zeros, and outlives the call; a CPU that the thread runs on is one of them.
    let kept = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(libc::sched_getcpu() as usize, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    assert_eq!(kept, 0, "{}", std::io::Error::last_os_error());
}

fn key<A: Addr>(packet: &Packet, src: A, dst: A) -> FlowKey<A> {
    let proto = match packet.kind {
        crate::packet::Kind::Udp => 17,
        crate::packet::Kind::Tcp { .. } => 6,
        crate::packet::Kind::Sctp(_) => 132,
    };
    FlowKey { src, dst, sport: PortBe::new(packet.sport), dport: PortBe::new(packet.dport), proto }
}

fn edit_in<A: Addr>(
    table: &shunt_datapath::Table<FlowKey<A>, Flow<A>>,
    key: &FlowKey<A>,
    edit: impl Fn(&mut u32, &mut u16),
) -> bool
where
    FlowKey<A>: aya::Pod,
    Flow<A>: aya::Pod,
{
    let Some(mut row) = table.get(key).unwrap() else { return false };
    edit(&mut row.stamp, &mut row.flags);
    table.set(key, &row).unwrap();
    true
}
