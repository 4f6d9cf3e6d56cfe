//! Makes a failing cluster small: takes away what it fails without.

use crate::cluster::Cluster;
use crate::common::Object;
use shunt_model::objects::ServiceSpec;

/// The smallest cluster that still fails and that taking away one thing after another leads to.
pub fn shrink(cluster: &Cluster, fails: impl Fn(&Cluster) -> bool) -> Cluster {
    let mut best = cluster.clone();
    loop {
        let Some(smaller) = smaller(&best).into_iter().find(&fails) else { return best };
        best = smaller;
    }
}

/// What a service may do without.
const PLAIN: [fn(&mut ServiceSpec); 3] = [
    |s| (s.session_affinity, s.session_affinity_config) = (None, None),
    |s| s.internal_traffic_policy = None,
    |s| s.external_traffic_policy = None,
];

/// Every cluster that lacks one thing.
fn smaller(cluster: &Cluster) -> Vec<Cluster> {
    let mut all = Vec::new();
    for (index, object) in cluster.objects.iter().enumerate() {
        let mut with = |new: Option<Object>| {
            let mut next = cluster.clone();
            match new {
                Some(new) if new == cluster.objects[index] => return,
                Some(new) => next.objects[index] = new,
                None => drop(next.objects.remove(index)),
            }
            all.push(next);
        };
        match object {
            Object::Node(_) => {}
            Object::Service(s) => {
                with(None);
                let fewer = [
                    fewer(s, |s| s.spec.ports.as_mut()),
                    fewer(s, |s| s.spec.external_ips.as_mut()),
                    fewer(s, |s| s.spec.load_balancer_source_ranges.as_mut()),
                    fewer(s, |s| s.status.load_balancer.as_mut()?.ingress.as_mut()),
                ];
                fewer.into_iter().flatten().for_each(|s| with(Some(Object::Service(s))));
                for plain in PLAIN {
                    let mut next = s.clone();
                    plain(&mut next.spec);
                    with(Some(Object::Service(next)));
                }
            }
            Object::Slice(s) => {
                with(None);
                fewer(s, |s| s.endpoints.as_mut()).into_iter().for_each(|s| with(Some(Object::Slice(s))));
                fewer(s, |s| s.ports.as_mut()).into_iter().for_each(|s| with(Some(Object::Slice(s))));
                let mut plain = s.clone();
                plain.endpoints.iter_mut().flatten().for_each(|e| e.hints = None);
                with(Some(Object::Slice(plain)));
            }
            Object::Pod(_) | Object::ServiceCidr(_) => with(None),
        }
    }
    all
}

/// The object without one element of a list.
fn fewer<T: Clone, E>(object: &T, list: impl Fn(&mut T) -> Option<&mut Vec<E>>) -> Vec<T> {
    let count = list(&mut object.clone()).map_or(0, |l| l.len());
    let without = |n: usize| {
        let mut next = object.clone();
        list(&mut next).into_iter().for_each(|l| drop(l.remove(n)));
        next
    };
    (0..count).map(without).collect()
}
