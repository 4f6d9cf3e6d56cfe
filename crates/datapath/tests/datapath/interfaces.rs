//! Attaching to interfaces: order, roles, clsact, and what belongs to others.

use crate::support::{Node, run, tcx};
use aya::programs::tc::{NlOptions, TcAttachOptions};
use aya::programs::{SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfLoader};
use shunt_common::{Device, Ip4};
use shunt_datapath::{Datapath, Interface, Mode, Role};

fn device(ifindex: u32) -> Interface {
    Interface { ifindex, role: Role::Device(Device { addr4: Ip4([7]), ..Device::default() }) }
}

/// Somebody else's programs: harmless ones of ours, under no name that ours carry.
fn other() -> Ebpf {
    let object = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/object/shunt.bpf.o")).unwrap();
    EbpfLoader::new().btf(None).load(&object).unwrap()
}

fn hooks(datapath: &Datapath, ifindex: u32) -> Vec<(&'static str, Mode)> {
    let all = datapath.attachments().unwrap();
    all.into_iter().filter(|a| a.ifindex == ifindex).map(|a| (a.hook, a.mode)).collect()
}

#[test]
fn a_device_gets_its_row_and_two_programs_and_loses_them_again() {
    let node = Node::new();
    let datapath = node.start();
    let ifindex = node.veth("dev0");
    datapath.set_interface(&device(ifindex)).unwrap();
    assert_eq!(hooks(&datapath, ifindex), [("tc_egress", Mode::Tcx), ("tc_ingress", Mode::Tcx)]);
    assert_eq!(datapath.attachments().unwrap().last().unwrap().interface, "dev0");
    assert_eq!(datapath.reader().unwrap().devices().unwrap()[0].1.addr4, Ip4([7]));
    datapath.remove_interface(ifindex).unwrap();
    assert_eq!(hooks(&datapath, ifindex), []);
    assert_eq!(tcx(ifindex), (vec![], vec![]));
    assert_eq!(datapath.reader().unwrap().devices().unwrap(), []);
    datapath.remove_interface(ifindex).unwrap();
}

#[test]
fn an_interface_that_changes_its_role_changes_its_programs() {
    for clsact in [false, true] {
        let node = Node::new();
        let mut settings = node.settings();
        settings.force_clsact = clsact;
        let mode = if clsact { Mode::Clsact } else { Mode::Tcx };
        let datapath = Datapath::start(&settings).unwrap();
        let ifindex = node.veth("if0");
        datapath.set_interface(&device(ifindex)).unwrap();
        datapath.set_interface(&Interface { ifindex, role: Role::Pod }).unwrap();
        let mut now = hooks(&datapath, ifindex);
        now.sort();
        assert_eq!(now, [("pod_egress", mode), ("pod_ingress", mode)]);
        assert_eq!(datapath.reader().unwrap().devices().unwrap(), []);
    }
}

#[test]
fn an_interface_that_others_changed_is_told_from_one_that_is_as_it_was_left() {
    for clsact in [false, true] {
        let node = Node::new();
        let mut settings = node.settings();
        settings.force_clsact = clsact;
        let datapath = Datapath::start(&settings).unwrap();
        let ifindex = node.veth("if0");
        let (device, pod) = (device(ifindex), Interface { ifindex, role: Role::Pod });
        let is_set = |interface: &Interface| datapath.is_set(interface).unwrap();
        assert!(!is_set(&device) && !is_set(&pod), "nothing is attached");
        datapath.set_interface(&device).unwrap();
        assert!(is_set(&device) && !is_set(&pod));
        datapath.set_device(ifindex, &Device::default()).unwrap();
        assert!(!is_set(&device), "another row");
        datapath.set_interface(&device).unwrap();
        assert!(is_set(&device));
        match clsact {
            true => _ = run("tc", &["filter", "del", "dev", "if0", "egress"]),
            false => {
                let ours = format!("{ifindex}-tc_egress");
                let pin = node.pins().into_iter().find(|pin| pin.ends_with(&ours)).unwrap();
                std::fs::remove_file(settings.bpf_root.join(pin)).unwrap();
            }
        }
        assert!(!is_set(&device), "one program is gone");
        datapath.set_interface(&device).unwrap();
        assert!(is_set(&device));
        // Another agent's programs of the same name are not ours.
        let other = Datapath::start(&settings).unwrap();
        assert!(!other.is_set(&device).unwrap());
    }
}

