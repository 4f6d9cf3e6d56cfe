//! Which service id a port has.

use super::Model;
use crate::lower::{Front, Group};
use crate::snapshot::ServiceName;
use crate::store::{Family, MapError};
use shunt_common::{Frontend, frontend_flag};

impl Model {
    /// The id of a group's port: the one it has, else the one that its rows have, else a new one.
    ///
    /// When source ranges turn from allowed to denied ones, or back, the port gets a new id: no order of writes to one
    /// set of ranges would keep out, at every moment, whoever is kept out before and after.
    pub(super) fn service_id(&mut self, name: &ServiceName, group: &Group) -> Result<u32, MapError> {
        const FULL: MapError = MapError::Full { map: "service ids", max: 1 << 24, key: "nothing" };
        let entry = self.services.get_mut(name).ok_or(FULL)?;
        let port = entry.spec.as_ref().map(|s| s.ports[group.port].name.clone()).ok_or(FULL)?;
        let rows = || group.frontends.iter().filter_map(|f| Some((f, self.ledger.frontend(&f.key)?)));
        let turned: Vec<u32> = rows().filter(|(f, row)| turns(row, f)).map(|(_, row)| row.service).collect();
        let had: Vec<u32> = rows().map(|(_, row)| row.service).filter(|id| !turned.contains(id)).collect();
        let batch = self.ledger.batch();
        let mut ids = Vec::from(std::mem::take(&mut entry.ids));
        if let Some(at) = ids.iter().position(|(have, _)| *have == port) {
            let id = ids[at].1;
            if !turned.contains(&id) {
                entry.ids = ids.into();
                return Ok(id);
            }
            ids.remove(at);
            for family in Family::ALL {
                self.ledger.keep(id, family, &[]);
                self.loose.insert((id, family), None);
            }
            self.ledger.services().disown(id, batch);
        }
        let services = self.ledger.services();
        let adopted = had.into_iter().find(|id| services.adopt(*id));
        let id = adopted.or_else(|| services.take());
        ids.extend(id.map(|id| (port, id)));
        entry.ids = ids.into();
        id.ok_or(FULL)
    }
}

/// Whether a row's ranges are to mean the opposite.
const fn turns(row: &Frontend, want: &Front) -> bool {
    let limited = row.flags & want.row.flags & frontend_flag::SOURCE_RANGES != 0;
    limited && (row.flags ^ want.row.flags) & frontend_flag::SOURCE_DENY != 0
}
