//! Packets that come in from the network: NodePort, ExternalIP and LoadBalancer traffic, and replies to SNAT.

use super::{Hook, Side};

/// First at the device's ingress: what is not ours goes on to the next program untouched.
pub(crate) const HOOK: Hook = Hook { program: "tc_ingress", side: Side::Ingress };
