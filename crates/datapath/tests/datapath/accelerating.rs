//! XDP on devices: attached and sure of it, replaced in place, nobody evicted, nothing left.

use crate::support::{Node, run};
use aya::programs::{Xdp as Program, XdpMode};
use aya::{Ebpf, EbpfLoader};
use shunt_common::{Device, XdpDevice, feature};
use shunt_datapath::examine::{self, Ability};
use shunt_datapath::{Acceleration, Datapath, Error, Interface, Mode, Role, Settings, Xdp};

fn device(ifindex: u32) -> Interface {
    Interface { ifindex, role: Role::Device(Device::default()) }
}

fn settings(node: &Node, acceleration: Acceleration) -> Settings {
    let mut settings = node.settings();
    settings.acceleration = acceleration;
    if acceleration != Acceleration::Disabled {
        settings.features |= feature::XDP;
    }
    settings
}

fn start(node: &Node, acceleration: Acceleration) -> Datapath {
    Datapath::start(&settings(node, acceleration)).unwrap()
}

fn xdp(datapath: &Datapath, ifindex: u32) -> Vec<(Mode, u32)> {
    let all = datapath.attachments().unwrap();
    all.into_iter()
        .filter(|a| a.ifindex == ifindex && a.hook == "xdp")
        .map(|a| (a.mode, a.program_id))
        .collect()
}

/// Somebody else's program, which is ours with maps of its own, attached past us.
fn other(interface: &str) -> (Ebpf, u32) {
    let object = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/object/shunt.bpf.o")).unwrap();
    let mut ebpf = EbpfLoader::new().btf(None).load(&object).unwrap();
    let program: &mut Program = ebpf.program_mut("xdp").unwrap().try_into().unwrap();
    program.load().unwrap();
    program.attach(interface, XdpMode::Driver).unwrap();
    let id = program.info().unwrap().id();
    (ebpf, id)
}

#[test]
fn a_device_runs_xdp_in_its_driver_and_ip_link_lists_it_until_it_is_no_device_any_more() {
    let node = Node::new();
    for acceleration in [Acceleration::Native, Acceleration::BestEffort] {
        let datapath = start(&node, acceleration);
        let ifindex = node.veth("dev0");
        datapath.set_interface(&device(ifindex)).unwrap();
        assert_eq!(datapath.xdp(ifindex), Xdp::Native);
        let there = xdp(&datapath, ifindex);
        assert_eq!((there.len(), there[0].0), (1, Mode::XdpNative));
        assert!(run("ip", &["link", "show", "dev0"]).contains(&format!("prog/xdp id {}", there[0].1)));
        assert!(datapath.is_set(&device(ifindex)).unwrap());
        datapath.set_interface(&Interface { ifindex, role: Role::Pod }).unwrap();
        assert_eq!((datapath.xdp(ifindex), xdp(&datapath, ifindex)), (Xdp::Off, vec![]));
        datapath.set_interface(&device(ifindex)).unwrap();
        datapath.remove_interface(ifindex).unwrap();
        assert!(!run("ip", &["link", "show", "dev0"]).contains("xdp"));
        run("ip", &["link", "del", "dev0"]);
    }
}

#[test]
fn a_restart_replaces_the_program_behind_the_same_link_and_switching_off_detaches_it() {
    let node = Node::new();
    let ifindex = node.veth("dev0");
    let first = start(&node, Acceleration::Native);
    first.set_interface(&device(ifindex)).unwrap();
    let (before, pins) = (xdp(&first, ifindex), node.pins());
    drop(first);
    assert!(run("ip", &["link", "show", "dev0"]).contains("xdp"), "it stays while no agent runs");
    let second = start(&node, Acceleration::Native);
    assert_eq!(xdp(&second, ifindex), before, "and until the new agent comes to it");
    second.set_interface(&device(ifindex)).unwrap();
    assert_ne!(xdp(&second, ifindex), before);
    assert_eq!(node.pins(), pins);
    drop(second);
    let generic = start(&node, Acceleration::Generic);
    generic.set_interface(&device(ifindex)).unwrap();
    assert_eq!((generic.xdp(ifindex), xdp(&generic, ifindex)[0].0), (Xdp::Generic, Mode::XdpGeneric));
    drop(generic);
    let off = start(&node, Acceleration::Disabled);
    off.set_interface(&device(ifindex)).unwrap();
    assert_eq!((off.xdp(ifindex), xdp(&off, ifindex)), (Xdp::Off, vec![]));
    assert!(!run("ip", &["link", "show", "dev0"]).contains("xdp"));
}

