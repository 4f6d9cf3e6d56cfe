//! How full maps are and what they cost.

use crate::mapped::Arrays;
use crate::store::{rows, tables::Tables};
use crate::{Error, MapSpec};
use shunt_common::maps::{
    BACKENDS4, BACKENDS6, DEVICES, FLOWS4, FLOWS6, FRONTENDS4, FRONTENDS6, MAGLEV, SOURCE_RANGES4,
    SOURCE_RANGES6,
};
use shunt_common::{Backend, Device, Flow, FlowKey, Frontend, FrontendKey, Ip4, Ip6, RangeKey};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// One map's size and fill.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MapUse {
    /// Shape, with the size that it really has.
    pub spec: MapSpec,
    /// Entries in use; `None` where that has no meaning (counters, rings, pools, sockets).
    pub used: Option<u64>,
    /// Kernel memory, bytes, as the kernel accounts it; for maps that grow, the memory in use.
    pub bytes: u64,
}

/// Reads one map's fill. Costs a walk over it.
pub(super) fn of(spec: &MapSpec, map: &OwnedFd, arrays: &Arrays) -> Result<MapUse, Error> {
    let failed = || Error::system(format!("reading map {}", spec.name));
    let mut bytes = memory(map).map_err(failed())?;
    let used = match spec.name {
        FRONTENDS4 => Some(count::<FrontendKey<Ip4>, Frontend>(map, spec)?),
        FRONTENDS6 => Some(count::<FrontendKey<Ip6>, Frontend>(map, spec)?),
        FLOWS4 => Some(count::<FlowKey<Ip4>, Flow<Ip4>>(map, spec)?),
        FLOWS6 => Some(count::<FlowKey<Ip6>, Flow<Ip6>>(map, spec)?),
        DEVICES => Some(count::<u32, Device>(map, spec)?),
        BACKENDS4 => rows::all::<Backend<Ip4>>(&arrays.backends4).ok().map(|all| all.count() as u64),
        BACKENDS6 => rows::all::<Backend<Ip6>>(&arrays.backends6).ok().map(|all| all.count() as u64),
        SOURCE_RANGES4 => Some(count_keys::<RangeKey<Ip4>>(map, spec)?),
        SOURCE_RANGES6 => Some(count_keys::<RangeKey<Ip6>>(map, spec)?),
        MAGLEV => {
            // The kernel accounts the arrays by themselves.
            let made = of_tables(map).map_err(failed())?;
            bytes += made.iter().sum::<u64>();
            Some(made.len() as u64)
        }
        _ => None,
    };
    Ok(MapUse { spec: *spec, used, bytes })
}

fn count<K: aya::Pod, V: aya::Pod>(map: &OwnedFd, spec: &MapSpec) -> Result<u64, Error> {
    let failed = || Error::system(format!("reading map {}", spec.name));
    let table = crate::Table::<K, V>::new(map.try_clone().map_err(failed())?, spec.name)?;
    let mut walk = table.walk(crate::table::CHUNK);
    let mut used = 0;
    while let Some(chunk) = walk.next_chunk().map_err(failed())? {
        used += chunk.len() as u64;
    }
    Ok(used)
}

/// The same for a trie, which is not read in batches.
fn count_keys<K: aya::Pod>(map: &OwnedFd, spec: &MapSpec) -> Result<u64, Error> {
    let failed = || Error::system(format!("reading map {}", spec.name));
    let table = crate::Table::<K, u32>::new(map.try_clone().map_err(failed())?, spec.name)?;
    Ok(table.keys().map_err(failed())?.len() as u64)
}

/// The memory of each array of tables that was made.
fn of_tables(map: &OwnedFd) -> io::Result<Vec<u64>> {
    let mut tables = Tables::on(map.try_clone()?)?;
    let numbers = 0..tables.max();
    numbers.filter_map(|n| tables.chunk(n).transpose().map(|chunk| memory(chunk?))).collect()
}

/// What the kernel accounts a map with, from `/proc/self/fdinfo`.
fn memory(map: &OwnedFd) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_raw_fd()))?;
    Ok(memlock(&text).unwrap_or(0))
}

fn memlock(fdinfo: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix("memlock:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_fdinfo() {
        assert_eq!(memlock("pos:\t0\nmap_type:\t1\nmemlock:\t81920\nmap_id:\t12\n"), Some(81920));
        assert_eq!(memlock("pos:\t0\n"), None);
    }
}
