//! A node in miniature.

use etherparse::PacketBuilder;
use shunt_common::{
    Backend, Flow, FlowKey, Frontend, FrontendKey, FrontendKind, Ip4, Pool, PortBe, Proto, Reason, flow_flag,
};
use shunt_datapath::{Datapath, Settings, Sizes};
use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A network namespace and a mount namespace of the test's own thread, with a bpffs and a cgroup. The namespaces and
/// all in them end with the thread, the cgroup with this value.
pub struct Node {
    pub bpf_root: PathBuf,
    pub cgroup: PathBuf,
    mount: tempfile::TempDir,
}

impl Node {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // SAFETY: no pointers; changes this thread only.
        let unshared = unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) };
        assert_eq!(unshared, 0, "needs root: {}", std::io::Error::last_os_error());
        let mount = tempfile::tempdir().unwrap();
        // Nothing that is mounted from here on may reach the machine's namespace.
        run("mount", &["--make-rprivate", "/"]);
        run("mount", &["-t", "bpf", "bpf", mount.path().to_str().unwrap()]);
        run("ip", &["link", "set", "lo", "up"]);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let cgroup = cgroup_mount().join(format!("shunt-test-{}-{number}", std::process::id()));
        fs::create_dir(&cgroup).unwrap();
        Self { bpf_root: mount.path().join("shunt"), cgroup, mount }
    }

    /// Small maps, so that a test may fill them.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::new(&self.bpf_root, &self.cgroup);
        settings.sizes = Sizes { ring_slots: 64, slots: 512, ..Sizes::new(64, 8192) };
        settings
    }

    pub fn start(&self) -> Datapath {
        Datapath::start(&self.settings()).unwrap()
    }

    /// A veth pair; answers the index of its first end.
    pub fn veth(&self, name: &str) -> u32 {
        run("ip", &["link", "add", name, "up", "type", "veth", "peer", "name", &format!("{name}p")]);
        ifindex(name)
    }

    /// Every file below the root, sorted.
    pub fn pins(&self) -> Vec<String> {
        let mut all = Vec::new();
        list(&self.bpf_root, &mut all);
        all.sort();
        all
    }

    /// Ids of the programs on the cgroup, whatever hook.
    pub fn cgroup_programs(&self) -> Vec<u32> {
        let cgroup = fs::File::open(&self.cgroup).unwrap();
        let types = [10, 11, 12, 13, 14, 15, 19, 20, 29, 30, 34];
        types.into_iter().flat_map(|attach_type| query(cgroup.as_raw_fd() as u32, attach_type)).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let target = std::ffi::CString::new(self.mount.path().to_str().unwrap()).unwrap();
        // SAFETY: a C string that outlives the call.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
        // With the bpffs the last references to links go, a moment later.
        for _ in 0..100 {
            match fs::remove_dir(&self.cgroup) {
                Ok(()) => return,
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(10)),
            }
        }
    }
}

fn list(dir: &Path, all: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        all.push(path.display().to_string());
        if path.is_dir() {
            list(&path, all);
        }
    }
}

pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

pub fn ifindex(name: &str) -> u32 {
    let name = std::ffi::CString::new(name).unwrap();
    // SAFETY: a C string that outlives the call.
    unsafe { libc::if_nametoindex(name.as_ptr()) }
}

fn cgroup_mount() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let line = mounts.lines().find(|l| l.split(' ').nth(2) == Some("cgroup2")).expect("a cgroup v2 mount");
    line.split(' ').nth(1).unwrap().into()
}

/// BPF_PROG_QUERY.
pub fn query(target: u32, attach_type: u32) -> Vec<u32> {
    let mut ids = [0u32; 64];
    let mut attr = [0u32; 16];
    attr[0] = target;
    attr[1] = attach_type;
    attr[4..6].copy_from_slice(&words(ids.as_mut_ptr() as u64));
    attr[6] = ids.len() as u32;
    // SAFETY: the attribute's pointer has room for as many ids as it says.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, 16, attr.as_mut_ptr(), size_of_val(&attr)) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
    ids[..attr[6] as usize].to_vec()
}

