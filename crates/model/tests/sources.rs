//! Source ranges that change while clients come: at every op a client is treated as before the change or as after it.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Cluster, NODE, Object};
use shunt_common::Proto;
use shunt_model::fate::{Client, Fate, fate};
use shunt_model::store::{Actual, Capacity, MapError, Op};
use shunt_model::{MapStore, Options};

const NODE_OBJECT: &str = "kind: Node\nmetadata: {name: node-1}\nstatus: {addresses: [{type: InternalIP, address: 192.168.0.1}]}\n---\n";

/// Policy and ranges; `None` for a service that is no load balancer.
const SPECS: [Option<(&str, &str)>; 9] = [
    None,
    Some(("allow", "")),
    Some(("allow", "198.51.100.0/24")),
    Some(("allow", "203.0.113.0/24")),
    Some(("allow", "198.51.100.0/24, 192.168.0.0/24")),
    Some(("deny", "198.51.100.0/24")),
    Some(("deny", "203.0.113.0/24, 192.168.0.0/24")),
    Some(("allow", "0.0.0.0/0")),
    Some(("deny", "nonsense")),
];

fn service(spec: Option<(&str, &str)>) -> String {
    let (type_, (policy, ranges)) = spec.map_or(("ClusterIP", ("allow", "")), |s| ("LoadBalancer", s));
    format!(
        "kind: Service\nmetadata: {{name: web, annotations: {{shunt.io/src-ranges-policy: {policy}}}}}\n\
         spec: {{type: {type_}, clusterIP: 10.96.0.10, loadBalancerSourceRanges: [{ranges}], \
         ports: [{{name: a, port: 80}}, {{name: b, port: 81}}]}}\n\
         status: {{loadBalancer: {{ingress: [{{ip: 203.0.113.1}}]}}}}\n"
    )
}

/// What becomes of each client at each port.
fn fates(actual: &Actual) -> Vec<Fate> {
    let clients = [
        Client::Outside("198.51.100.9".parse().unwrap()),
        Client::Outside("203.0.113.9".parse().unwrap()),
        Client::Outside("8.8.8.8".parse().unwrap()),
        Client::Pod("10.244.1.50".parse().unwrap()),
        Client::Node,
    ];
    let ports = ["203.0.113.1:80", "203.0.113.1:81", "10.96.0.10:80"].map(|to| to.parse().unwrap());
    let ask = |client| ports.map(|to| fate(actual, client, to, Proto::Tcp));
    clients.into_iter().flat_map(ask).collect()
}

struct Asking {
    inner: shunt_model::store::Faulty<shunt_model::store::MemoryStore>,
    before: Vec<Fate>,
    after: Vec<Fate>,
}

impl MapStore for Asking {
    fn apply(&mut self, op: &Op) -> Result<(), MapError> {
        let result = self.inner.apply(op);
        let now = fates(&self.inner.dump()?);
        for (n, now) in now.iter().enumerate() {
            // A wildcard may go a moment after the frontends that it stood beside.
            let gone = matches!(now, Fate::Reject(shunt_common::Reason::UnknownPort) | Fate::Pass);
            let known = [&self.before[n], &self.after[n]].contains(&now);
            assert!(known || gone, "question {n}: {now}, but {} and {}", self.before[n], self.after[n]);
        }
        result
    }
    fn dump(&mut self) -> Result<Actual, MapError> {
        self.inner.dump()
    }
    fn capacity(&self) -> Capacity {
        self.inner.capacity()
    }
}

#[test]
fn no_client_is_let_in_or_kept_out_for_a_moment_while_source_ranges_change() {
    let slice = "---\nkind: EndpointSlice\nmetadata: {name: web-1, labels: {kubernetes.io/service-name: web}}\n\
        addressType: IPv4\nports: [{name: a, port: 8080}, {name: b, port: 8081}]\n\
        endpoints: [{addresses: [10.244.1.1], nodeName: node-1}]\n";
    let cluster = |spec| {
        let mut cluster = Cluster::new(Options::new(NODE));
        let text = format!("{NODE_OBJECT}{}{slice}", service(spec));
        Object::read(&text).into_iter().for_each(|o| cluster.apply(o));
        cluster.settle();
        cluster
    };
    for from in SPECS {
        for to in SPECS {
            for fault in [0, 300] {
                let mut live = cluster(from);
                let after = fates(&cluster(to).store.dump().unwrap());
                let before = fates(&live.store.dump().unwrap());
                Object::read(&service(to)).into_iter().for_each(|o| live.apply(o));
                let mut inner = live.store.clone();
                inner.set_permille(fault);
                let mut asking = Asking { inner, before, after };
                for _ in 0..100 {
                    live.model.retry_pending();
                    live.model.reconcile(&mut asking);
                }
                asking.inner.set_permille(0);
                live.model.retry_pending();
                let report = live.model.reconcile(&mut asking);
                assert_eq!((report.failed, report.retries_due), (vec![], 0), "{from:?} to {to:?}");
                let actual = asking.inner.dump().unwrap();
                assert_eq!(fates(&actual), asking.after, "{from:?} to {to:?}");
                let want = cluster(to).store.dump().unwrap();
                assert_eq!(actual.ranges.len(), want.ranges.len(), "{from:?} to {to:?}");
            }
        }
    }
}
