//! Backends that a service lost while their rows live on, for another service: its UDP flows to them must end.

use std::collections::HashSet;

/// Service and backend ids. A pass that is under way has missed the rows before it, so what is added then counts until the
/// end of the next.
#[derive(Default, Debug)]
pub(super) struct Departed {
    this_pass: HashSet<(u32, u32)>,
    next_pass: HashSet<(u32, u32)>,
}

impl Departed {
    /// Adds some. Whether a pass must begin for them now.
    pub(super) fn add(&mut self, pairs: impl Iterator<Item = (u32, u32)>) -> bool {
        let idle = self.is_empty();
        let to = if idle { &mut self.this_pass } else { &mut self.next_pass };
        to.extend(pairs);
        idle && !self.is_empty()
    }

    /// Whether there is nothing to look for.
    pub(super) fn is_empty(&self) -> bool {
        self.this_pass.is_empty()
    }

    /// Whether a flow must end.
    pub(super) fn contains(&self, service: u32, backend: u32) -> bool {
        let pair = (service, backend);
        !self.is_empty() && (self.this_pass.contains(&pair) || self.next_pass.contains(&pair))
    }

    /// A pass is over.
    pub(super) fn passed(&mut self) {
        self.this_pass = std::mem::take(&mut self.next_pass);
    }
}

#[cfg(test)]
mod tests {
    use super::Departed;

    #[test]
    fn what_comes_during_a_pass_is_looked_for_by_a_whole_one_too() {
        let mut departed = Departed::default();
        assert!(!departed.add([].into_iter()), "nothing, nothing to do");
        assert!(departed.add([(1, 2)].into_iter()));
        assert!(!departed.add([(3, 4)].into_iter()), "the pass under way must not begin anew for ever");
        assert!(departed.contains(1, 2) && departed.contains(3, 4) && !departed.contains(1, 4));
        departed.passed();
        assert!(!departed.contains(1, 2) && departed.contains(3, 4));
        departed.passed();
        assert!(departed.is_empty() && !departed.contains(3, 4));
    }
}
