//! The endpoint-slice controller: slices from services with selectors and from pods.
//!
//! It follows the store's changes in order, keeps an index of what it needs, and works on the services that a change can
//! touch: the cost of a change is the size of the services it belongs to.

mod endpoint;
mod index;
mod placing;

use super::{
    admit::Rules,
    crud::{DeleteOptions, Target},
    kinds::Kind,
    object::{Key, Object, list, text},
    shared::Shared,
    time,
};
use index::Index;
use placing::{Step, place};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    thread::{self, JoinHandle},
};

/// Who made a slice, as its label says.
pub const MANAGER: &str = "endpointslice-controller.k8s.io";
/// Label: the service of a slice.
pub const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// Label: the controller of a slice.
pub const MANAGER_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
/// Label: a slice of a headless service.
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
/// Annotation: when the change happened that a slice shows.
const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Starts the controller; it ends when the API does.
pub fn start(shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let changes = shared.listen();
    thread::Builder::new().name("lab-slices".into()).spawn(move || {
        let mut controller = Controller { shared: &shared, index: Index::default() };
        while let Ok(first) = changes.recv() {
            let (mut dirty, mut count) = (BTreeSet::new(), 1);
            controller.index.follow(&first, &mut dirty);
            while let Ok(change) = changes.try_recv() {
                controller.index.follow(&change, &mut dirty);
                count += 1;
            }
            for service in &dirty {
                controller.reconcile(service);
            }
            shared.dealt_with(count);
        }
    })
}

struct Controller<'a> {
    shared: &'a Arc<Shared>,
    index: Index,
}

impl Controller<'_> {
    /// Makes the slices of one service what they should be.
    fn reconcile(&mut self, key: &Key) {
        let service = self.index.service(key);
        let have = self.index.slices(key);
        let mut steps = Vec::new();
        let families = service.as_ref().map(families).unwrap_or_default();
        for family in &families {
            let service = service.as_ref().expect("only a service has families");
            let wanted = self.endpoints(key, service, family);
            let have = have.iter().filter(|(_, s)| text(s, "/addressType") == *family).cloned().collect();
            steps.extend(place(wanted, have).into_iter().map(|step| (*family, step)));
        }
        for (name, slice) in &have {
            if !families.contains(&text(slice, "/addressType")) {
                steps.push(("", Step::Delete(name.clone())));
            }
        }
        for (family, step) in steps {
            self.take(key, service.as_ref(), family, step);
        }
    }

    /// The endpoints of a service in one family, grouped by what its ports resolve to, each under its pod's name.
    fn endpoints(
        &self,
        key: &Key,
        service: &Value,
        family: &str,
    ) -> BTreeMap<String, BTreeMap<String, Value>> {
        let mut groups: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
        for pod in self.index.pods(key) {
            let zone = self.index.zone(text(&pod, "/spec/nodeName"));
            if let Some(endpoint) = endpoint::of_pod(service, &pod, family, zone) {
                let ports = endpoint::ports(service, &pod).to_string();
                groups.entry(ports).or_default().insert(text(&pod, "/metadata/name").to_owned(), endpoint);
            }
        }
        groups
    }

    fn take(&mut self, key: &Key, service: Option<&Value>, family: &str, step: Step) {
        let (kind, namespace) = (Kind::EndpointSlice, &*key.0);
        let done = match (step, service) {
            (Step::Delete(name), _) => {
                self.index.forget_slice(key, &name);
                let target = Target { kind, namespace, name: &name, status: false };
                self.shared.delete(target, &DeleteOptions::default(), false).map(|_| None)
            }
            (Step::Update(name, endpoints), _) => {
                let target = Target { kind, namespace, name: &name, status: false };
                let change = |slice: &mut Value| {
                    slice["endpoints"] = endpoints.into();
                    slice["metadata"]["annotations"][TRIGGER] = time::precise_stamp().into();
                    Ok(())
                };
                self.shared.modify(target, false, Rules::Inside, change).map(Some)
            }
            (Step::Create(ports, endpoints), Some(service)) => {
                let slice = new_slice(key, service, family, ports, endpoints);
                self.shared.create(kind, namespace, slice, Rules::Inside, false).map(Some)
            }
            (Step::Create(..), None) => return,
        };
        match done {
            Ok(Some(object)) => self.index.remember_slice(key, object),
            Ok(None) => {}
            // Somebody else changed or removed it; that change is in the queue and brings us here again.
            Err(error) => tracing::debug!(namespace, %error, "a slice was not written"),
        }
    }
}

/// The families whose slices the controller keeps: none without a selector.
fn families(service: &Value) -> Vec<&'static str> {
    let selector =
        service.pointer("/spec/selector").and_then(Value::as_object).is_some_and(|s| !s.is_empty());
    if !selector || text(service, "/spec/type") == "ExternalName" {
        return Vec::new();
    }
    let families = list(service, "/spec/ipFamilies");
    families.iter().map(|f| if f == "IPv6" { "IPv6" } else { "IPv4" }).collect()
}

fn new_slice(
    (namespace, name): &Key,
    service: &Value,
    family: &str,
    ports: Value,
    endpoints: Vec<Value>,
) -> Value {
    let mut labels =
        service["metadata"].get("labels").filter(|l| l.is_object()).cloned().unwrap_or_else(|| json!({}));
    labels[SERVICE_LABEL] = (**name).into();
    labels[MANAGER_LABEL] = MANAGER.into();
    if super::services::is_headless(service) {
        labels[HEADLESS_LABEL] = "".into();
    }
    let owner = json!({"apiVersion": "v1", "kind": "Service", "name": **name, "uid": service["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true});
    json!({"metadata": {"generateName": format!("{name}-"), "namespace": **namespace, "labels": labels,
            "annotations": {TRIGGER: time::precise_stamp()}, "ownerReferences": [owner]},
        "addressType": family, "ports": ports, "endpoints": endpoints})
}

/// Whether this controller made a slice, and for which service.
fn ours(slice: &Object) -> Option<Key> {
    let labels = &slice.meta.labels;
    let service = labels.get(SERVICE_LABEL)?;
    (labels.get(MANAGER_LABEL)? == MANAGER).then(|| (slice.meta.key.0.clone(), service.as_str().into()))
}
