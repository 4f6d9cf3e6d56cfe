//! The objects of a kind that cannot be read, so that what was said of them is taken back in time.

use crate::sources::Event;
use shunt_model::Problem;
use std::collections::HashSet;

#[derive(Default)]
pub(super) struct Malformed {
    /// `Kind namespace/name` of each.
    known: HashSet<String>,
    /// Those that the list under way has not had yet.
    unlisted: HashSet<String>,
}

impl Malformed {
    pub(super) fn list_begins(&mut self) {
        self.unlisted.clone_from(&self.known);
    }

    /// Takes back what was said of those that were deleted while nobody watched.
    pub(super) fn list_ends(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.unlisted).into_iter().filter_map(|about| self.over(about)).collect()
    }

    /// The object is well or gone.
    pub(super) fn over(&mut self, about: String) -> Option<Event> {
        self.unlisted.remove(&about);
        self.known.remove(&about).then(|| Event::Problems { about, problems: Vec::new() })
    }

    /// The object is malformed.
    pub(super) fn is(&mut self, about: String, what: &str) -> Event {
        self.unlisted.remove(&about);
        self.known.insert(about.clone());
        let problem = Problem {
            object: about.clone(),
            what: format!("malformed: {what}"),
            todo: "correct the field; until then the object's last good state is served".into(),
        };
        Event::Problems { about, problems: vec![problem] }
    }
}
