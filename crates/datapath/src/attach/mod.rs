//! Attaching programs to hooks. One file for each hook on interfaces, named as the program's file in
//! `crates/ebpf/src/hooks/`; the socket hooks share one table in [`socket`].

pub(crate) mod clsact;
mod interface;
pub(crate) mod l3_egress;
pub(crate) mod l3_ingress;
pub(crate) mod links;
pub(crate) mod netdev;
pub(crate) mod netlink;
mod pod_egress;
mod pod_ingress;
pub(crate) mod socket;
pub(crate) mod status;
mod tc_egress;
mod tc_ingress;
pub(crate) mod tcx;
pub(crate) mod xdp;

pub(crate) use interface::{Attacher, name_of};

use shunt_common::Device;

/// The side of an interface that a program sees packets on, from the node's point of view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    /// Packets that come in.
    Ingress,
    /// Packets that go out.
    Egress,
}

/// A program for one side of an interface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hook {
    /// The program's name, and the hook's in pins and listings.
    pub(crate) program: &'static str,
    /// Where it sits.
    pub(crate) side: Side,
}

/// Every hook on interfaces.
pub(crate) const HOOKS: [Hook; 6] = [
    tc_ingress::HOOK,
    tc_egress::HOOK,
    l3_ingress::HOOK,
    l3_egress::HOOK,
    pod_ingress::HOOK,
    pod_egress::HOOK,
];

/// What an interface is to Shunt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Faces the network; the row tells the programs its addresses.
    Device(Device),
    /// The node's side of a pod's link, or the CNI's bridge.
    Pod,
}

/// An interface to attach to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Its index in this network namespace.
    pub ifindex: u32,
    /// What it is to Shunt.
    pub role: Role,
}

/// How a program is attached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mode {
    /// A link on a cgroup.
    Cgroup,
    /// A TCX link, first in order.
    Tcx,
    /// A filter of the clsact qdisc, for kernels before 6.6.
    Clsact,
    /// An XDP link, in the driver.
    XdpNative,
    /// An XDP link, in the stack.
    XdpGeneric,
}

impl Mode {
    /// The word in listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
            Self::XdpNative => "xdp-native",
            Self::XdpGeneric => "xdp-generic",
        }
    }
}

/// One program that is attached.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Attachment {
    /// The hook, which is the program's name.
    pub hook: &'static str,
    /// Index of the interface; zero for socket hooks.
    pub ifindex: u32,
    /// Name of the interface now; empty for socket hooks.
    pub interface: String,
    /// How.
    pub mode: Mode,
    /// The kernel's id of the program.
    pub program_id: u32,
}

/// What `loadBalancer.acceleration` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Acceleration {
    /// tc alone.
    #[default]
    Disabled,
    /// XDP in the driver where that can be, tc alone elsewhere.
    BestEffort,
    /// XDP in the driver of every device that has one, or no start.
    Native,
    /// XDP in the stack, which is slower than tc and works on every device: for tests.
    Generic,
}

/// What a device's packets meet before tc.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Xdp {
    /// Nothing: acceleration is off, or it is no device.
    #[default]
    Off,
    /// XDP in the driver.
    Native,
    /// XDP in the stack.
    Generic,
    /// Nothing, because of this.
    Tc(String),
    /// Nothing, because it has no driver that could: of no concern to [`Acceleration::Native`].
    NoDriver(String),
}