#[test]
fn ours_runs_before_what_was_there_first() {
    let node = Node::new();
    let datapath = node.start();
    let ifindex = node.veth("dev0");
    let mut other = other();
    let program: &mut SchedClassifier = other.program_mut("clock").unwrap().try_into().unwrap();
    program.load().unwrap();
    program.attach("dev0", TcAttachType::Ingress).unwrap();
    let theirs = program.info().unwrap().id();
    datapath.set_interface(&device(ifindex)).unwrap();
    let (ingress, _) = tcx(ifindex);
    assert_eq!((ingress.len(), ingress[1]), (2, theirs));
    datapath.remove_interface(ifindex).unwrap();
    assert_eq!(tcx(ifindex).0, [theirs], "nobody else's is touched");
}

#[test]
fn clsact_filters_are_replaced_in_place_and_others_filters_stay() {
    let node = Node::new();
    let mut settings = node.settings();
    settings.force_clsact = true;
    let ifindex = node.veth("dev0");
    run("tc", &["qdisc", "add", "dev", "dev0", "clsact"]);
    let mut other = other();
    let theirs: &mut SchedClassifier = other.program_mut("clock").unwrap().try_into().unwrap();
    theirs.load().unwrap();
    let options = TcAttachOptions::Netlink(NlOptions { priority: 1, ..NlOptions::default() });
    theirs.attach_with_options("dev0", TcAttachType::Ingress, options).unwrap();
    let datapath = Datapath::start(&settings).unwrap();
    datapath.set_interface(&device(ifindex)).unwrap();
    assert_eq!(hooks(&datapath, ifindex), [("tc_ingress", Mode::Clsact), ("tc_egress", Mode::Clsact)]);
    let before = datapath.attachments().unwrap();
    drop(datapath);
    let datapath = Datapath::start(&settings).unwrap();
    datapath.set_interface(&device(ifindex)).unwrap();
    let after = datapath.attachments().unwrap();
    assert_eq!(before.len(), after.len());
    assert!(after.iter().all(|a| before.iter().all(|b| b.program_id != a.program_id)));
    assert_eq!(tcx(ifindex), (vec![], vec![]));
    datapath.remove_interface(ifindex).unwrap();
    assert!(run("tc", &["filter", "show", "dev", "dev0", "ingress"]).contains("clock"));
    assert!(!run("tc", &["filter", "show", "dev", "dev0", "ingress"]).contains("shunt"));
    assert!(run("tc", &["qdisc", "show", "dev", "dev0"]).contains("clsact"), "the qdisc was there before us");
}

#[test]
fn a_qdisc_that_we_made_goes_with_the_last_filter() {
    let node = Node::new();
    let mut settings = node.settings();
    settings.force_clsact = true;
    let ifindex = node.veth("dev0");
    let before = run("tc", &["qdisc", "show", "dev", "dev0"]);
    let datapath = Datapath::start(&settings).unwrap();
    datapath.set_interface(&device(ifindex)).unwrap();
    assert_ne!(run("tc", &["qdisc", "show", "dev", "dev0"]), before);
    datapath.remove_interface(ifindex).unwrap();
    assert_eq!(run("tc", &["qdisc", "show", "dev", "dev0"]), before);
}

#[test]
fn a_kernel_that_learns_tcx_gets_rid_of_the_filters() {
    let node = Node::new();
    let mut settings = node.settings();
    settings.force_clsact = true;
    let ifindex = node.veth("dev0");
    let before = run("tc", &["qdisc", "show", "dev", "dev0"]);
    Datapath::start(&settings).unwrap().set_interface(&device(ifindex)).unwrap();
    settings.force_clsact = false;
    let datapath = Datapath::start(&settings).unwrap();
    datapath.set_interface(&device(ifindex)).unwrap();
    assert_eq!(hooks(&datapath, ifindex), [("tc_egress", Mode::Tcx), ("tc_ingress", Mode::Tcx)]);
    assert_eq!(run("tc", &["qdisc", "show", "dev", "dev0"]), before);
}
