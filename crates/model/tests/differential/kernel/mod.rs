//! The rules in a real kernel: that `nft` takes them as they are printed, and that packets fare as the evaluator says.

mod place;

use crate::cluster::{Cluster, NODES};
use crate::compare::rulesets;
use place::Place;

#[test]
fn the_kernel_takes_the_rules() {
    let place = Place::new();
    for seed in 0..20 {
        let cluster = Cluster::new(seed);
        let rulesets = rulesets(&cluster, 1 + seed as usize % NODES);
        let text: String = rulesets.iter().map(ToString::to_string).collect();
        place.batch("nft", &["-f", "-"], &format!("flush ruleset\n{text}"));
    }
}
