//! What building a Maglev table takes: `cargo run --release -p shunt-model --example tables`.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on should say where")]

use shunt_model::maglev::{Member, Settings};
use std::hint::black_box;
use std::time::Instant;

fn main() {
    println!("{:>8} {:>9} {:>10} {:>10}", "size", "backends", "median µs", "worst µs");
    for (size, len, builds) in
        [(16_381, 10, 1000), (16_381, 160, 1000), (131_071, 10, 100), (131_071, 1000, 100)]
    {
        let settings = Settings { size, ..Settings::default() };
        let mut times: Vec<f64> = (0..builds).map(|set| time(&settings, set, len)).collect();
        times.sort_by(f64::total_cmp);
        println!(
            "{size:>8} {len:>9} {:>10.0} {:>10.0}",
            times[builds as usize / 2],
            times[builds as usize - 1]
        );
    }
}

/// Microseconds for one table; other backends each time.
fn time(settings: &Settings, set: u32, len: u32) -> f64 {
    let member = |n: u32| Member {
        name: [&(set * 4096 + n).to_be_bytes()[..], &[0, 80, 6]].concat().into(),
        weight: 100,
    };
    let members: Vec<Member> = (0..len).map(member).collect();
    let begun = Instant::now();
    black_box(settings.table(black_box(&members)));
    begun.elapsed().as_secs_f64() * 1e6
}
