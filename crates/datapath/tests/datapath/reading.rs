//! What the command line reads while no agent runs.

use crate::support::{Node, backend, flow, frontend, frontend_key};
use shunt_common::{AffinityKey, AffinityRow, Pool, Proto, Reason};
use shunt_datapath::dump::Reader;
use shunt_model::store::{BackendRow, FrontendRef, MapStore, Op};

#[test]
fn everything_is_readable_from_the_pins_alone() {
    let node = Node::new();
    let datapath = node.start();
    let mut store = datapath.store().unwrap();
    store.apply(&Op::PutBackend { id: 3, row: BackendRow::V4(backend(3)) }).unwrap();
    store.apply(&Op::PutPool { pool: Pool { offset: 8, len: 2 }, ids: vec![3, 3] }).unwrap();
    for n in 0..40 {
        let key = FrontendRef::V4(frontend_key(n));
        store.apply(&Op::PutFrontend { key, row: frontend(1, 8, 2) }).unwrap();
    }
    drop((datapath, store));

    let reader = Reader::open(&node.bpf_root).unwrap();
    let mut frontends: Vec<_> = reader.frontends4().unwrap().map(|entry| entry.unwrap().0).collect();
    frontends.sort();
    assert_eq!(frontends, (0..40).map(frontend_key).collect::<Vec<_>>());
    assert_eq!(reader.frontends6().unwrap().count(), 0);
    assert_eq!(reader.backends4().collect::<Vec<_>>(), [(3, backend(3))]);
    assert_eq!(reader.backends6().count(), 0);
    assert_eq!((reader.backend4(3), reader.backend4(4)), (Some(backend(3)), None));
    assert_eq!(reader.slots(Pool { offset: 8, len: 2 }), [3, 3]);
    assert_eq!(reader.attachments().unwrap().len(), 10);
    let counters = reader.counters().unwrap();
    assert_eq!(counters.len(), Reason::ALL.len() * 2);
    assert!(counters.iter().all(|(_, _, counter)| counter.packets == 0));
    let (jiffies, _) = reader.clock().unwrap().sample().unwrap();
    assert_ne!(jiffies, 0);

    assert!(u64::from(reader.clock().unwrap().seconds().unwrap()) <= jiffies);
    let key = AffinityKey { client: [7, 0, 0, 0], service: 1, kind: 4 };
    let value = AffinityRow { backend: 3, stamp: 5 };
    let map = aya::maps::MapData::from_pin(node.bpf_root.join("v1/maps/affinity")).unwrap();
    let mut table = aya::maps::HashMap::<_, _, _>::try_from(aya::maps::Map::LruHashMap(map)).unwrap();
    table.insert(key, value, 0).unwrap();
    let remembered: Vec<_> = reader.affinity().unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(remembered, [(key, value)]);

    let maps = reader.maps().unwrap();
    let used = |name: &str| maps.iter().find(|m| m.spec.name == name).unwrap();
    assert_eq!((used("frontends4").used, used("frontends4").spec.max_entries), (Some(40), 64));
    assert_eq!(used("backends4").used, Some(1));
    assert_eq!(used("counters").used, None);
    assert!(used("flows4").bytes > 0 && used("pool").bytes >= 512 * 4);
}

#[test]
fn flushing_removes_every_flow_of_both_directions() {
    let node = Node::new();
    drop(node.start());
    let reader = Reader::open(&node.bpf_root).unwrap();
    let map = aya::maps::MapData::from_pin(node.bpf_root.join("v1/maps/flows4")).unwrap();
    let map = aya::maps::Map::HashMap(map);
    let mut table = aya::maps::HashMap::<_, _, _>::try_from(map).unwrap();
    for port in 1..=3000 {
        for (key, value) in flow(port, Proto::Tcp, 1, 0, (0, 0)) {
            table.insert(key, value, 0).unwrap();
        }
    }
    assert_eq!(reader.flows4().unwrap().count(), 6000);
    assert_eq!(reader.flush_flows().unwrap(), 6000);
    assert_eq!(reader.flows4().unwrap().count(), 0);
}
