//! Filling a table.

use super::Settings;
use crate::store::BackendRow;
use siphasher::sip128::Hasher128;
use std::hash::Hasher;
use std::net::IpAddr;

/// A backend as a table sees it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Member {
    /// Address (four or sixteen bytes), port and protocol, in network order.
    pub name: Box<[u8]>,
    /// Its share beside the others', never zero.
    pub weight: u32,
}

/// The weight of an endpoint whose annotation says nothing, as Cilium's.
const WEIGHT: u32 = 100;

impl From<&BackendRow> for Member {
    fn from(row: &BackendRow) -> Self {
        let mut name = match row.addr() {
            IpAddr::V4(addr) => addr.octets().to_vec(),
            IpAddr::V6(addr) => addr.octets().to_vec(),
        };
        name.extend(row.port().to_be_bytes());
        name.push(row.proto());
        let weight = if row.weight() == 0 { WEIGHT } else { u32::from(row.weight()) };
        Self { name: name.into(), weight }
    }
}

/// The order in which a backend would like to have the places of a table: `offset`, and then each `skip` places on.
struct Preference {
    next: u32,
    skip: u32,
}

const EMPTY: u16 = u16::MAX;

/// The values of a table: indexes into `members`, of which there is at least one and fewer than 65535.
///
/// Backends take turns, and each turn takes the place that the backend likes best of those that are free. A backend of half the
/// largest weight has every other turn.
#[must_use]
pub fn values(settings: &Settings, members: &[Member]) -> Vec<u16> {
    let size = settings.size;
    let mut table = vec![EMPTY; size as usize];
    let mut likes: Vec<Preference> = members.iter().map(|m| preference(settings, m)).collect();
    let largest = u64::from(members.iter().map(|m| m.weight).max().unwrap_or(0));
    let mut free = size;
    if largest == 0 {
        return table;
    }
    // What each backend has saved up for its next turn, in parts of `largest`.
    let mut saved = vec![0u64; members.len()];
    loop {
        for (index, like) in likes.iter_mut().enumerate() {
            saved[index] += u64::from(members[index].weight);
            if saved[index] < largest {
                continue;
            }
            saved[index] -= largest;
            while table[like.next as usize] != EMPTY {
                like.advance(size);
            }
            table[like.next as usize] = index as u16;
            free -= 1;
            if free == 0 {
                return table;
            }
        }
    }
}

impl Preference {
    fn advance(&mut self, size: u32) {
        self.next += self.skip;
        if self.next >= size {
            self.next -= size;
        }
    }
}

/// Two hashes of the name; every `skip` visits all places, since the size is prime.
fn preference(settings: &Settings, member: &Member) -> Preference {
    let mut hasher = settings.hasher();
    hasher.write(&member.name);
    let hash = hasher.finish128();
    let size = u64::from(settings.size);
    Preference { next: (hash.h1 % size) as u32, skip: (hash.h2 % (size - 1) + 1) as u32 }
}
