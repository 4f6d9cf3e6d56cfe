//! A stand-in for a cloud's load balancer controller: gives services of type LoadBalancer an ingress address of each
//! family, and takes it back.

use super::{
    admit::Rules,
    alloc::{Alloc, Claims},
    crud::Target,
    kinds::Kind,
    object::{Key, Object, list, text},
    shared::Shared,
    store::Change,
};
use ipnet::IpNet;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::Arc,
    thread::{self, JoinHandle},
};

/// Starts the controller; it ends when the API does.
pub fn start(shared: Arc<Shared>, cidrs: Vec<IpNet>) -> io::Result<JoinHandle<()>> {
    let changes = shared.listen();
    // No node ports are drawn here; the range is never used.
    let mut balancer = Balancer { pool: Alloc::new(cidrs, 1..=1), given: HashMap::new() };
    thread::Builder::new().name("lab-balancer".into()).spawn(move || {
        for change in changes {
            if change.kind == Kind::Service {
                balancer.follow(&shared, &change);
            }
            shared.dealt_with(1);
        }
    })
}

struct Balancer {
    pool: Alloc,
    given: HashMap<Key, Vec<IpAddr>>,
}

impl Balancer {
    fn follow(&mut self, shared: &Shared, change: &Change) {
        let Some(object) = change.new.as_ref().or(change.old.as_ref()) else { return };
        let service = change.new.as_ref().map(Object::value).filter(is_ours);
        let key = object.meta.key.clone();
        let had = self.given.remove(&key).unwrap_or_default();
        let now = service.as_ref().map(|s| self.addresses(s, &had)).unwrap_or_default();
        let claims = |ips: &[IpAddr]| Claims { ips: ips.to_vec(), ports: Vec::new() };
        self.pool.replace(&key, &claims(&had), &claims(&now));
        if !now.is_empty() {
            self.given.insert(key.clone(), now.clone());
        }
        if now != had || service.is_some() {
            write(shared, &key, &now);
        }
    }

    /// One address for each family of the service; those it has are kept, and `spec.loadBalancerIP` is honoured.
    fn addresses(&mut self, service: &Value, had: &[IpAddr]) -> Vec<IpAddr> {
        let wish = text(service, "/spec/loadBalancerIP").parse::<IpAddr>().ok();
        let mut ips = Vec::new();
        for family in list(service, "/spec/ipFamilies") {
            let v6 = family == "IPv6";
            let kept = had.iter().copied().find(|ip| ip.is_ipv6() == v6);
            let wished = wish.filter(|ip| ip.is_ipv6() == v6);
            ips.extend(wished.or(kept).or_else(|| self.pool.pick_ip(v6)));
        }
        ips
    }
}

/// A service with a class of its own waits for another controller.
fn is_ours(service: &Value) -> bool {
    text(service, "/spec/type") == "LoadBalancer" && service.pointer("/spec/loadBalancerClass").is_none()
}

fn write(shared: &Shared, (namespace, name): &Key, ips: &[IpAddr]) {
    let ingress: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip, "ipMode": "VIP"})).collect();
    let status = if ingress.is_empty() { json!({}) } else { json!({"ingress": ingress}) };
    let target = Target { kind: Kind::Service, namespace, name, status: true };
    let change = |value: &mut Value| {
        value["status"]["loadBalancer"] = status;
        Ok(())
    };
    if let Err(error) = shared.modify(target, false, Rules::Inside, change) {
        // Deleted in the meantime: its deletion comes next in the queue and takes the address back.
        tracing::debug!(%namespace, %name, %error, "no load balancer status written");
    }
}
