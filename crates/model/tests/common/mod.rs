//! A cluster in memory: objects, a model and checked maps.
#![allow(dead_code)]

pub mod watching;
pub mod world;

use shunt_common::{BackendState, Frontend, Pool, Proto};
use shunt_model::objects::{
    Endpoint, EndpointPort, EndpointSlice, Kind, Meta, Node, Pod, Service, ServiceCidr, ServicePort,
    ServiceSpec,
};
use shunt_model::store::{Actual, BackendRow, Capacity, Faulty, MemoryStore, Op, RangeRef};
use shunt_model::{MapStore, Model, Options, Report};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

pub const NODE: &str = "node-1";
pub const CAPACITY: Capacity =
    Capacity { backends: 512, slots: 4096, frontends: 512, ranges: 64, table_units: 1 << 21 };

/// An object of any kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    Service(Service),
    Slice(EndpointSlice),
    Node(Node),
    Pod(Pod),
    ServiceCidr(ServiceCidr),
}

impl Object {
    /// Reads YAML documents separated by `---` lines.
    pub fn read(text: &str) -> Vec<Object> {
        let mut docs: Vec<String> = vec![String::new()];
        for line in text.lines() {
            match (line.trim_end(), docs.last_mut()) {
                ("---", _) => docs.push(String::new()),
                (line, Some(doc)) => doc.push_str(&format!("{line}\n")),
                (_, None) => {}
            }
        }
        docs.iter().filter(|d| !d.trim().is_empty()).map(|d| Object::read_one(d)).collect()
    }

    fn read_one(doc: &str) -> Object {
        #[derive(serde::Deserialize)]
        struct Head {
            kind: String,
        }
        let head: Head = serde_saphyr::from_str(doc).unwrap();
        match head.kind.as_str() {
            "Service" => Object::Service(serde_saphyr::from_str(doc).unwrap()),
            "EndpointSlice" => Object::Slice(serde_saphyr::from_str(doc).unwrap()),
            "Node" => Object::Node(serde_saphyr::from_str(doc).unwrap()),
            "Pod" => Object::Pod(serde_saphyr::from_str(doc).unwrap()),
            "ServiceCIDR" => Object::ServiceCidr(serde_saphyr::from_str(doc).unwrap()),
            other => panic!("kind {other}"),
        }
    }

    pub fn key(&self) -> (Kind, String) {
        match self {
            Object::Service(s) => (Kind::Service, s.metadata.key()),
            Object::Slice(s) => (Kind::EndpointSlice, s.metadata.key()),
            Object::Node(n) => (Kind::Node, n.metadata.name.clone()),
            Object::Pod(p) => (Kind::Pod, p.metadata.key()),
            Object::ServiceCidr(c) => (Kind::ServiceCidr, c.metadata.name.clone()),
        }
    }
}

pub struct Cluster {
    pub objects: BTreeMap<(Kind, String), Object>,
    pub options: Options,
    pub node_ports: Option<Vec<std::net::IpAddr>>,
    pub loopback: bool,
    pub model: Model,
    pub store: Faulty<MemoryStore>,
    /// The coarse clock, seconds.
    pub clock: u64,
}

impl Cluster {
    pub fn new(options: Options) -> Self {
        Self::with_capacity(options, CAPACITY)
    }

    pub fn with_capacity(options: Options, capacity: Capacity) -> Self {
        let model = Model::new(options.clone(), capacity);
        let store = Faulty::new(MemoryStore::checked(capacity), 0, 0);
        let mut cluster = Self {
            objects: BTreeMap::new(),
            options,
            node_ports: None,
            loopback: false,
            model,
            store,
            clock: 0,
        };
        cluster.relist();
        cluster
    }

    pub fn apply(&mut self, object: Object) {
        match &object {
            Object::Service(s) => self.model.apply_service(s),
            Object::Slice(s) => self.model.apply_slice(s),
            Object::Node(n) => self.model.apply_node(n),
            Object::Pod(p) => self.model.apply_pod(p),
            Object::ServiceCidr(c) => self.model.apply_service_cidr(c),
        }
        self.objects.insert(object.key(), object);
    }

    pub fn delete(&mut self, kind: Kind, key: &str) {
        self.objects.remove(&(kind, key.into()));
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        match kind {
            Kind::Service => self.model.delete_service(namespace, name),
            Kind::EndpointSlice => self.model.delete_slice(namespace, name),
            Kind::Node => self.model.delete_node(name),
            Kind::Pod => self.model.delete_pod(namespace, name),
            Kind::ServiceCidr => self.model.delete_service_cidr(name),
            Kind::Namespace => {}
        }
    }

    /// Lists every kind anew, as after a broken watch.
    pub fn relist(&mut self) {
        for kind in Kind::ALL {
            self.list(kind);
        }
    }

    pub fn list(&mut self, kind: Kind) {
        self.model.begin_replace(kind);
        for object in self.objects.values() {
            match object {
                Object::Service(s) if kind == Kind::Service => self.model.apply_service(s),
                Object::Slice(s) if kind == Kind::EndpointSlice => self.model.apply_slice(s),
                Object::Node(n) if kind == Kind::Node => self.model.apply_node(n),
                Object::Pod(p) if kind == Kind::Pod => self.model.apply_pod(p),
                Object::ServiceCidr(c) if kind == Kind::ServiceCidr => self.model.apply_service_cidr(c),
                _ => {}
            }
        }
        self.model.end_replace(kind);
    }

