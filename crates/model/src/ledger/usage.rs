//! How much is given out.

use super::Ledger;
use crate::store::Family;

/// How much of each limited thing is in use.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Service ids.
    pub services: usize,
    /// Rows in `frontends4`.
    pub frontends4: usize,
    /// Rows in `frontends6`.
    pub frontends6: usize,
    /// IPv4 backend ids.
    pub backends4: usize,
    /// IPv6 backend ids.
    pub backends6: usize,
    /// Pool slots.
    pub slots: usize,
    /// 8-byte elements of Maglev tables.
    #[serde(default)]
    pub table_units: usize,
    /// Rows in `source_ranges4`.
    pub ranges4: usize,
    /// Rows in `source_ranges6`.
    pub ranges6: usize,
}

impl Ledger {
    /// How much is given out, for metrics and for tests that look for leaks.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            services: self.services.taken(),
            frontends4: self.rows.keys().filter(|k| k.family() == Family::V4).count(),
            frontends6: self.rows.keys().filter(|k| k.family() == Family::V6).count(),
            backends4: self.backends4.taken(),
            backends6: self.backends6.taken(),
            slots: self.space.taken(),
            table_units: self.tables.taken(),
            ranges4: self.sources.iter().filter(|r| r.net.addr().is_ipv4()).count(),
            ranges6: self.sources.iter().filter(|r| r.net.addr().is_ipv6()).count(),
        }
    }
}
