//! What a Service's fields and annotations become in its rows, and what is said about those that make no sense.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Cluster, NODE, Object};
use shunt_common::Frontend;
use shunt_model::{MapStore, Options};

/// The row of the ClusterIP of a service with these annotations and fields of its spec, and all problems.
fn row(annotations: &str, spec: &str) -> (Frontend, Vec<String>) {
    let mut cluster = Cluster::new(Options::new(NODE));
    let text = format!(
        "kind: Service\nmetadata: {{name: web, annotations: {{{annotations}}}}}\n\
         spec: {{clusterIP: 10.96.0.10, ports: [{{port: 80}}], {spec}}}"
    );
    Object::read(&text).into_iter().for_each(|o| cluster.apply(o));
    cluster.settle();
    let actual = cluster.store.dump().unwrap();
    let row = actual.frontends.iter().find(|(key, _)| key.port() == 80).map(|(_, row)| *row).unwrap();
    (row, cluster.model.problems().iter().map(ToString::to_string).collect())
}

#[test]
fn session_affinity_has_a_timeout_from_the_service_or_the_annotation_else_three_hours() {
    let timeout = |seconds| format!("sessionAffinityConfig: {{clientIP: {{timeoutSeconds: {seconds}}}}}");
    for (annotations, spec, want) in [
        ("", String::new(), 0),
        ("", "sessionAffinity: None".into(), 0),
        ("", "sessionAffinity: ClientIP".into(), 10_800),
        ("", format!("sessionAffinity: ClientIP, {}", timeout(1)), 1),
        ("", format!("sessionAffinity: ClientIP, {}", timeout(86_400)), 86_400),
        ("", timeout(60), 0),
        ("service.cilium.io/affinity: client-ip", String::new(), 10_800),
        ("shunt.io/affinity: client-ip, shunt.io/affinity-timeout: '60'", String::new(), 60),
        ("service.cilium.io/affinity-timeout: '60'", "sessionAffinity: ClientIP".into(), 60),
        (
            "service.cilium.io/affinity-timeout: '60', shunt.io/affinity-timeout: '70'",
            "sessionAffinity: ClientIP".into(),
            70,
        ),
        ("service.cilium.io/affinity: local", String::new(), 0),
    ] {
        let (row, problems) = row(annotations, &spec);
        assert_eq!((row.affinity_timeout, problems), (want, vec![]), "{annotations} {spec}");
    }
}

#[test]
fn what_makes_no_sense_is_a_problem_and_its_default_holds() {
    for (annotations, spec, says) in [
        ("", "sessionAffinity: Cookie", "spec.sessionAffinity: \"Cookie\" is unknown"),
        ("", "externalTrafficPolicy: Near", "spec.externalTrafficPolicy: \"Near\" is unknown"),
        ("", "internalTrafficPolicy: Near", "spec.internalTrafficPolicy: \"Near\" is unknown"),
        ("shunt.io/affinity: cookie", "", "annotation shunt.io/affinity: \"cookie\" is unknown"),
    ] {
        let (row, problems) = row(annotations, spec);
        assert_eq!(row.affinity_timeout, 0);
        assert!(problems.len() == 1 && problems[0].contains(says), "{problems:?}");
        assert!(problems[0].starts_with("Service default/web: "), "{problems:?}");
    }
    for seconds in ["0", "86401", "-1", "soon"] {
        let (row, problems) =
            row(&format!("shunt.io/affinity-timeout: '{seconds}'"), "sessionAffinity: ClientIP");
        assert_eq!(row.affinity_timeout, 10_800);
        assert!(problems[0].contains("is not in 1-86400"), "{problems:?}");
    }
}