    /// The agent dies and another reads the maps back. It has not listed anything yet.
    pub fn restart(&mut self) {
        self.model = Model::new(self.options.clone(), self.store.capacity());
        self.model.set_node_port_addresses(self.node_ports.clone());
        self.model.set_node_port_loopback(self.loopback);
        self.model.restore(&self.store.dump().unwrap());
    }

    /// Reconciles after some time.
    pub fn reconcile(&mut self) -> Report {
        self.clock += 2;
        self.model.tick(self.clock);
        self.model.reconcile(&mut self.store)
    }

    /// Reconciles until nothing is left to do, retrying what fails. Returns the first report.
    pub fn settle(&mut self) -> Report {
        let first = self.reconcile();
        let mut report = first.clone();
        for _ in 0..200 {
            if report.retries_due == 0 && report.removals_due == 0 && !self.model.has_work() {
                return first;
            }
            self.model.retry_pending();
            report = self.reconcile();
        }
        first
    }
}

/// A store that holds `actual` and lets anything be written.
pub fn unchecked(actual: &Actual) -> MemoryStore {
    let mut store = MemoryStore::new(CAPACITY);
    let mut put = |op: Op| store.apply(&op).unwrap();
    actual.backends4.iter().for_each(|(id, row)| put(Op::PutBackend { id: *id, row: BackendRow::V4(*row) }));
    actual.backends6.iter().for_each(|(id, row)| put(Op::PutBackend { id: *id, row: BackendRow::V6(*row) }));
    for (slot, id) in &actual.slots {
        put(Op::PutPool { pool: Pool { offset: *slot, len: 1 }, ids: vec![*id] });
    }
    for (at, head) in &actual.tables {
        let words = [head.digest, head.units].map(u64::to_le_bytes).concat();
        put(Op::PutTable { at: *at, table: words.into() });
    }
    actual.ranges.iter().for_each(|range| put(Op::PutRange(*range)));
    actual.frontends.iter().for_each(|(key, row)| put(Op::PutFrontend { key: *key, row: *row }));
    store
}

/// Writes something to the maps that the model knows nothing of.
pub fn damage(store: &mut MemoryStore, what: u8, at: usize) {
    let actual = store.dump().unwrap();
    let key = actual.frontends.keys().nth(at % actual.frontends.len().max(1)).copied();
    let op = match (what, key) {
        (0, Some(key)) => Op::DeleteFrontend { key },
        (1, Some(key)) => {
            Op::PutFrontend { key, row: Frontend { service: 99, kind: 1, ..Frontend::default() } }
        }
        (4, _) => Op::PutRange(RangeRef { service: at as u32 + 1, net: "10.9.0.0/16".parse().unwrap() }),
        (6, _) if !actual.tables.is_empty() => {
            let at = *actual.tables.keys().nth(at % actual.tables.len()).unwrap();
            Op::PutTable { at, table: [7; 16].into() }
        }
        (5, _) if !actual.ranges.is_empty() => {
            Op::DeleteRange(*actual.ranges.iter().nth(at % actual.ranges.len()).unwrap())
        }
        (2, _) => {
            let row = BackendRow::new([10, 9, 9, 9].into(), 9, Proto::Tcp, BackendState::Active, 0);
            Op::PutBackend { id: at as u32 + 1, row }
        }
        _ => Op::PutPool { pool: Pool { offset: at as u32, len: 1 }, ids: vec![77] },
    };
    store.apply(&op).unwrap();
}

/// A cluster of `services` with one slice of `endpoints` each, not yet reconciled.
pub fn many(services: u32, endpoints: u32) -> Cluster {
    let capacity =
        Capacity { backends: 1 << 18, slots: 1 << 19, frontends: 1 << 16, ranges: 64, table_units: 1 << 21 };
    let mut cluster = Cluster::with_capacity(Options::new(NODE), capacity);
    cluster.store.inner = MemoryStore::new(capacity);
    for n in 0..services {
        cluster.apply(service(n));
        cluster.apply(slice(n, endpoints));
    }
    cluster
}

/// The `n`th service, with a ClusterIP and one port.
pub fn service(n: u32) -> Object {
    let port = ServicePort { name: Some("http".into()), port: 80, ..ServicePort::default() };
    let ip = Ipv4Addr::from(0x0a60_0001 + n).to_string();
    let spec = ServiceSpec { cluster_ip: Some(ip), ports: Some(vec![port]), ..ServiceSpec::default() };
    Object::Service(Service { metadata: meta(format!("s{n}")), spec, ..Service::default() })
}

/// The one slice of the `n`th service.
pub fn slice(n: u32, endpoints: u32) -> Object {
    let labels = [("kubernetes.io/service-name".to_string(), format!("s{n}"))].into();
    let endpoint = |e: u32| Endpoint {
        addresses: vec![Ipv4Addr::from(0x0af4_0001 + n * endpoints + e).to_string()],
        node_name: Some(format!("node-{}", e % 100)),
        ..Endpoint::default()
    };
    let port = EndpointPort { name: Some("http".into()), port: Some(8080), ..EndpointPort::default() };
    Object::Slice(EndpointSlice {
        metadata: Meta { labels: Some(labels), ..meta(format!("s{n}-1")) },
        address_type: "IPv4".into(),
        endpoints: Some((0..endpoints).map(endpoint).collect()),
        ports: Some(vec![port]),
    })
}

fn meta(name: String) -> Meta {
    let uid = Some(format!("{name:0>36}"));
    Meta { name, namespace: "default".into(), uid, ..Meta::default() }
}
