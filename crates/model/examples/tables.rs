//! What Maglev tables take, one by one and at a start: `cargo run --release -p shunt-model --example tables`.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on should say where")]

use shunt_common::maglev::CHUNK_UNITS;
use shunt_model::maglev::{Member, Settings};
use shunt_model::objects::{Endpoint, EndpointPort, EndpointSlice, Meta, Service, ServicePort, ServiceSpec};
use shunt_model::store::{Actual, Capacity, MapError, Op};
use shunt_model::{MapStore, Model, Options};
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Instant;

const SERVICES: u32 = 10_000;
const ENDPOINTS: u32 = 10;

fn main() {
    println!("{:>8} {:>9} {:>10} {:>10}", "size", "backends", "median µs", "worst µs");
    for (size, len, builds) in
        [(16_381, 10, 1000), (16_381, 160, 1000), (131_071, 10, 100), (131_071, 1000, 100)]
    {
        let settings = Settings { size, ..Settings::default() };
        let mut times: Vec<f64> = (0..builds).map(|set| time(&settings, set, len)).collect();
        times.sort_by(f64::total_cmp);
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        println!("{size:>8} {len:>9} {median:>10.0} {worst:>10.0}");
    }
    for maglev in [false, true] {
        cold_start(maglev);
    }
}

/// Microseconds for one table; other backends each time.
fn time(settings: &Settings, set: u32, len: u32) -> f64 {
    let name = |n: u32| [&(set * 4096 + n).to_be_bytes()[..], &[0, 80, 6]].concat();
    let members: Vec<Member> = (0..len).map(|n| Member { name: name(n).into(), weight: 100 }).collect();
    let begun = Instant::now();
    black_box(settings.table(black_box(&members)));
    begun.elapsed().as_secs_f64() * 1e6
}

/// Maps that count what is written.
#[derive(Default)]
struct Void {
    tables: usize,
    bytes: usize,
}

impl MapStore for Void {
    fn apply(&mut self, op: &Op) -> Result<(), MapError> {
        if let Op::PutTable { table, .. } = op {
            self.tables += 1;
            self.bytes += black_box(table).len();
        }
        Ok(())
    }
    fn dump(&mut self) -> Result<Actual, MapError> {
        Ok(Actual::default())
    }
    fn capacity(&self) -> Capacity {
        Capacity {
            backends: 1 << 17,
            slots: 1 << 19,
            frontends: 1 << 16,
            ranges: 64,
            table_units: 256 * CHUNK_UNITS,
        }
    }
}

/// An agent with empty maps learns of all services at once.
fn cold_start(maglev: bool) {
    let mut store = Void::default();
    let mut model = Model::new(Options { maglev, ..Options::new("node") }, store.capacity());
    model.replace_nodes([]);
    model.replace_services(&(0..SERVICES).map(service).collect::<Vec<_>>());
    model.replace_slices(&(0..SERVICES).map(|n| slice(n, ENDPOINTS)).collect::<Vec<_>>());
    let ms = |begun: Instant| begun.elapsed().as_secs_f64() * 1e3;
    let begun = Instant::now();
    let mut report = model.reconcile(&mut store);
    let first = ms(begun);
    let (mut longest, mut slices) = (0f64, 0);
    while report.tables_due > 0 {
        let slice = Instant::now();
        model.tick(begun.elapsed().as_secs());
        report = model.reconcile(&mut store);
        longest = longest.max(ms(slice));
        slices += 1;
    }
    let all = ms(begun);
    model.apply_slice(&slice(77, ENDPOINTS - 1));
    let begun = Instant::now();
    assert_eq!(model.reconcile(&mut store).services, 1);
    let change = ms(begun);
    println!(
        "{SERVICES} services of {ENDPOINTS}, maglev {maglev}: first sync {first:.0} ms, then {slices} slices of {longest:.1} ms \
         at most; all after {all:.0} ms; one change {change:.2} ms; {} tables of {} bytes in all",
        store.tables, store.bytes
    );
}

fn meta(name: String) -> Meta {
    Meta { name, namespace: "default".into(), ..Meta::default() }
}

fn service(n: u32) -> Service {
    let port = ServicePort { port: 80, ..ServicePort::default() };
    let ip = Ipv4Addr::from(0x0a60_0001 + n).to_string();
    let spec = ServiceSpec { cluster_ip: Some(ip), ports: Some(vec![port]), ..ServiceSpec::default() };
    Service { metadata: meta(format!("s{n}")), spec, ..Service::default() }
}

fn slice(n: u32, endpoints: u32) -> EndpointSlice {
    let labels = [("kubernetes.io/service-name".to_string(), format!("s{n}"))].into();
    let address = |e: u32| Ipv4Addr::from(0x0af4_0001 + n * ENDPOINTS + e).to_string();
    let endpoint = |e| Endpoint { addresses: vec![address(e)], ..Endpoint::default() };
    EndpointSlice {
        metadata: Meta { labels: Some(labels), ..meta(format!("s{n}-1")) },
        address_type: "IPv4".into(),
        endpoints: Some((0..endpoints).map(endpoint).collect()),
        ports: Some(vec![EndpointPort { port: Some(8080), ..EndpointPort::default() }]),
    }
}
