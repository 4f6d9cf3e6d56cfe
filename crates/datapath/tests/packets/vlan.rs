//! VLAN tags in the packet's bytes (IEEE 802.1Q, 802.1ad): they pass, for the VLAN's own interface is where they are served. A tag
//! that the kernel has taken off cannot be given to a test run.

use crate::packet::{Kind, Packet, SYN, SYN_ACK};
use crate::world::{BOTH, Family, NEXT, World};
use shunt_common::FrontendKind::{ClusterIp, LoadBalancer};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// What stands behind the MAC addresses. The last one's bytes look like the beginning of an IPv4 header where one would be.
const TAGS: &[(&str, &[u8])] = &[
    ("a VLAN", &[0x81, 0, 0, 10]),
    ("a priority alone", &[0x81, 0, 0xa0, 0]),
    ("a VLAN in a VLAN", &[0x88, 0xa8, 0, 20, 0x81, 0, 0, 10]),
    ("a VLAN in a VLAN, as before there was a type for it", &[0x81, 0, 0, 20, 0x81, 0, 0, 10]),
    ("a tag that reads like an IPv4 header", &[0x81, 0, 0x45, 0]),
];

fn world(f: Family, local: bool) -> World {
    let mut w = World::new(f);
    let to = if local { f.local_pod() } else { f.remote_pod() };
    for proto in [TCP, UDP] {
        w.service(LoadBalancer, (f.vip(), 80), proto, (to, 8080), local);
        w.service(ClusterIp, (f.cluster_ip(), 80), proto, (to, 8080), local);
    }
    w
}

#[test]
fn tagged_frames_pass_every_hook_untouched() {
    for f in BOTH {
        for local in [false, true] {
            let w = world(f, local);
            let syn = Packet::new((f.client(), 40_000), (f.vip(), 80), SYN);
            // With a flow that the same packets without a tag would belong to.
            let outcome = w.hook("tc_ingress", &syn);
            let (rows, counted) = (w.rows(), w.reasons());
            let answer = Packet::read(&outcome.packet).reply(SYN_ACK);
            let inside = Packet { src: f.local_pod(), dst: f.cluster_ip(), ..syn };
            for (what, tag) in TAGS {
                for packet in [syn, answer, inside, Packet { kind: Kind::Udp, ..syn }] {
                    let mut frame = packet.bytes();
                    frame.splice(12..12, tag.iter().copied());
                    for hook in ["tc_ingress", "tc_egress", "pod_ingress", "pod_egress"] {
                        let outcome = w.raw(hook, &frame);
                        assert_eq!((outcome.verdict, &outcome.packet), (NEXT, &frame), "{what}: {hook}");
                    }
                }
            }
            assert_eq!((w.rows(), w.reasons()), (rows, counted));
        }
    }
}
