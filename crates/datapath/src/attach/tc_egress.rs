//! Packets that leave for the network: replies of local backends get the service's address back.

use super::{Hook, Side};

/// First at the device's egress, so that every other program sees the service's address, as the wire will.
pub(crate) const HOOK: Hook = Hook { program: "tc_egress", side: Side::Egress };
