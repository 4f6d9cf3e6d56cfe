//! Backend rows as the words of a mapped array.
//!
//! A program may read a row while it is written. The word with port, protocol and state decides whether the row
//! counts: it is zeroed before any other word of a live row changes, and written last, so that a reader never
//! combines one backend's port with another's address.

use crate::mapped::{self, Mapped};
use crate::maps::LB_MAP_MAX;
use shunt_common::{Addr, Backend, Ip4, Ip6, PortBe};
use shunt_model::store::MapError;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering, fence};

/// A row as words in memory order.
pub(crate) trait Row: Sized {
    /// The words.
    type Words: AsRef<[u32]>;
    /// The row's words.
    fn words(&self) -> Self::Words;
    /// The row that an element holds.
    fn load(element: &[AtomicU32]) -> Option<Self>;
    /// Reads the row at an id; `None` past the end, and where the process has no room for a mapping.
    fn read(rows: &Mapped, id: u32) -> Option<Self> {
        Self::load(rows.element(id).ok()??)
    }
    /// Whether the id is in use.
    fn used(&self) -> bool;
}

/// The three words after the address: port, protocol and state; flags; weight and zone.
fn tail<A: Addr>(row: &Backend<A>) -> [u32; 3] {
    let [p0, p1] = row.port.0.to_ne_bytes();
    let ([w0, w1], [z0, z1]) = (row.weight.to_ne_bytes(), row.zone.to_ne_bytes());
    [u32::from_ne_bytes([p0, p1, row.proto, row.state]), row.flags, u32::from_ne_bytes([w0, w1, z0, z1])]
}

fn from_tail<A>(addr: A, [live, flags, extra]: [u32; 3]) -> Backend<A> {
    let [p0, p1, proto, state] = live.to_ne_bytes();
    let [w0, w1, z0, z1] = extra.to_ne_bytes();
    Backend {
        addr,
        port: PortBe(u16::from_ne_bytes([p0, p1])),
        proto,
        state,
        flags,
        weight: u16::from_ne_bytes([w0, w1]),
        zone: u16::from_ne_bytes([z0, z1]),
    }
}

impl Row for Backend<Ip4> {
    type Words = [u32; 4];
    fn words(&self) -> [u32; 4] {
        let [a] = self.addr.0;
        let [x, y, z] = tail(self);
        [a, x, y, z]
    }
    fn load(element: &[AtomicU32]) -> Option<Self> {
        let [a, x, y, z] = mapped::load(element)?;
        Some(from_tail(Ip4([a]), [x, y, z]))
    }
    fn used(&self) -> bool {
        self.state != 0
    }
}

impl Row for Backend<Ip6> {
    type Words = [u32; 7];
    fn words(&self) -> [u32; 7] {
        let [a, b, c, d] = self.addr.0;
        let [x, y, z] = tail(self);
        [a, b, c, d, x, y, z]
    }
    fn load(element: &[AtomicU32]) -> Option<Self> {
        let [a, b, c, d, x, y, z] = mapped::load(element)?;
        Some(from_tail(Ip6([a, b, c, d]), [x, y, z]))
    }
    fn used(&self) -> bool {
        self.state != 0
    }
}

/// Every used row with its id.
pub(crate) fn all<R: Row>(rows: &Mapped) -> io::Result<impl Iterator<Item = (u32, R)> + use<R>> {
    let used = |id, element: &[AtomicU32]| Some((id, R::load(element).filter(|row| id != 0 && row.used())?));
    Ok(rows.collect(used)?.into_iter())
}

/// Writes a row at an id.
pub(super) fn write<W: AsRef<[u32]>>(
    rows: &Mapped,
    map: &'static str,
    id: u32,
    words: &W,
) -> Result<(), MapError> {
    let full = || MapError::Full { map, max: rows.elements(), key: LB_MAP_MAX };
    // Id zero means `no backend` to the programs.
    if id == 0 {
        return Err(full());
    }
    let element = rows.element(id).map_err(super::kernel(map, "mapping into memory"))?.ok_or_else(full)?;
    store(element, words.as_ref());
    Ok(())
}

fn store(element: &[AtomicU32], words: &[u32]) {
    // From the end: three words after the address, the first of which is the live one.
    let live = words.len() - 3;
    let rest = |i: &usize| *i != live;
    let same = |i: usize| element[i].load(Ordering::Relaxed) == words[i];
    if (0..words.len()).filter(rest).all(same) {
        // Only the state changes, or nothing: one atomic store.
        element[live].store(words[live], Ordering::Release);
        return;
    }
    element[live].store(0, Ordering::Release);
    fence(Ordering::SeqCst);
    for i in (0..words.len()).filter(rest) {
        element[i].store(words[i], Ordering::Release);
    }
    fence(Ordering::SeqCst);
    element[live].store(words[live], Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(words: &[u32]) -> Vec<AtomicU32> {
        words.iter().map(|w| AtomicU32::new(*w)).collect()
    }

    #[test]
    fn a_row_keeps_its_layout() {
        let row = Backend::<Ip4> {
            addr: Ip4([0x0100_000a]),
            port: PortBe::new(8080),
            proto: 6,
            state: 1,
            flags: 1,
            weight: 7,
            zone: 3,
        };
        // SAFETY: Backend<Ip4> is 16 bytes of integers without padding, and every bit pattern is valid in words.
        let as_memory: [u32; 4] = unsafe { std::mem::transmute(row) };
        assert_eq!(row.words(), as_memory);
        assert_eq!(from_tail(Ip4([as_memory[0]]), [as_memory[1], as_memory[2], as_memory[3]]), row);
    }

    #[test]
    fn every_word_is_written_and_padding_is_left_alone() {
        let element = cells(&[1, 2, 3, 4, 5, 6, 7, 99]);
        store(&element, &[10, 20, 30, 40, 50, 60, 70]);
        let now: Vec<u32> = element.iter().map(|c| c.load(Ordering::Relaxed)).collect();
        assert_eq!(now, [10, 20, 30, 40, 50, 60, 70, 99]);
    }
}
