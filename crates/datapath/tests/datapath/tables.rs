//! Maglev tables on real maps: written, read back, refused, and kept over a restart.

use crate::support::{Node, backend, frontend, frontend_key};
use shunt_common::maglev::{CHUNK_UNITS, CHUNKS, TableRef};
use shunt_common::{Backend, Frontend, Ip4, Pool, frontend_flag};
use shunt_datapath::{Datapath, KernelStore};
use shunt_model::maglev::{Member, Settings, values};
use shunt_model::objects::{Endpoint, EndpointPort, EndpointSlice, Meta, Service, ServicePort, ServiceSpec};
use shunt_model::store::{Actual, BackendRow, Capacity, FrontendRef, MapError, MapStore, Op, TableHead};
use shunt_model::{Model, Options, Report};
use std::sync::Arc;

const NODE: &str = "node-1";

/// Backends `1..=len`, whose ids ascend while their addresses descend.
fn rows(len: u32) -> Vec<(u32, Backend<Ip4>)> {
    (1..=len).map(|id| (id, Backend { addr: Ip4([(1000 - id).to_be()]), ..backend(1) })).collect()
}

/// Writes a pool of these backends with its table; answers its row and the table.
fn write(store: &mut KernelStore, settings: &Settings, len: u32, at: u32) -> (Frontend, Arc<[u8]>) {
    let rows = rows(len);
    for (id, row) in &rows {
        store.apply(&Op::PutBackend { id: *id, row: BackendRow::V4(*row) }).unwrap();
    }
    let mut members: Vec<Member> = rows.iter().map(|(_, row)| Member::from(&BackendRow::V4(*row))).collect();
    members.sort();
    let table: Arc<[u8]> = settings.table(&members).into();
    store.apply(&Op::PutTable { at, table: table.clone() }).unwrap();
    let mut ids: Vec<u32> = (1..=len).chain((1..=len).rev()).collect();
    ids.push(TableRef::new(at, Settings::is_wide(len as usize)).0);
    store.apply(&Op::PutPool { pool: Pool { offset: 40, len }, ids }).unwrap();
    let row = Frontend { flags: frontend_flag::MAGLEV, algorithm: 1, ..frontend(1, 40, len) };
    store.apply(&Op::PutFrontend { key: FrontendRef::V4(frontend_key(1)), row }).unwrap();
    (row, table)
}

fn bytes(datapath: &Datapath) -> u64 {
    let maps = datapath.reader().unwrap().maps().unwrap();
    maps.iter().find(|map| map.spec.name == "maglev").unwrap().bytes
}

fn arrays(datapath: &Datapath) -> u64 {
    let maps = datapath.reader().unwrap().maps().unwrap();
    maps.iter().find(|map| map.spec.name == "maglev").unwrap().used.unwrap()
}

#[test]
fn a_table_is_written_and_read_back_by_the_dump_and_by_the_command_line_s_reader() {
    for (size, len, at) in [(16_381, 10, 0), (251, 100, 7), (1021, 120, CHUNK_UNITS * 3 + 5)] {
        let node = Node::new();
        let datapath = node.start();
        let settings = Settings { size, ..Settings::default() };
        let (row, table) = write(&mut datapath.store().unwrap(), &settings, len, at);
        let actual = datapath.store().unwrap().dump().unwrap();
        assert_eq!(actual.tables.into_iter().collect::<Vec<_>>(), [(at, TableHead::of(&table).unwrap())]);
        assert_eq!(actual.slots.len(), 2 * len as usize + 1);
        // The value 0 is the backend of the least address, which has the highest id.
        let mut members: Vec<Member> =
            rows(len).iter().map(|(_, row)| Member::from(&BackendRow::V4(*row))).collect();
        members.sort();
        let want: Vec<u32> = values(&settings, &members).iter().map(|v| len - u32::from(*v)).collect();
        assert_eq!(datapath.reader().unwrap().lookup_table(&row, row.pools[0]).unwrap(), want);
    }
}

#[test]
fn a_table_of_two_bytes_a_value_is_read_back_too() {
    let node = Node::new();
    let mut settings = node.settings();
    settings.sizes = shunt_datapath::Sizes::new(1024, 8192);
    let datapath = Datapath::start(&settings).unwrap();
    let tables = Settings { size: 2039, ..Settings::default() };
    let (row, _) = write(&mut datapath.store().unwrap(), &tables, 300, 11);
    let found = datapath.reader().unwrap().lookup_table(&row, row.pools[0]).unwrap();
    let counted = |id: u32| found.iter().filter(|v| **v == id).count();
    assert_eq!(found.len(), 2039);
    assert!((1..=300).all(|id| (6..=7).contains(&counted(id))), "all have their share");
    // A row without the flag has no table, whatever its slots hold.
    let plain = Frontend { flags: 0, ..row };
    assert_eq!(datapath.reader().unwrap().lookup_table(&plain, row.pools[0]).unwrap(), Vec::<u32>::new());
}

#[test]
fn an_array_is_made_when_its_first_table_comes_and_not_before() {
    let node = Node::new();
    let datapath = node.start();
    let mut store = datapath.store().unwrap();
    store.dump().unwrap();
    assert_eq!((arrays(&datapath), bytes(&datapath) < 1 << 20), (0, true));
    let put = |store: &mut KernelStore, at| store.apply(&Op::PutTable { at, table: [1; 64].into() });
    put(&mut store, 0).unwrap();
    put(&mut store, CHUNK_UNITS - 8).unwrap();
    assert_eq!(arrays(&datapath), 1);
    let one = bytes(&datapath);
    assert!((4 << 20..5 << 20).contains(&one), "{one} bytes, an array has 4 MiB");
    put(&mut datapath.store().unwrap(), 5 * CHUNK_UNITS).unwrap();
    assert_eq!(arrays(&datapath), 2, "another store finds what the first has made");
    assert!(bytes(&datapath) > 8 << 20);
}

