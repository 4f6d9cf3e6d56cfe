//! Maglev lookup tables (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, 3.4).
//!
//! A table says for each hash which backend gets the flow. It follows from the backends, their weights, the size and the seed
//! alone: whoever builds it, in whatever order it heard of them, gets the same bytes. Values are indexes into the backends in
//! order of address and port, since ids differ from node to node.

mod build;
#[cfg(test)]
mod tests;

pub use build::{Member, values};

use shunt_common::maglev::{self, NARROW_MAX, TableRef};
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;

/// `maglev.*`; the same on every node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Values in a table, one of [`maglev::SIZES`].
    pub size: u32,
    /// `maglev.hashSeed`.
    pub seed: [u8; 12],
}

impl Default for Settings {
    /// Cilium's defaults.
    fn default() -> Self {
        // "JLfvgnHc2kaSUFaI" in base64.
        let seed = [0x24, 0xb7, 0xef, 0x82, 0x71, 0xdc, 0xda, 0x46, 0x92, 0x50, 0x56, 0x88];
        Self { size: maglev::DEFAULT_SIZE, seed }
    }
}

impl Settings {
    /// The seed of the hash of flows, [`shunt_common::Config::maglev_seed`]: the first four bytes, little endian.
    #[must_use]
    pub const fn flow_seed(&self) -> u32 {
        u32::from_le_bytes([self.seed[0], self.seed[1], self.seed[2], self.seed[3]])
    }

    /// Whether a pool of so many backends has values of two bytes.
    #[must_use]
    pub const fn is_wide(len: usize) -> bool {
        len > NARROW_MAX as usize
    }

    /// 8-byte elements of a table for so many backends.
    #[must_use]
    pub const fn units(&self, len: usize) -> u32 {
        TableRef::units(self.size, Self::is_wide(len))
    }

    /// What a table is made of, as one number: tables with the same digest are the same.
    #[must_use]
    pub fn digest(&self, members: &[Member]) -> u64 {
        let mut hasher = self.hasher();
        hasher.write_u32(self.size);
        for member in members {
            hasher.write(&member.name);
            hasher.write_u32(member.weight);
        }
        hasher.finish128().h1
    }

    /// A table as it lies in the map: the header, then the values.
    #[must_use]
    pub fn table(&self, members: &[Member]) -> Box<[u8]> {
        let (wide, units) = (Self::is_wide(members.len()), self.units(members.len()));
        let mut bytes = Vec::with_capacity(units as usize * 8);
        bytes.extend(self.digest(members).to_le_bytes());
        bytes.extend(u64::from(units).to_le_bytes());
        for value in values(self, members) {
            match wide {
                true => bytes.extend(value.to_le_bytes()),
                false => bytes.push(value as u8),
            }
        }
        bytes.resize(units as usize * 8, 0);
        bytes.into()
    }

    /// SipHash-2-4 with the seed as the first 12 bytes of its key.
    fn hasher(&self) -> SipHasher24 {
        let mut key = [0; 16];
        key[..12].copy_from_slice(&self.seed);
        SipHasher24::new_with_key(&key)
    }
}
