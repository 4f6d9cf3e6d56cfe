//! As [`super::tc_ingress`], on devices whose packets begin with their IP header: tunnels, tun devices.

use super::{Hook, Side};

/// First at the device's ingress.
pub(crate) const HOOK: Hook = Hook { program: "l3_ingress", side: Side::Ingress };
