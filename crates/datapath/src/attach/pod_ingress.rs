//! Packets that a pod sends: translated here when the pod's sockets bypass the socket hooks.

use super::{Hook, Side};

/// First at the node's side of the pod's link, whose ingress is the pod's egress.
pub(crate) const HOOK: Hook = Hook { program: "pod_ingress", side: Side::Ingress };
