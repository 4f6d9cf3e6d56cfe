//! As [`super::tc_egress`], on devices whose packets begin with their IP header: tunnels, tun devices.

use super::{Hook, Side};

/// First at the device's egress.
pub(crate) const HOOK: Hook = Hook { program: "l3_egress", side: Side::Egress };