#[test]
fn tables_past_the_end_and_across_two_arrays_are_refused() {
    let node = Node::new();
    let datapath = node.start();
    let mut store = datapath.store().unwrap();
    assert_eq!(store.capacity().table_units, CHUNKS * CHUNK_UNITS);
    for at in [CHUNKS * CHUNK_UNITS, CHUNK_UNITS - 7, u32::MAX] {
        let error = store.apply(&Op::PutTable { at, table: [1; 64].into() }).unwrap_err();
        assert_eq!(error, MapError::tables_full(), "{at}");
    }
    assert_eq!(arrays(&datapath), 0);
}

/// A store of which there is no more room for tables than this many elements.
struct Short(KernelStore, u32);

impl MapStore for Short {
    fn apply(&mut self, op: &Op) -> Result<(), MapError> {
        self.0.apply(op)
    }
    fn dump(&mut self) -> Result<Actual, MapError> {
        self.0.dump()
    }
    fn capacity(&self) -> Capacity {
        Capacity { table_units: self.1, ..self.0.capacity() }
    }
}

/// An agent's model, which has taken over what the maps hold and has listed so many services of three endpoints.
fn agent(store: &mut dyn MapStore, services: u8) -> Model {
    let options = Options { maglev: true, ..Options::new(NODE) };
    let mut model = Model::new(options, store.capacity());
    model.restore(&store.dump().unwrap());
    model.replace_nodes([]);
    let meta = |name: String| Meta { name, namespace: "default".into(), ..Meta::default() };
    let service = |n: u8| Service {
        metadata: meta(format!("s{n}")),
        spec: ServiceSpec {
            cluster_ip: Some(format!("10.96.0.{n}")),
            ports: Some(vec![ServicePort { port: 80, ..ServicePort::default() }]),
            ..ServiceSpec::default()
        },
        ..Service::default()
    };
    let endpoint = |n: u8, e| Endpoint { addresses: vec![format!("10.0.{n}.{e}")], ..Endpoint::default() };
    let slice = |n: u8| EndpointSlice {
        metadata: Meta {
            labels: Some([("kubernetes.io/service-name".into(), format!("s{n}"))].into()),
            ..meta(format!("s{n}-1"))
        },
        address_type: "IPv4".into(),
        endpoints: Some((1..=3).map(|e| endpoint(n, e)).collect()),
        ports: Some(vec![EndpointPort { port: Some(8080), ..EndpointPort::default() }]),
    };
    model.replace_services(&(1..=services).map(service).collect::<Vec<_>>());
    model.replace_slices(&(1..=services).map(slice).collect::<Vec<_>>());
    model
}

fn by_table(store: &mut dyn MapStore) -> Vec<bool> {
    let rows = store.dump().unwrap().frontends.into_values().filter(|row| row.pools[0].len > 0);
    rows.map(|row| row.flags & frontend_flag::MAGLEV != 0).collect()
}

#[test]
fn an_agent_that_comes_back_takes_its_tables_over_and_writes_nothing() {
    let node = Node::new();
    let before = {
        let datapath = node.start();
        let mut store = datapath.store().unwrap();
        let report = agent(&mut store, 3).reconcile(&mut store);
        assert_eq!((report.failed, report.tables_due), (vec![], 0));
        assert_eq!(by_table(&mut store), [true; 3]);
        store.dump().unwrap()
    };
    let datapath = node.start();
    let mut store = datapath.store().unwrap();
    let mut model = agent(&mut store, 3);
    assert_eq!(model.usage().table_units, 3 * 2050);
    let Report { services, ops, failed, .. } = model.reconcile(&mut store);
    assert_eq!((services, ops, failed), (3, 0, vec![]));
    assert_eq!((store.dump().unwrap(), model.actual()), (before.clone(), before));
    assert_eq!(arrays(&datapath), 1);
}

#[test]
fn a_service_for_whose_table_the_maps_have_no_room_is_balanced_at_random() {
    let node = Node::new();
    let datapath = node.start();
    let mut store = Short(datapath.store().unwrap(), 2 * 2050);
    let report = agent(&mut store, 3).reconcile(&mut store);
    let wrong: Vec<_> = report.failed.iter().map(|f| (&*f.object, &f.error)).collect();
    assert_eq!(wrong, [("Service default/s3", &MapError::tables_full())]);
    assert_eq!(by_table(&mut store), [true, true, false]);
}

#[test]
fn a_table_that_something_else_has_overwritten_is_noticed_and_written_again() {
    let node = Node::new();
    let datapath = node.start();
    let mut store = datapath.store().unwrap();
    let mut model = agent(&mut store, 2);
    model.reconcile(&mut store);
    let good = store.dump().unwrap();
    store.apply(&Op::PutTable { at: *good.tables.keys().next().unwrap(), table: [9; 16].into() }).unwrap();
    let repair = model.verify(&store.dump().unwrap());
    assert!(matches!(&repair[..], [Op::PutTable { .. }]), "{}", repair.len());
    repair.iter().for_each(|op| store.apply(op).unwrap());
    assert_eq!(store.dump().unwrap(), good);
}