/// Programs on an interface by TCX, in order.
pub fn tcx(ifindex: u32) -> (Vec<u32>, Vec<u32>) {
    (query(ifindex, 46), query(ifindex, 47))
}

/// A pointer as two words of an attribute.
pub fn words(pointer: u64) -> [u32; 2] {
    let bytes = pointer.to_ne_bytes();
    [0, 4].map(|at| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap()))
}

pub fn ip(text: &str) -> Ip4 {
    text.parse::<std::net::Ipv4Addr>().unwrap().into()
}

pub fn frontend_key(last: u8) -> FrontendKey<Ip4> {
    FrontendKey::new(ip(&format!("10.96.0.{last}")), PortBe::new(80), Proto::Tcp as u8)
}

pub fn frontend(service: u32, offset: u32, len: u32) -> Frontend {
    let pool = Pool { offset, len };
    Frontend { service, kind: FrontendKind::ClusterIp as u8, pools: [pool, pool], ..Frontend::default() }
}

pub fn backend(last: u8) -> Backend<Ip4> {
    Backend {
        addr: ip(&format!("10.0.0.{last}")),
        port: PortBe::new(8080),
        proto: Proto::Tcp as u8,
        state: 1,
        ..Backend::ZERO
    }
}

/// A flow from a client through a service to `10.0.0.<last>`: its two rows, stamped `stamp`.
pub type Rows = [(FlowKey<Ip4>, Flow<Ip4>); 2];

pub fn flow(client_port: u16, proto: Proto, backend: u8, stamp: u32, seen: (u8, u8)) -> Rows {
    let client = (ip("192.0.2.1"), PortBe::new(client_port));
    let service = (ip("10.96.0.1"), PortBe::new(80));
    let server = (ip(&format!("10.0.0.{backend}")), PortBe::new(8080));
    let row = |from: (Ip4, PortBe), to: (Ip4, PortBe), flags: u16, seen: (u8, u8)| Flow {
        src: from.0,
        dst: to.0,
        sport: from.1,
        dport: to.1,
        delta: 0,
        stamp,
        service: 1,
        backend: u32::from(backend),
        ring: 0,
        flags,
        seen: seen.0,
        peer_seen: seen.1,
        egress: Default::default(),
    };
    let key = |from: (Ip4, PortBe), to: (Ip4, PortBe)| FlowKey {
        src: from.0,
        dst: to.0,
        sport: from.1,
        dport: to.1,
        proto: proto as u32,
    };
    let confirmed = flow_flag::CONFIRMED;
    [
        (key(client, service), row(client, server, confirmed, seen)),
        (key(server, client), row(service, client, confirmed | flow_flag::REPLY, (seen.1, seen.0))),
    ]
}

/// The MAC that it is for.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A SYN to the first frontend, behind a tag. Without backends it is answered with a reset, and so counted.
pub fn syn(tag: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], MAC)
        .ipv4([192, 0, 2, 9], [10, 96, 0, 1], 64)
        .tcp(40_000, 80, 1, 4096)
        .syn();
    let mut frame = Vec::new();
    builder.write(&mut frame, &[]).unwrap();
    frame.splice(12..12, tag.iter().copied());
    frame
}

/// Refusals until now: at least `least`, for which it waits.
pub fn refused(datapath: &Datapath, least: u64) -> u64 {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let counters = datapath.reader().unwrap().counters().unwrap();
        let count =
            |c: &(Reason, _, shunt_common::Counter)| if c.0 == Reason::NoBackend { c.2.packets } else { 0 };
        let now = counters.iter().map(count).sum();
        if now >= least {
            return now;
        }
        assert!(Instant::now() < end, "{now} refusals, {least} wanted");
        std::thread::sleep(Duration::from_millis(10));
    }
}
