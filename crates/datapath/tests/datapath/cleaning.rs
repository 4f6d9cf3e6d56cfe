//! Cleanup leaves the node as it was.

use crate::support::{Node, run, tcx};
use shunt_common::Device;
use shunt_datapath::cleanup::cleanup;
use shunt_datapath::{Datapath, Interface, Role};

#[test]
fn nothing_is_left_whether_or_not_an_agent_ran_last() {
    for clsact in [false, true] {
        let node = Node::new();
        let (device, pod) = (node.veth("dev0"), node.veth("pod0"));
        let before =
            (node.pins(), node.cgroup_programs(), tcx(device), tcx(pod), run("tc", &["qdisc", "show"]));
        let mut settings = node.settings();
        settings.force_clsact = clsact;
        let datapath = Datapath::start(&settings).unwrap();
        datapath
            .set_interface(&Interface { ifindex: device, role: Role::Device(Device::default()) })
            .unwrap();
        datapath.set_interface(&Interface { ifindex: pod, role: Role::Pod }).unwrap();
        assert_eq!(node.cgroup_programs().len(), 10);
        drop(datapath);

        let removed = cleanup(&node.bpf_root).unwrap();
        assert!(removed.iter().any(|line| line.ends_with("maps/frontends4")), "{removed:#?}");
        let word = if clsact { "clsact qdisc on interface" } else { "tc_ingress" };
        assert!(removed.iter().any(|line| line.contains(word)), "{removed:#?}");
        let after =
            (node.pins(), node.cgroup_programs(), tcx(device), tcx(pod), run("tc", &["qdisc", "show"]));
        assert_eq!(after, before);
        assert!(!node.bpf_root.exists());
        assert_eq!(cleanup(&node.bpf_root).unwrap(), Vec::<String>::new(), "twice is fine");
    }
}

#[test]
fn what_others_pinned_beside_us_stays() {
    let node = Node::new();
    drop(node.start());
    let theirs = node.bpf_root.join("theirs");
    std::fs::create_dir(&theirs).unwrap();
    cleanup(&node.bpf_root).unwrap();
    assert_eq!(node.pins(), [theirs.display().to_string()]);
}

#[test]
fn a_root_elsewhere_is_not_touched() {
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::create_dir(elsewhere.path().join("v1")).unwrap();
    let error = cleanup(elsewhere.path()).unwrap_err().to_string();
    assert!(error.contains("not on a BPF file system"), "{error}");
    assert!(elsewhere.path().join("v1").exists());
}
