//! Topology hints of a slice's endpoints, out of line: most slices have none.

use super::Words;
use crate::objects;

/// A zone's name as a number. Zones are few and never forgotten; zero is no zone, or one too many to be numbered.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Zone(pub u16);

/// Whom a kind of hint names.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Hinted {
    /// Nobody: there is no hint.
    #[default]
    Nobody,
    /// Others only.
    Others,
    /// This node, or its zone.
    Us,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Of {
    Zone(Zone),
    OtherNode,
    ThisNode,
}

/// The hints of all endpoints of a slice, by index of the endpoint.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Hints(Box<[(u32, Of)]>);

/// Reads the hints of one endpoint after another.
#[derive(Default)]
pub(super) struct Reader(Vec<(u32, Of)>);

impl Reader {
    pub(super) fn add(&mut self, index: u32, hints: &objects::EndpointHints, node: &str, words: &mut Words) {
        for zone in hints.for_zones.iter().flatten() {
            self.0.push((index, Of::Zone(words.zone(&zone.name))));
        }
        for hint in hints.for_nodes.iter().flatten() {
            self.0.push((index, if hint.name == node { Of::ThisNode } else { Of::OtherNode }));
        }
    }

    pub(super) fn finish(self) -> Option<Box<Hints>> {
        (!self.0.is_empty()).then(|| Box::new(Hints(self.0.into())))
    }
}

impl Hints {
    /// Whom the hints of an endpoint name, by node and by zone, seen from a zone.
    #[must_use]
    pub fn of(&self, index: u32, zone: Zone) -> (Hinted, Hinted) {
        let (mut by_node, mut by_zone) = (Hinted::Nobody, Hinted::Nobody);
        let first = self.0.partition_point(|(i, _)| *i < index);
        for (_, of) in self.0[first..].iter().take_while(|(i, _)| *i == index) {
            let (said, ours) = match of {
                Of::Zone(z) => (&mut by_zone, *z == zone && zone != Zone::default()),
                Of::OtherNode => (&mut by_node, false),
                Of::ThisNode => (&mut by_node, true),
            };
            if ours {
                *said = Hinted::Us;
            } else if *said == Hinted::Nobody {
                *said = Hinted::Others;
            }
        }
        (by_node, by_zone)
    }
}
