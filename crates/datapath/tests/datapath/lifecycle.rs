//! Start, restart, and what must be refused with a clear message.

use crate::support::{Node, backend, frontend, frontend_key, run, tcx};
use shunt_common::{Device, maps};
use shunt_datapath::{Datapath, Expirer, Interface, KernelStore, Mode, Role, dump::Reader, testrun::TestRun};
use shunt_model::store::{BackendRow, FrontendRef, MapStore, Op};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The agent moves them between its threads.
#[test]
fn handles_can_be_sent_and_shared() {
    fn send_and_sync<T: Send + Sync>() {}
    send_and_sync::<Datapath>();
    send_and_sync::<KernelStore>();
    send_and_sync::<Expirer>();
    send_and_sync::<Reader>();
}

#[test]
fn start_pins_and_attaches_everything() {
    let node = Node::new();
    let datapath = node.start();
    let reader = datapath.reader().unwrap();
    let names: Vec<_> = reader.maps().unwrap().iter().map(|m| m.spec.name).collect();
    assert_eq!(names.len(), maps::PINNED.len());
    let attachments = datapath.attachments().unwrap();
    assert_eq!(attachments.len(), 10, "{attachments:?}");
    assert!(attachments.iter().all(|a| a.mode == Mode::Cgroup && a.program_id != 0));
    assert_eq!(node.cgroup_programs().len(), 10);
    let mode = std::fs::metadata(node.bpf_root.join("v1/maps")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "pins are root's alone");
    assert_eq!(datapath.sizes(), node.settings().sizes);
}

#[test]
fn every_program_of_the_object_has_a_hook() {
    let node = Node::new();
    let mut settings = node.settings();
    settings.features |= shunt_common::feature::XDP;
    let run = TestRun::load(&TestRun::config(&settings), &settings.sizes).unwrap();
    let attached = node.start().attachments().unwrap();
    let interfaces = ["tc_ingress", "tc_egress", "pod_ingress", "pod_egress", "xdp"];
    let only_run = ["clock", "floor"];
    let mut hooks: Vec<_> = attached.iter().map(|a| a.hook).chain(interfaces).chain(only_run).collect();
    hooks.sort();
    let verified = run.verified().unwrap();
    assert_eq!(verified.keys().collect::<Vec<_>>(), hooks);
    assert!(verified.values().all(|cost| cost.walked > 0 && cost.stack <= 512));
}

#[test]
fn the_clock_ticks_as_the_kernel_says() {
    let node = Node::new();
    let clock = node.start().clock().unwrap();
    let (jiffies, ns) = clock.sample().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let (jiffies2, ns2) = clock.sample().unwrap();
    let (ticks, seconds) = ((jiffies2 - jiffies) as f64, (ns2 - ns) as f64 / 1e9);
    let measured = ticks / seconds;
    let hz = f64::from(clock.hz());
    assert!((measured - hz).abs() < hz * 0.1 + 4.0, "{measured} measured, {hz} by the clock's resolution");
    let now = clock.now().unwrap();
    assert_eq!(clock.age(now, now.wrapping_sub(clock.hz() * 3)), Duration::from_secs(3));
}

#[test]
fn a_restart_keeps_values_and_links_and_replaces_programs() {
    let node = Node::new();
    let device = node.veth("dev0");
    let interface = Interface { ifindex: device, role: Role::Device(Device::default()) };
    let key = FrontendRef::V4(frontend_key(1));
    let first = node.start();
    first.set_interface(&interface).unwrap();
    let mut store = first.store().unwrap();
    store.apply(&Op::PutBackend { id: 5, row: BackendRow::V4(backend(9)) }).unwrap();
    store.apply(&Op::PutFrontend { key, row: frontend(1, 0, 0) }).unwrap();
    let before = (node.cgroup_programs(), tcx(device), node.pins(), links(&node));
    drop((first, store));
    assert_eq!(node.cgroup_programs(), before.0, "programs stay while no agent runs");
    assert_eq!(tcx(device), before.1);

    let second = node.start();
    second.set_interface(&interface).unwrap();
    let actual = second.store().unwrap().dump().unwrap();
    assert_eq!(actual.backends4[&5], backend(9));
    assert!(actual.frontends.contains_key(&key));
    assert_eq!(node.pins(), before.2, "the same pins");
    assert_eq!(links(&node), before.3, "the same links, so no moment without one");
    let after = (node.cgroup_programs(), tcx(device));
    assert_eq!(after.0.len(), before.0.len());
    assert!(after.0.iter().all(|id| !before.0.contains(id)), "each socket program is new");
    assert_ne!(after.1, before.1);
    assert_eq!((after.1.0.len(), after.1.1.len()), (1, 1));
}

/// A node that restarts its agent, or upgrades it, is at no moment without its programs: what they refuse or limit would pass
/// meanwhile (GHSA-r5x6-w42p-jhpp was programs that were taken off at start).
#[test]
fn at_no_moment_of_a_restart_is_a_hook_without_its_program() {
    let node = Node::new();
    let (device, pod) = (node.veth("dev0"), node.veth("pod0"));
    let roles = [
        Interface { ifindex: device, role: Role::Device(Device::default()) },
        Interface { ifindex: pod, role: Role::Pod },
    ];
    let restart = || {
        let datapath = node.start();
        roles.iter().for_each(|interface| datapath.set_interface(interface).unwrap());
    };
    restart();
    let counts = || {
        let (device, pod) = (tcx(device), tcx(pod));
        [node.cgroup_programs().len(), device.0.len(), device.1.len(), pod.0.len(), pod.1.len()]
    };
    let before = counts();
    assert_eq!(before, [10, 1, 1, 1, 1]);
    let over = AtomicBool::new(false);
    let looked = std::thread::scope(|scope| {
        // It is in the same network namespace: a thread begins where its maker is.
        let watcher = scope.spawn(|| {
            let mut looked = 0u32;
            while !over.load(Ordering::Relaxed) {
                assert_eq!(counts(), before, "programs at each hook, after {looked} looks");
                looked += 1;
            }
            looked
        });
        (0..3).for_each(|_| restart());
        over.store(true, Ordering::Relaxed);
        watcher.join().expect("every hook always had one program")
    });
    assert!(looked > 100, "only {looked} looks");
}