#[test]
fn another_s_program_is_not_evicted() {
    let node = Node::new();
    let (free, taken) = (node.veth("dev0"), node.veth("dev1"));
    let (theirs, id) = other("dev1");
    let still_there = || run("ip", &["link", "show", "dev1"]).contains(&format!("prog/xdp id {id}"));

    let native = start(&node, Acceleration::Native);
    let error = native.require_xdp(&[free, taken]).unwrap_err().to_string();
    assert!(
        error.contains("dev1 cannot run XDP natively") && error.contains(&format!("(id {id})")),
        "{error}"
    );
    assert!(error.contains("best-effort"), "{error}");
    assert!(xdp(&native, free).is_empty(), "nothing stays of what was tried");
    assert!(still_there());
    drop(native);

    let datapath = start(&node, Acceleration::BestEffort);
    datapath.require_xdp(&[free, taken]).unwrap();
    for ifindex in [free, taken] {
        datapath.set_interface(&device(ifindex)).unwrap();
    }
    assert_eq!(datapath.xdp(free), Xdp::Native);
    let Xdp::Tc(why) = datapath.xdp(taken) else { panic!("{:?}", datapath.xdp(taken)) };
    assert!(why.contains(&format!("another XDP program (id {id})")), "{why}");
    assert!(still_there() && datapath.is_set(&device(taken)).unwrap());
    drop(datapath);
    shunt_datapath::cleanup::cleanup(&node.bpf_root).unwrap();
    assert!(still_there());
    assert!(!run("ip", &["link", "show", "dev0"]).contains("xdp"), "cleanup leaves nothing of ours");
    drop(theirs);
}

#[test]
fn a_device_without_a_driver_for_it_is_refused_by_native_and_served_by_tc_otherwise() {
    let node = Node::new();
    run("ip", &["link", "add", "br0", "up", "type", "bridge"]);
    run("ip", &["link", "add", "vx0", "up", "type", "vxlan", "id", "7", "dstport", "4789", "dev", "lo"]);
    let (bridge, vxlan) = (crate::support::ifindex("br0"), crate::support::ifindex("vx0"));
    let native = start(&node, Acceleration::Native);
    let error = native.require_xdp(&[bridge]).unwrap_err().to_string();
    assert!(error.contains("br0 cannot run XDP natively: its driver takes no XDP program"), "{error}");
    // A tunnel has no driver to begin with.
    native.require_xdp(&[vxlan]).unwrap();
    for ifindex in [bridge, vxlan] {
        native.set_interface(&device(ifindex)).unwrap();
        assert!(xdp(&native, ifindex).is_empty());
    }
    assert!(matches!(native.xdp(bridge), Xdp::Tc(_)) && matches!(native.xdp(vxlan), Xdp::NoDriver(_)));
}

