//! Who opts out of the socket path.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use serde_json::{Value, json};
use shunt_model::objects::{Kind, Namespace, Pod};
use shunt_model::opt_out::OptOuts;

const LABEL: &str = "shunt.io/socket-lb";

fn pod(namespace: &str, name: &str, label: Option<&str>) -> Value {
    let labels = label.map(|value| json!({LABEL: value})).unwrap_or(json!({}));
    json!({
        "metadata": {"namespace": namespace, "name": name, "uid": format!("uid-{name}"), "labels": labels},
        "spec": {"nodeName": "n1"}, "status": {"phase": "Running"},
    })
}

struct World(OptOuts);

impl World {
    fn new() -> Self {
        Self(OptOuts::new(LABEL, "n1"))
    }

    fn pod(&mut self, value: Value) -> &mut Self {
        self.0.apply_pod(&serde_json::from_value::<Pod>(value).unwrap());
        self
    }

    fn namespace(&mut self, name: &str, label: Option<&str>) -> &mut Self {
        let labels = label.map(|value| json!({LABEL: value})).unwrap_or(json!({}));
        let value = json!({"metadata": {"name": name, "labels": labels}});
        self.0.apply_namespace(&serde_json::from_value::<Namespace>(value).unwrap());
        self
    }

    fn out(&self) -> Vec<&str> {
        self.0.pods().map(|(key, _)| key).collect()
    }

    fn problems(&self) -> Vec<String> {
        self.0.problems().iter().map(ToString::to_string).collect()
    }
}

#[test]
fn a_label_on_the_pod_wins_over_that_of_its_namespace() {
    let mut w = World::new();
    w.pod(pod("mesh", "plain", None)).pod(pod("mesh", "back", Some("enabled")));
    w.pod(pod("shop", "plain", None)).pod(pod("shop", "vm", Some("disabled")));
    assert_eq!(w.out(), ["shop/vm"], "nobody has said anything of the others");
    w.namespace("mesh", Some("disabled")).namespace("shop", Some("enabled"));
    assert_eq!(w.out(), ["mesh/plain", "shop/vm"]);
    w.namespace("mesh", None).pod(pod("shop", "vm", None));
    assert_eq!(w.out(), [""; 0]);
    assert_eq!(w.problems(), [""; 0]);
}

#[test]
fn pods_that_end_go_or_are_elsewhere_have_nothing_to_opt_out_of() {
    let mut w = World::new();
    let with = |at: &str, to: Value| {
        let mut pod = pod("a", "p", Some("disabled"));
        *pod.pointer_mut(at).unwrap() = to;
        pod
    };
    for (at, to) in [
        ("/spec/nodeName", json!("n2")),
        ("/status/phase", json!("Succeeded")),
        ("/status/phase", json!("Failed")),
    ] {
        w.pod(pod("a", "p", Some("disabled")));
        assert_eq!(w.out(), ["a/p"]);
        w.pod(with(at, to));
        assert_eq!(w.out(), [""; 0], "{at}");
    }
    w.pod(pod("a", "p", Some("disabled"))).0.delete(Kind::Pod, "a", "p");
    assert_eq!(w.out(), [""; 0]);
    w.pod(pod("a", "p", None)).namespace("a", Some("disabled"));
    w.0.delete(Kind::Namespace, "", "a");
    assert_eq!(w.out(), [""; 0]);
}

#[test]
fn a_pod_of_the_nodes_network_is_not_one_that_can_opt_out_and_is_told_so() {
    let mut w = World::new();
    let mut host = pod("a", "host", Some("disabled"));
    host["spec"]["hostNetwork"] = true.into();
    w.pod(host.clone());
    assert_eq!(w.out(), [""; 0]);
    assert!(w.problems()[0].contains("Pod a/host: label shunt.io/socket-lb=disabled"), "{:?}", w.problems());
    // By its namespace it is meant no more than the others are harmed.
    host["metadata"]["labels"] = json!({});
    w.pod(host).namespace("a", Some("disabled"));
    assert_eq!((w.out(), w.problems()), (vec![], vec![]));
}

#[test]
fn another_word_in_the_label_is_a_problem_and_counts_for_nothing() {
    let mut w = World::new();
    w.pod(pod("a", "p", Some("off"))).namespace("b", Some("yes")).pod(pod("b", "q", None));
    assert_eq!(w.out(), [""; 0]);
    let problems = w.problems();
    assert!(problems[0].starts_with("Namespace b: label shunt.io/socket-lb: \"yes\""), "{problems:?}");
    assert!(
        problems[1].starts_with("Pod a/p: label") && problems[1].contains("disabled or enabled"),
        "{problems:?}"
    );
    w.namespace("a", Some("disabled"));
    assert_eq!(w.out(), ["a/p"], "the namespace speaks for it then");
    w.pod(pod("a", "p", None)).namespace("b", None);
    assert_eq!(w.problems(), [""; 0]);
}

#[test]
fn a_static_pod_has_the_cgroup_of_its_manifest_and_nobody_that_of_another_pod() {
    let mut w = World::new();
    let mirrors = |hash: &str| {
        let mut pod = pod("a", "static", Some("disabled"));
        pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": hash});
        pod
    };
    w.pod(mirrors("0c9e42b7d5a84f0e9f3a0e5a7be5a0a1"));
    assert_eq!(w.0.pods().collect::<Vec<_>>(), [("a/static", "0c9e42b7d5a84f0e9f3a0e5a7be5a0a1")]);
    for bad in ["3f0f9d3e-8d0b-4a51-9b0c-1d2e3f4a5b6c", "../../x", ""] {
        w.pod(mirrors(bad));
        assert_eq!(w.out(), [""; 0], "{bad:?}");
        assert!(w.problems()[0].starts_with("Pod a/static: "), "{:?}", w.problems());
    }
    let mut nameless = pod("a", "static", Some("disabled"));
    nameless["metadata"]["uid"] = Value::Null;
    w.pod(nameless);
    assert!(w.problems()[0].contains("metadata.uid is missing"), "{:?}", w.problems());
}

#[test]
fn a_list_forgets_what_it_does_not_have_and_only_both_lists_say_who_has_not_opted_out() {
    let mut w = World::new();
    w.0.begin_replace(Kind::Pod);
    w.pod(pod("a", "p", Some("disabled"))).pod(pod("a", "q", Some("disabled")));
    w.0.end_replace(Kind::Pod);
    assert!(!w.0.is_listed());
    w.0.begin_replace(Kind::Namespace);
    w.namespace("b", Some("disabled")).namespace("c", Some("disabled"));
    w.0.end_replace(Kind::Namespace);
    assert!(w.0.is_listed());
    w.pod(pod("b", "r", None)).pod(pod("c", "s", None));
    assert_eq!(w.out(), ["a/p", "a/q", "b/r", "c/s"]);
    w.0.begin_replace(Kind::Namespace);
    w.0.seen(Kind::Namespace, "", "c");
    w.0.end_replace(Kind::Namespace);
    w.0.begin_replace(Kind::Pod);
    w.pod(pod("c", "s", None));
    w.0.seen(Kind::Pod, "a", "q");
    w.0.end_replace(Kind::Pod);
    assert_eq!(w.out(), ["a/q", "c/s"]);
}