/// Maps hold which pod serves what, and programs are what steers all traffic: nobody but root opens either.
#[test]
fn pins_are_for_root_alone() {
    let node = Node::new();
    let datapath = node.start();
    let interface = Interface { ifindex: node.veth("dev0"), role: Role::Device(Device::default()) };
    datapath.set_interface(&interface).unwrap();
    let pins = node.pins();
    assert!(pins.len() > 30, "{pins:?}");
    for pin in [node.bpf_root.display().to_string()].iter().chain(&pins) {
        let about = std::fs::symlink_metadata(pin).unwrap();
        assert_eq!(about.permissions().mode() & 0o077, 0, "{pin} is open to others");
        assert_eq!(about.uid(), 0, "{pin}");
    }
}

/// Ids of the pinned links.
fn links(node: &Node) -> Vec<(String, u32)> {
    let dir = node.bpf_root.join("v1/links");
    let mut all: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let link = aya::programs::links::PinnedLink::from_pin(&path).unwrap();
            let info = aya::programs::links::FdLink::from(link).info().unwrap();
            (path.display().to_string(), info.id())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn links_and_programs_of_another_version_are_removed() {
    let node = Node::new();
    drop(node.start());
    let before = node.pins();
    let links = node.bpf_root.join("v1/links");
    std::fs::rename(links.join("connect4"), links.join("bind4")).unwrap();
    let programs = node.bpf_root.join("v1/programs");
    std::fs::rename(programs.join("clock"), programs.join("clock-new")).unwrap();
    drop(node.start());
    assert_eq!(node.pins(), before);
    assert_eq!(node.cgroup_programs().len(), 10, "the old program does not run beside the new one");
}

#[test]
fn a_pinned_map_keeps_its_size_when_the_setting_changes() {
    let node = Node::new();
    drop(node.start());
    let mut settings = node.settings();
    settings.sizes.flow_rows = 65_536;
    settings.sizes.slots = 1024;
    let datapath = Datapath::start(&settings).unwrap();
    assert_eq!(datapath.sizes().flow_rows, 8192);
    assert_eq!(datapath.store().unwrap().capacity().slots, 512);
}

#[test]
fn a_pinned_map_of_another_shape_is_refused_by_name() {
    let node = Node::new();
    drop(node.start());
    let dir = node.bpf_root.join("v1/maps");
    std::fs::remove_file(dir.join(maps::FLOWS4)).unwrap();
    std::fs::rename(dir.join(maps::FLOWS6), dir.join(maps::FLOWS4)).unwrap();
    let error = Datapath::start(&node.settings()).unwrap_err().to_string();
    assert!(error.contains("maps/flows4 has key size 40, this version needs 16"), "{error}");
    assert!(error.contains("shunt cleanup"), "{error}");
    let error = Reader::open(&node.bpf_root).unwrap_err().to_string();
    assert!(error.contains("maps/flows4 has key size 40"), "{error}");
}

#[test]
fn a_node_without_bpffs_or_cgroup_v2_is_told_what_to_mount() {
    let node = Node::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let mut settings = node.settings();
    settings.bpf_root = elsewhere.path().join("shunt");
    let error = Datapath::start(&settings).unwrap_err().to_string();
    assert!(error.contains("not on a BPF file system") && error.contains("mount -t bpf"), "{error}");
    assert!(!settings.bpf_root.exists(), "nothing is made before the checks pass");

    let mut settings = node.settings();
    settings.cgroup_root = elsewhere.path().into();
    let error = Datapath::start(&settings).unwrap_err().to_string();
    assert!(error.contains("not a cgroup v2 directory") && error.contains("mount -t cgroup2"), "{error}");
    assert!(node.pins().is_empty(), "nothing is made before the checks pass");
}

#[test]
fn nothing_pinned_is_said_so() {
    let node = Node::new();
    let error = Reader::open(&node.bpf_root).unwrap_err().to_string();
    assert!(error.contains("no agent has run on this node"), "{error}");
}

#[test]
fn a_device_that_vanished_leaves_no_pins() {
    let node = Node::new();
    let (gone, stays) = (node.veth("dev0"), node.veth("dev1"));
    let datapath = node.start();
    for ifindex in [gone, stays] {
        datapath.set_interface(&Interface { ifindex, role: Role::Device(Device::default()) }).unwrap();
    }
    run("ip", &["link", "del", "dev0"]);
    assert_eq!(datapath.interfaces().unwrap().into_iter().collect::<Vec<_>>(), [gone, stays]);
    assert_eq!(datapath.reap_interfaces().unwrap(), [gone]);
    assert_eq!(datapath.interfaces().unwrap().into_iter().collect::<Vec<_>>(), [stays]);
    let error =
        datapath.set_interface(&Interface { ifindex: gone, role: Role::Pod }).unwrap_err().to_string();
    assert_eq!(error, format!("no interface with index {gone}"));
}
