//! Which endpoint goes into which slice: an endpoint stays where it is, few slices change, none has more than 100.

use crate::api::object::{list, text};
use serde_json::Value;
use std::collections::BTreeMap;

/// The most endpoints in one slice.
pub const FULL: usize = 100;

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A new slice with these ports and endpoints.
    Create(Value, Vec<Value>),
    /// New endpoints for the slice of this name.
    Update(String, Vec<Value>),
    /// The slice of this name goes.
    Delete(String),
}

struct Slice {
    name: String,
    endpoints: Vec<Value>,
    changed: bool,
}

/// The steps from the slices of one family (by name) to the endpoints wanted (by ports, then by pod).
///
/// A service without endpoints keeps one empty slice, so that its being empty is known rather than guessed.
pub fn place(mut wanted: BTreeMap<String, BTreeMap<String, Value>>, have: Vec<(String, Value)>) -> Vec<Step> {
    let mut groups: BTreeMap<String, Vec<(String, Value)>> = BTreeMap::new();
    for (name, slice) in have {
        groups.entry(slice["ports"].to_string()).or_default().push((name, slice));
    }
    if wanted.is_empty() {
        let ports = groups.keys().next().cloned().unwrap_or_else(|| "[]".into());
        wanted.insert(ports, BTreeMap::new());
    }
    for ports in wanted.keys() {
        groups.entry(ports.clone()).or_default();
    }
    let mut steps = Vec::new();
    for (ports, slices) in groups {
        let keep_one = wanted.len() == 1 && wanted.contains_key(&ports);
        steps.extend(place_group(&ports, wanted.remove(&ports).unwrap_or_default(), slices, keep_one));
    }
    // New slices before old ones go: a reader never sees fewer endpoints than before and after.
    steps.sort_by_key(|s| matches!(s, Step::Delete(_)));
    steps
}

fn place_group(
    ports: &str,
    mut wanted: BTreeMap<String, Value>,
    have: Vec<(String, Value)>,
    keep_one: bool,
) -> Vec<Step> {
    let mut slices: Vec<Slice> =
        have.into_iter().map(|(name, slice)| keep(name, &slice, &mut wanted)).collect();
    let mut rest = wanted.into_values();
    // Slices that change anyway take new endpoints first.
    slices.sort_by_key(|s| !s.changed);
    for slice in &mut slices {
        let room = FULL.saturating_sub(slice.endpoints.len());
        let before = slice.endpoints.len();
        slice.endpoints.extend(rest.by_ref().take(room));
        slice.changed |= slice.endpoints.len() != before;
    }
    let mut left = slices.iter().filter(|s| !s.endpoints.is_empty()).count();
    let mut steps = Vec::new();
    for slice in slices {
        if slice.endpoints.is_empty() && (left > 0 || rest.len() > 0 || !keep_one) {
            steps.push(Step::Delete(slice.name));
        } else {
            left += usize::from(slice.endpoints.is_empty());
            if slice.changed {
                steps.push(Step::Update(slice.name, slice.endpoints));
            }
        }
    }
    let ports: Value = serde_json::from_str(ports).unwrap_or_default();
    let mut create = |endpoints| steps.push(Step::Create(ports.clone(), endpoints));
    if rest.len() == 0 && left == 0 && keep_one {
        create(Vec::new());
    }
    while rest.len() > 0 {
        create(rest.by_ref().take(FULL).collect());
    }
    steps
}

/// The part of a slice that is still wanted, in its new state; what it holds is no longer to be placed.
fn keep(name: String, slice: &Value, wanted: &mut BTreeMap<String, Value>) -> Slice {
    let old = list(slice, "/endpoints");
    let endpoints: Vec<Value> =
        old.iter().filter_map(|e| wanted.remove(text(e, "/targetRef/name"))).collect();
    let changed = endpoints != old;
    Slice { name, endpoints, changed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PORTS: &str = r#"[{"port":80}]"#;

    fn endpoint(n: usize) -> Value {
        json!({"targetRef": {"name": format!("p{n:03}")}})
    }

    fn wanted(pods: impl IntoIterator<Item = usize>) -> BTreeMap<String, BTreeMap<String, Value>> {
        let pods = pods.into_iter().map(|n| (format!("p{n:03}"), endpoint(n))).collect();
        BTreeMap::from([(PORTS.to_owned(), pods)])
    }

    fn slice(name: &str, pods: impl IntoIterator<Item = usize>) -> (String, Value) {
        let endpoints: Vec<Value> = pods.into_iter().map(endpoint).collect();
        (name.into(), json!({"ports": [{"port": 80}], "endpoints": endpoints}))
    }

    #[test]
    fn two_hundred_and_fifty_endpoints_make_three_slices() {
        let sizes: Vec<usize> = place(wanted(0..250), vec![])
            .into_iter()
            .map(|s| match s {
                Step::Create(_, e) => e.len(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(sizes, [100, 100, 50]);
    }

    #[test]
    fn a_change_writes_one_slice_and_nothing_else_moves() {
        let have = || vec![slice("a", 0..100), slice("b", 100..200), slice("c", 200..250)];
        assert_eq!(place(wanted(0..250), have()), []);
        let swapped = place(wanted((0..250).filter(|n| *n != 150).chain([999])), have());
        let [Step::Update(name, endpoints)] = &swapped[..] else { panic!("{swapped:?}") };
        assert_eq!((name.as_str(), endpoints.len()), ("b", 100));
        assert!(endpoints.contains(&endpoint(999)) && !endpoints.contains(&endpoint(150)));
    }

    #[test]
    fn the_last_slice_stays_empty_and_the_others_go() {
        let steps = place(BTreeMap::new(), vec![slice("a", 0..1), slice("b", 1..2)]);
        assert_eq!(steps, [Step::Update("a".into(), vec![]), Step::Delete("b".into())]);
        assert_eq!(place(BTreeMap::new(), vec![]), [Step::Create(json!([]), vec![])]);
        assert_eq!(place(BTreeMap::new(), vec![slice("a", 0..0)]), []);
    }

    #[test]
    fn other_ports_are_another_slice() {
        let old = ("a".to_owned(), json!({"ports": [{"port": 81}], "endpoints": [endpoint(1)]}));
        let steps = place(wanted([1]), vec![old]);
        assert_eq!(steps, [Step::Create(json!([{"port": 80}]), vec![endpoint(1)]), Step::Delete("a".into())]);
    }
}
