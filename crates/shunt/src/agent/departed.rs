//! Backends that went and are waiting to be looked for: when, and how often.

use shunt_model::Departed;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A backend that a service lost is often gone altogether in the next batch, and others follow it: one pass for all.
const SOON: Duration = Duration::from_millis(20);
/// A connect that read the old pool just before it was switched becomes a socket a moment after. It is looked for again.
const AGAIN: Duration = Duration::from_millis(250);

/// What went, when it is to be looked for, and whether that is the second time.
#[derive(Default)]
pub(super) struct Waiting(BTreeMap<Departed, (Instant, bool)>);

impl Waiting {
    pub(super) fn add(&mut self, departed: &[Departed], now: Instant) {
        for one in departed {
            // What has been looked for once has come and gone again.
            let entry = self.0.entry(*one).or_insert((now + SOON, false));
            if entry.1 {
                *entry = (now + SOON, false);
            }
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().map(|(due, _)| *due).min()
    }

    /// Takes what is due: what is looked for the first time, and the second.
    pub(super) fn take(&mut self, now: Instant) -> (Vec<Departed>, Vec<Departed>) {
        let due = |again| self.0.iter().filter(move |(_, at)| at.0 <= now && at.1 == again).map(|(d, _)| *d);
        let (first, second): (Vec<_>, Vec<_>) = (due(false).collect(), due(true).collect());
        second.iter().for_each(|one| _ = self.0.remove(one));
        self.0.extend(first.iter().map(|one| (*one, (now + AGAIN, true))));
        (first, second)
    }
}

/// Those of a service whose backend lives on, for another service: no program ends their flows by itself.
pub(super) fn kept_by_others(departed: &[Departed]) -> Vec<Departed> {
    let id = |d: &Departed| (d.backend.family(), d.id);
    let gone: BTreeSet<_> = departed.iter().filter(|d| d.service.is_none()).map(id).collect();
    departed.iter().filter(|d| !gone.contains(&id(d))).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shunt_common::{BackendState, Proto};
    use shunt_model::store::BackendRow;

    fn departed(service: Option<u32>, id: u32) -> Departed {
        let addr = [10, 0, 0, 1].into();
        Departed { service, id, backend: BackendRow::new(addr, 53, Proto::Udp, BackendState::Active, 0) }
    }

    #[test]
    fn each_is_looked_for_twice_and_a_burst_together() {
        let (mut waiting, start) = (Waiting::default(), Instant::now());
        waiting.add(&[departed(Some(1), 1)], start);
        waiting.add(&[departed(Some(1), 1), departed(None, 1)], start + SOON / 2);
        assert_eq!(waiting.next(), Some(start + SOON), "the first does not wait for the last");
        let late = start + SOON * 2;
        let both = vec![departed(None, 1), departed(Some(1), 1)];
        assert_eq!(waiting.take(late), (both.clone(), vec![]));
        assert_eq!(waiting.next(), Some(late + AGAIN));
        assert_eq!(waiting.take(late + AGAIN), (vec![], both));
        assert_eq!(waiting.next(), None);
    }

    #[test]
    fn what_goes_again_meanwhile_begins_anew() {
        let (mut waiting, start) = (Waiting::default(), Instant::now());
        waiting.add(&[departed(None, 1)], start);
        waiting.take(start + SOON);
        waiting.add(&[departed(None, 1)], start + AGAIN);
        assert_eq!(waiting.take(start + AGAIN + SOON).0, [departed(None, 1)]);
    }

    #[test]
    fn flows_are_searched_only_for_backends_that_another_service_keeps() {
        let all = [departed(Some(1), 1), departed(None, 1), departed(Some(1), 2)];
        assert_eq!(kept_by_others(&all), [departed(Some(1), 2)]);
    }
}
