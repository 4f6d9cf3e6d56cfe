//! What a node takes to pass a packet of an established connection on from its NodePort to a backend on another node: by XDP, by
//! tc, by the rules of kube-proxy's nftables and iptables modes for the same services, and by mere routing to the pod, in
//! alternating rounds of one run.
//!
//! Frames come from the router's end of the node's link and are swallowed there when they come back, both in the driver. All of it
//! runs on one CPU, so the time of a packet is what the kernel works for it, all in.

use crate::frames::{Device, send};
use crate::packet::{ACK, Packet};
use crate::peers;
use crate::report::Report;
use crate::rules;
use crate::stats::Sample;
use anyhow::{Context, Result, ensure};
use shunt_lab::cluster::Lab;
use shunt_lab::net::netns::{self, Netns};
use shunt_lab::net::plan;
use shunt_lab::sh;
use shunt_lab::topology::{Style, Topology};
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

const SERVICES: usize = 1_000;
/// Rounds; in each, every case has its turn.
const ROUNDS: usize = 11;
/// Frames of a case in one round.
const FRAMES: u32 = 300_000;
/// Frames before a case's first round: its flow begins, and finds its route.
const FIRST: u32 = 1_000;
/// The client's port of the connection that the frames say they are of.
const SPORT: u16 = 40_000;
/// The port of the lab's pods that services lead to.
const POD_PORT: u16 = 8082;

/// The nodes, counted from 0.
const XDP: usize = 0;
const TC: usize = 1;
const NFTABLES: usize = 2;
const IPTABLES: usize = 3;
const BARE: usize = 4;
const MIRROR: usize = 5;

/// A way through a node.
struct Case {
    name: String,
    /// The router's end of the node's link: its index there.
    port: u32,
    frame: Vec<u8>,
}

/// Measures every way.
pub fn run() -> Result<Report> {
    let columns = ["way", "ns/packet", "min", "- floor", "x routing"];
    let mut report = Report::new("forward", &columns);
    let mut lab = Lab::without_agents(Topology { nodes: 6, ..Topology::new("bench", Style::Routed) })?;
    let names = serve(&mut lab)?;
    let router = router(&lab)?;
    let cases = cases(&lab, &router, &names)?;
    let (eth0, _) = link(&lab.nodes[MIRROR].host.netns, "eth0")?;
    let _mirror = lab.nodes[MIRROR].host.netns.run(move || Device::mirror(eth0))??;
    let samples = router.run(move || rounds(&cases))??;
    let medians: Vec<f64> = samples.iter().map(|(_, sample)| Sample::new(sample.clone()).median()).collect();
    let (floor, routing) = (medians[0], medians[1] - medians[0]);
    for ((name, sample), median) in samples.into_iter().zip(medians) {
        let own = median - floor;
        report.rows.push(vec![
            name.clone(),
            format!("{median:.0}"),
            format!("{:.0}", Sample::new(sample.clone()).quantile(0.0)),
            format!("{own:.0}"),
            format!("{:.2}", own / routing),
        ]);
        report.raw.push((name, sample));
    }
    Ok(report)
}

/// Puts every node's way in place; what each is called.
fn serve(lab: &mut Lab) -> Result<[String; 5]> {
    let services = |lab: &Lab, node| peers::services_of(lab, node, BARE, POD_PORT, SERVICES);
    peers::put(lab, services(lab, XDP), XDP, BARE)?;
    peers::start_shunt(lab, XDP, &["loadBalancer.acceleration=native"])?;
    peers::start_shunt(lab, TC, &[])?;
    let (all, _) = services(lab, NFTABLES);
    rules::load_nftables(&lab.nodes[NFTABLES].host, lab.nodes[NFTABLES].addresses.v4, &all)?;
    let (all, _) = services(lab, IPTABLES);
    let iptables = rules::load_iptables(&lab.nodes[IPTABLES].host, &all)?;
    // A veth takes frames from the driver of its other end only where it polls, as a NIC does.
    for node in &lab.nodes {
        let netns = node.host.netns.name();
        sh::output("ip", &["netns", "exec", netns, "ethtool", "-K", "eth0", "gro", "on"])?;
    }
    Ok(["Shunt, XDP", "Shunt, tc", "nftables", iptables, "routing to the pod"].map(String::from))
}

