//! The wires of nodes: tcpdump on a device, as evidence of who sends what from which address, and veths as NICs are.

use shunt_lab::cluster::Lab;
use shunt_lab::place::{Place, Process};
use shunt_lab::sh;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{ChildStderr, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

/// tcpdump on a node's `eth0`.
pub struct Wire {
    process: Process,
    errors: BufReader<ChildStderr>,
    /// Reads all the while: a full pipe would stop it, and the kernel would drop what it does not take.
    lines: JoinHandle<io::Result<String>>,
}

/// What is on its way when nobody sends any more.
const LAST: Duration = Duration::from_millis(300);

impl Wire {
    /// Watches from now on for what a filter (pcap-filter(7)) lets through, and prints it as `flags` say.
    pub fn watch(node: &Place, flags: &[&str], filter: &str) -> Self {
        let mut command = node.command("tcpdump").expect("tcpdump is in the table of needs");
        command.args(["-i", "eth0", "-n", "-l", "--immediate-mode", "-B", "16384"]).args(flags).arg(filter);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut process = Process::new(child.expect("tcpdump runs"));
        let mut errors = BufReader::new(process.child().stderr.take().expect("it is piped"));
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert_ne!(errors.read_line(&mut line).expect("text"), 0, "tcpdump {filter:?} ended");
        }
        let mut out = process.child().stdout.take().expect("it is piped");
        let lines = std::thread::spawn(move || {
            let mut text = String::new();
            out.read_to_string(&mut text).map(|_| text)
        });
        Self { process, errors, lines }
    }

    /// Everything since; waits a moment for what is still on its way.
    pub fn seen(self) -> String {
        let [seen] = Self::seen_by([self]);
        seen
    }

    /// Everything that several have seen since each of them watches.
    pub fn seen_by<const N: usize>(wires: [Self; N]) -> [String; N] {
        std::thread::sleep(LAST);
        wires.map(Self::end)
    }

    fn end(mut self) -> String {
        self.process.term().expect("tcpdump ends");
        let mut summary = String::new();
        self.errors.read_to_string(&mut summary).expect("text");
        assert!(summary.contains("\n0 packets dropped by kernel"), "{summary}");
        self.lines.join().expect("reading does not panic").expect("text")
    }
}

/// What the veths of nodes whose agents run XDP lack to behave like NICs: frames that leave them whole, checksums included,
/// and a driver at the other end that takes what XDP sends. The latter is any XDP program; this one is for no device of the
/// router's.
pub fn as_hardware(lab: &Lab) {
    let router = lab.topology.netns("router");
    for (i, node) in lab.nodes.iter().enumerate() {
        let program = node.agent.bpf_root.join("v1/programs/xdp");
        // A node without acceleration has none of its own.
        let program =
            if program.exists() { program } else { lab.nodes[0].agent.bpf_root.join("v1/programs/xdp") };
        for device in 0..lab.topology.devices {
            let port = format!("node{}-{device}", i + 1);
            let attach = ["-n", &router, "link", "set", "dev", &port, "xdpdrv", "pinned"];
            sh::output("ip", &[&attach[..], &[program.to_str().expect("the lab's names are text")]].concat())
                .expect("a veth takes XDP");
            sh::output("ip", &["netns", "exec", &router, "ethtool", "-K", &port, "tx", "off"])
                .expect("a veth can leave checksums to the sender");
        }
    }
}
