//! The rows of the map: cgroups of pods whose sockets are left to the packet path.

use shunt_datapath::Table;
use std::collections::BTreeSet;
use std::io;

/// The map, and what it holds as far as we know.
pub(super) struct Rows {
    table: Table<u64, u32>,
    now: BTreeSet<u64>,
    /// Of an earlier agent, until the lists say whether their pods still want them.
    inherited: BTreeSet<u64>,
}

impl Rows {
    /// Takes over what an earlier agent has left.
    pub(super) fn new(table: Table<u64, u32>) -> io::Result<Self> {
        let now = read(&table)?;
        Ok(Self { inherited: now.clone(), now, table })
    }

    /// Whether the map holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.now.is_empty()
    }

    /// Removes every row; programs that do not look at them are not harmed by one that stays.
    pub(super) fn clear(&self) {
        for id in &self.now {
            if let Err(error) = self.table.remove(id) {
                tracing::debug!(%error, "a row of opt_out stays");
            }
        }
    }

    /// Looks what is there, since others may have changed it.
    pub(super) fn read_again(&mut self) {
        if let Ok(now) = read(&self.table) {
            self.now = now;
        }
    }

    /// Adds what is missing, then removes what is not asked for. Before everything is `listed`, rows of an earlier agent stay
    /// whose cgroup is among the `known` ones. Answers what went wrong first.
    pub(super) fn bring_to(
        &mut self,
        asked: BTreeSet<u64>,
        known: &BTreeSet<u64>,
        listed: bool,
    ) -> Option<String> {
        if listed {
            self.inherited.clear();
        }
        let (add, remove) = plan(&self.now, &asked, &self.inherited, known);
        let mut first = None;
        for id in add {
            match self.table.set(&id, &1) {
                Ok(()) => _ = self.now.insert(id),
                Err(error) => _ = first.get_or_insert_with(|| failed(&error, self.table.max_entries())),
            }
        }
        for id in remove {
            match self.table.remove(&id) {
                Ok(_) => _ = self.now.remove(&id),
                Err(error) => _ = first.get_or_insert_with(|| format!("removing from map opt_out: {error}")),
            }
        }
        first
    }
}

fn failed(error: &io::Error, room: u32) -> String {
    if error.kind() == io::ErrorKind::ArgumentListTooLong {
        return format!("map opt_out is full: {room} pods of a node can opt out of the socket path");
    }
    format!("writing map opt_out: {error}")
}

fn read(table: &Table<u64, u32>) -> io::Result<BTreeSet<u64>> {
    Ok(table.entries()?.into_iter().map(|(id, _)| id).collect())
}

/// What is to be added and removed.
fn plan(
    now: &BTreeSet<u64>,
    asked: &BTreeSet<u64>,
    inherited: &BTreeSet<u64>,
    known: &BTreeSet<u64>,
) -> (Vec<u64>, Vec<u64>) {
    // Without any cgroup of a pod it is the looking that does not work: nothing is known to be gone.
    let lives = |id: &u64| known.is_empty() || known.contains(id);
    let stays = |id: &u64| asked.contains(id) || (inherited.contains(id) && lives(id));
    (asked.difference(now).copied().collect(), now.iter().filter(|id| !stays(id)).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(now: &[u64], asked: &[u64], inherited: &[u64], known: &[u64]) -> (Vec<u64>, Vec<u64>) {
        let set = |ids: &[u64]| ids.iter().copied().collect();
        plan(&set(now), &set(asked), &set(inherited), &set(known))
    }

    #[test]
    fn what_is_asked_for_comes_and_what_is_not_goes() {
        assert_eq!(planned(&[1, 2], &[2, 3], &[], &[1, 2, 3]), (vec![3], vec![1]));
        assert_eq!(planned(&[2, 3], &[2, 3], &[], &[2, 3]), (vec![], vec![]));
    }

    #[test]
    fn before_the_lists_are_complete_an_earlier_agents_rows_stay_for_as_long_as_their_cgroups() {
        assert_eq!(planned(&[1, 2], &[], &[1, 2], &[1, 5]), (vec![], vec![2]));
        assert_eq!(planned(&[1, 2], &[3], &[1, 2], &[]), (vec![3], vec![]));
        assert_eq!(planned(&[1, 2], &[], &[], &[]), (vec![], vec![1, 2]));
    }
}