fn router(lab: &Lab) -> Result<Netns> {
    let wanted = lab.topology.netns("router");
    netns::with_prefix(&wanted).into_iter().find(|n| n.name() == wanted).context("no router")
}

/// The floor first, which a node's driver sends back as it came, then what only routes.
fn cases(lab: &Lab, router: &Netns, names: &[String; 5]) -> Result<Vec<Case>> {
    let mut all = Vec::new();
    let mut add = |name: &str, node: usize, to: (IpAddr, u16)| {
        let (port, sender) = link(router, &format!("node{}-0", node + 1))?;
        let (_, receiver) = link(&lab.nodes[node].host.netns, "eth0")?;
        let mut frame = Packet::new((plan::client().of(false), SPORT), to, ACK).bytes();
        frame[..6].copy_from_slice(&receiver);
        frame[6..12].copy_from_slice(&sender);
        all.push(Case { name: name.into(), port, frame });
        Ok::<_, anyhow::Error>(())
    };
    let pod = (lab.nodes[TC].pods[0].addresses.of(false), POD_PORT);
    let nobody = (IpAddr::from([0, 0, 0, 0]), 1);
    add("floor: sent back by the driver", MIRROR, nobody)?;
    add(&names[BARE], BARE, pod)?;
    for node in [XDP, TC, NFTABLES, IPTABLES] {
        let (_, measured) = peers::services_of(lab, node, BARE, POD_PORT, SERVICES);
        let port = measured.last_remote.node_port();
        add(&names[node], node, (lab.nodes[node].addresses.of(false), port))?;
    }
    Ok(all)
}

/// An interface's index and MAC.
fn link(netns: &Netns, name: &str) -> Result<(u32, [u8; 6])> {
    let text = sh::output("ip", &["-n", netns.name(), "-j", "link", "show", name])?;
    let all: serde_json::Value = serde_json::from_str(&text)?;
    let index = all[0]["ifindex"].as_u64().context("no index")?;
    let bytes =
        all[0]["address"].as_str().context("no address")?.split(':').map(|b| u8::from_str_radix(b, 16));
    let mac: Vec<u8> = bytes.collect::<Result<_, _>>()?;
    Ok((index as u32, mac.try_into().map_err(|_| anyhow::anyhow!("no MAC"))?))
}

/// Nanoseconds a packet of each round, on a thread in the router's network namespace.
fn rounds(cases: &[Case]) -> Result<Vec<(String, Vec<f64>)>> {
    stay_on_this_cpu()?;
    let sinks: Vec<Device> = cases.iter().map(|case| Device::sink(case.port)).collect::<Result<_>>()?;
    let mut samples: Vec<(String, Vec<f64>)> = cases.iter().map(|c| (c.name.clone(), Vec::new())).collect();
    for _ in 0..2 {
        for case in cases {
            send(case.port, &case.frame, FIRST)?;
        }
        thread::sleep(Duration::from_millis(500));
    }
    for _ in 0..ROUNDS {
        for ((case, sink), (_, sample)) in cases.iter().zip(&sinks).zip(&mut samples) {
            sample.push(case.time(sink).with_context(|| case.name.clone())?);
        }
    }
    Ok(samples)
}

impl Case {
    /// Nanoseconds from the first frame until the last has come back, by packet.
    fn time(&self, sink: &Device) -> Result<f64> {
        let before = sink.count()?;
        let begun = Instant::now();
        send(self.port, &self.frame, FRAMES)?;
        let (mut took, mut back) = (begun.elapsed(), sink.count()? - before);
        while back < u64::from(FRAMES) {
            thread::sleep(Duration::from_millis(5));
            let now = sink.count()? - before;
            if now == back {
                break;
            }
            (took, back) = (begun.elapsed(), now);
        }
        ensure!(back >= u64::from(FRAMES) * 99 / 100, "{back} of {FRAMES} packets came back");
        Ok(took.as_nanos() as f64 / back as f64)
    }
}

/// The kernel works for a packet on the CPU that it came in on.
fn stay_on_this_cpu() -> Result<()> {
    // SAFETY: a set of CPUs of the length given; zero is this thread.
    let done = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(libc::sched_getcpu() as usize, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set)
    };
    ensure!(done == 0, "staying on a CPU: {}", std::io::Error::last_os_error());
    Ok(())
}
