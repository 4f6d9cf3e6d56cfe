//! A store that looks at the maps after every op, as packets would.

use shunt_model::MapStore;
use shunt_model::store::{Actual, BackendRow, Capacity, Family, FrontendRef, MapError, Op};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// What a packet to a frontend may be sent to: addresses and ports, by scope.
pub type Reach = [Vec<(IpAddr, u16)>; 2];

/// What a backend id stands for.
type Named = (IpAddr, u16, u8);

/// Resolves every frontend's pools to addresses.
pub fn reach(actual: &Actual) -> BTreeMap<FrontendRef, Reach> {
    let mut all = BTreeMap::new();
    for (key, row) in &actual.frontends {
        let pool = |i: usize| {
            let pool = row.pools[i];
            let slots = pool.offset..pool.offset + pool.len;
            let mut all: Vec<_> =
                slots.map(|slot| address(actual, key.family(), actual.slots[&slot])).collect();
            // The order is that of ids, which depends on history.
            all.sort_unstable();
            all
        };
        all.insert(*key, [pool(0), pool(1)]);
    }
    all
}

fn address(actual: &Actual, family: Family, id: u32) -> (IpAddr, u16) {
    let row = match family {
        Family::V4 => BackendRow::V4(actual.backends4[&id]),
        Family::V6 => BackendRow::V6(actual.backends6[&id]),
    };
    (row.addr(), row.port())
}

/// Checks, after each op, that every frontend leads to its whole old set of backends or to its whole new one, and that
/// no slot, no table and no backend id gets a new meaning before it has rested for a batch.
pub struct Watching<S> {
    pub inner: S,
    pub before: BTreeMap<FrontendRef, Reach>,
    pub after: BTreeMap<FrontendRef, Reach>,
    pub batch: u64,
    slots_seen: HashMap<u32, u64>,
    /// When each element of a table was last named.
    units_seen: HashMap<u32, u64>,
    ids_seen: HashMap<(Family, u32), (u64, Named)>,
}

impl<S: MapStore> Watching<S> {
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            before: BTreeMap::new(),
            after: BTreeMap::new(),
            batch: 0,
            slots_seen: HashMap::new(),
            units_seen: HashMap::new(),
            ids_seen: HashMap::new(),
        }
    }

    /// A reconcile begins that should lead to `after`.
    pub fn begin(&mut self, after: BTreeMap<FrontendRef, Reach>) {
        self.batch += 1;
        self.before = reach(&self.inner.dump().unwrap());
        self.after = after;
    }

    /// Forgets what has been seen: a restart takes longer than a program runs.
    pub fn rested(&mut self) {
        self.slots_seen.clear();
        self.units_seen.clear();
        self.ids_seen.clear();
    }

    fn check_rested(&self, op: &Op) {
        if let Op::PutPool { pool, .. } = op {
            for slot in pool.offset..pool.offset + pool.len {
                let seen = self.slots_seen.get(&slot);
                assert!(seen.is_none_or(|b| b + 2 <= self.batch), "slot {slot} has not rested");
            }
        }
        if let Op::PutTable { at, table } = op {
            for unit in *at..*at + table.len() as u32 / 8 {
                let seen = self.units_seen.get(&unit);
                assert!(seen.is_none_or(|b| b + 2 <= self.batch), "element {unit} has not rested");
            }
        }
        if let Op::PutBackend { id, row } = op {
            let now = (row.addr(), row.port(), row.proto());
            if let Some((batch, was)) = self.ids_seen.get(&(row.family(), *id)) {
                assert!(*was == now || batch + 2 <= self.batch, "backend id {id} has not rested");
            }
        }
    }

    fn look(&mut self) {
        let actual = self.inner.dump().unwrap();
        for (key, now) in reach(&actual) {
            let whole = self.before.get(&key) == Some(&now) || self.after.get(&key) == Some(&now);
            assert!(whole, "{key:?} leads to a mixture: {now:?}");
        }
        for key in self.before.keys().filter(|key| self.after.contains_key(key)) {
            assert!(
                actual.frontends.contains_key(key),
                "{key:?} is wanted all the time and was gone for a moment"
            );
        }
        for slot in actual.slots.keys() {
            self.slots_seen.insert(*slot, self.batch);
        }
        for (at, head) in &actual.tables {
            self.units_seen.extend((*at..*at + head.units as u32).map(|unit| (unit, self.batch)));
        }
        for (key, row) in &actual.frontends {
            for slot in row.pools.iter().flat_map(|p| p.offset..p.offset + p.len) {
                let id = actual.slots[&slot];
                let (addr, port) = address(&actual, key.family(), id);
                self.ids_seen.insert((key.family(), id), (self.batch, (addr, port, key.proto())));
            }
        }
    }
}

impl<S: MapStore> MapStore for Watching<S> {
    fn apply(&mut self, op: &Op) -> Result<(), MapError> {
        self.check_rested(op);
        let result = self.inner.apply(op);
        self.look();
        result
    }

    fn dump(&mut self) -> Result<Actual, MapError> {
        self.inner.dump()
    }

    fn capacity(&self) -> Capacity {
        self.inner.capacity()
    }
}
