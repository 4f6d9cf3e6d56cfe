//! Packets to a pod: answers to what [`super::pod_ingress`] translated get the service's address back.

use super::{Hook, Side};

/// First at the node's side of the pod's link, whose egress is the pod's ingress.
pub(crate) const HOOK: Hook = Hook { program: "pod_egress", side: Side::Egress };