#[test]
fn what_a_device_could_do_is_told_without_attaching_anything() {
    let node = Node::new();
    let ifindex = node.veth("dev0");
    let ability = |ifindex| examine::xdp(ifindex, &node.bpf_root).unwrap();
    assert_eq!(ability(ifindex), Ability::Takes);
    assert!(!run("ip", &["link", "show", "dev0"]).contains("xdp"));
    let datapath = start(&node, Acceleration::Native);
    datapath.set_interface(&device(ifindex)).unwrap();
    assert_eq!(ability(ifindex), Ability::Runs);
    let taken = node.veth("dev1");
    let (_theirs, id) = other("dev1");
    let Ability::Cannot(why) = ability(taken) else { panic!("{:?}", ability(taken)) };
    assert!(why.contains(&format!("another XDP program (id {id})")), "{why}");
    run("ip", &["link", "add", "br0", "up", "type", "bridge"]);
    run("ip", &["link", "add", "vx0", "up", "type", "vxlan", "id", "7", "dstport", "4789", "dev", "lo"]);
    let [bridge, vxlan] = ["br0", "vx0"].map(|name| ability(crate::support::ifindex(name)));
    assert_eq!(bridge, Ability::Cannot("its driver takes no XDP program".into()));
    assert!(matches!(vxlan, Ability::NoDriver(_)), "{vxlan:?}");
    assert!(matches!(examine::xdp(9_999_999, &node.bpf_root), Err(Error::NoInterface { .. })));
}

#[test]
fn a_node_is_examined_without_a_trace() {
    let node = Node::new();
    let settings = settings(&node, Acceleration::Native);
    let needs = examine::node(&settings);
    let missing: Vec<_> = needs.iter().filter(|need| need.found.is_err()).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let programs = needs.iter().find(|need| need.what == "programs").unwrap();
    assert!(programs.found.as_ref().unwrap().contains("takes all"), "{programs:?}");
    assert!(!node.bpf_root.exists(), "nothing is pinned");
    let elsewhere = Settings { bpf_root: "/proc/elsewhere".into(), ..settings };
    let needs = examine::node(&elsewhere);
    let missing: Vec<_> = needs.iter().filter(|need| need.found.is_err()).map(|need| need.what).collect();
    assert_eq!(missing, ["bpffs"]);
}

#[test]
fn a_program_that_others_took_off_and_a_mac_that_changed_are_noticed() {
    let node = Node::new();
    let datapath = start(&node, Acceleration::Native);
    let ifindex = node.veth("dev0");
    datapath.set_interface(&device(ifindex)).unwrap();
    run("ip", &["link", "set", "dev0", "address", "02:00:00:00:00:77"]);
    assert!(!datapath.is_set(&device(ifindex)).unwrap(), "XDP would take every frame for another's");
    datapath.set_interface(&device(ifindex)).unwrap();
    assert!(datapath.is_set(&device(ifindex)).unwrap());
    let pin = node.pins().into_iter().find(|pin| pin.ends_with("-xdp")).unwrap();
    std::fs::remove_file(pin).unwrap();
    assert!(!datapath.is_set(&device(ifindex)).unwrap());
    datapath.set_interface(&device(ifindex)).unwrap();
    assert!(datapath.is_set(&device(ifindex)).unwrap());
}

#[test]
fn two_devices_that_want_the_same_row_do_not_share_it() {
    assert_eq!(XdpDevice::slot(3), XdpDevice::slot(3 + XdpDevice::SLOTS));
    let node = Node::new();
    let datapath = start(&node, Acceleration::BestEffort);
    run(
        "ip",
        &["link", "add", "dev0", "index", "300", "up", "type", "veth", "peer", "name", "p0", "index", "700"],
    );
    run(
        "ip",
        &["link", "add", "dev1", "index", "556", "up", "type", "veth", "peer", "name", "p1", "index", "701"],
    );
    for ifindex in [300, 556] {
        datapath.set_interface(&device(ifindex)).unwrap();
    }
    assert_eq!(datapath.xdp(300), Xdp::Native);
    assert!(matches!(datapath.xdp(556), Xdp::Tc(why) if why.contains("dev0")));
    datapath.remove_interface(300).unwrap();
    datapath.set_interface(&device(556)).unwrap();
    assert_eq!(datapath.xdp(556), Xdp::Native);
}
