//! Topology hints: which endpoints a node uses (rule 1 of kube-proxy's contract, KEP-2433 and KEP-3015).

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Cluster, NODE, Object};
use shunt_model::{MapStore, Options};

/// An endpoint: its state (`r`eady, `t`erminating and serving, `u`nready), zones and nodes that its hints name.
type Row<'a> = (char, &'a [&'a str], &'a [&'a str]);

fn slice(rows: &[Row<'_>]) -> String {
    let hints =
        |names: &[&str]| names.iter().map(|n| format!("{{name: {n}}}")).collect::<Vec<_>>().join(", ");
    let mut text = String::from(
        "kind: EndpointSlice\nmetadata: {name: web-1, labels: {kubernetes.io/service-name: web}}\n\
         addressType: IPv4\nports: [{port: 8080}]\nendpoints:\n",
    );
    for (n, (state, zones, nodes)) in rows.iter().enumerate() {
        let conditions = match state {
            'r' => "{ready: true}",
            't' => "{ready: false, serving: true, terminating: true}",
            _ => "{ready: false}",
        };
        text += &format!(
            "- {{addresses: [10.244.2.{}], conditions: {conditions}, hints: {{forZones: [{}], forNodes: [{}]}}}}\n",
            n + 1,
            hints(zones),
            hints(nodes)
        );
    }
    text
}

/// The last bytes of the addresses of the backends that a client of the ClusterIP may get.
fn picked(zone: &str, rows: &[Row<'_>], topology: bool) -> Vec<u8> {
    let mut options = Options::new(NODE);
    options.service_topology = topology;
    let mut cluster = Cluster::new(options);
    let node =
        format!("kind: Node\nmetadata: {{name: {NODE}, labels: {{topology.kubernetes.io/zone: {zone}}}}}");
    let service = "kind: Service\nmetadata: {name: web}\nspec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}";
    for object in Object::read(&format!("{service}\n---\n{}\n---\n{node}", slice(rows))) {
        cluster.apply(object);
    }
    cluster.settle();
    backends(&mut cluster)
}

fn backends(cluster: &mut Cluster) -> Vec<u8> {
    let actual = cluster.store.dump().unwrap();
    let row = actual.frontends.values().find(|r| r.pools[1].len > 0).unwrap();
    let slots = row.pools[1].offset..row.pools[1].offset + row.pools[1].len;
    let last = |slot| std::net::Ipv4Addr::from(actual.backends4[&actual.slots[&slot]].addr).octets()[3];
    let mut found: Vec<u8> = slots.map(last).collect();
    found.sort_unstable();
    found
}

#[test]
fn hints_choose_the_near_endpoints_only_when_every_ready_one_has_some() {
    let rows: &[(&str, &[Row<'_>], &[u8])] = &[
        ("no hints: all", &[('r', &[], &[]), ('r', &[], &[])], &[1, 2]),
        ("a zone hint for us", &[('r', &["a"], &[]), ('r', &["b"], &[])], &[1]),
        ("several zones in one hint", &[('r', &["b", "a"], &[]), ('r', &["b"], &[])], &[1]),
        ("one ready endpoint without a hint: all", &[('r', &["a"], &[]), ('r', &[], &[])], &[1, 2]),
        ("one unready endpoint without a hint does not count", &[('r', &["a"], &[]), ('u', &[], &[])], &[1]),
        ("no hint for our zone: all", &[('r', &["b"], &[]), ('r', &["c"], &[])], &[1, 2]),
        ("a node hint for us", &[('r', &["b"], &["node-1"]), ('r', &["a"], &["node-2"])], &[1]),
        (
            "node hints for others only: by zone",
            &[('r', &["a"], &["node-3"]), ('r', &["b"], &["node-2"])],
            &[1],
        ),
        (
            "not every endpoint has a node hint: by zone",
            &[('r', &["b"], &["node-1"]), ('r', &["a"], &[])],
            &[2],
        ),
        (
            "neither node nor zone names us: all",
            &[('r', &["b"], &["node-2"]), ('r', &["b"], &["node-3"])],
            &[1, 2],
        ),
        (
            "none ready: those that terminate, whatever their hints",
            &[('t', &["b"], &[]), ('t', &["a"], &[])],
            &[1, 2],
        ),
        ("a terminating one is not used while one is ready", &[('r', &["b"], &[]), ('t', &["a"], &[])], &[1]),
    ];
    for (what, endpoints, want) in rows {
        assert_eq!(picked("a", endpoints, true), *want, "{what}");
    }
}

#[test]
fn a_node_without_a_zone_uses_all_endpoints() {
    assert_eq!(picked("\"\"", &[('r', &["a"], &[]), ('r', &["b"], &[])], true), [1, 2]);
}

#[test]
fn load_balancer_service_topology_off_ignores_hints() {
    assert_eq!(picked("a", &[('r', &["a"], &[]), ('r', &["b"], &[])], false), [1, 2]);
}

#[test]
fn a_node_that_changes_its_zone_uses_the_endpoints_of_the_new_one() {
    let mut cluster = Cluster::new(Options::new(NODE));
    let service = "kind: Service\nmetadata: {name: web}\nspec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}";
    let rows = slice(&[('r', &["a"], &[]), ('r', &["b"], &[])]);
    Object::read(&format!("{service}\n---\n{rows}")).into_iter().for_each(|o| cluster.apply(o));
    cluster.settle();
    assert_eq!(backends(&mut cluster), [1, 2]);
    for (zone, want) in [("a", 1), ("b", 2)] {
        let node = format!(
            "kind: Node\nmetadata: {{name: {NODE}, labels: {{topology.kubernetes.io/zone: {zone}}}}}"
        );
        Object::read(&node).into_iter().for_each(|o| cluster.apply(o));
        cluster.settle();
        assert_eq!(backends(&mut cluster), [want]);
    }
}

#[test]
fn a_backends_row_has_the_number_of_its_zone_which_a_restart_does_not_change() {
    let text = |rows: &[(u8, &str)]| {
        let mut text = String::from(
            "kind: EndpointSlice\nmetadata: {name: web-1, labels: {kubernetes.io/service-name: web}}\n\
             addressType: IPv4\nports: [{port: 8080}]\nendpoints:\n",
        );
        for (n, zone) in rows {
            text += &format!("- {{addresses: [10.244.2.{n}], zone: {zone}}}\n");
        }
        text
    };
    let mut cluster = Cluster::new(Options::new(NODE));
    let service =
        "kind: Service\nmetadata: {name: web}\nspec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}\n---\n";
    let rows = [(1, "zone-a"), (2, "zone-b"), (3, "zone-a"), (4, "''")];
    Object::read(&format!("{service}{}", text(&rows))).into_iter().for_each(|o| cluster.apply(o));
    cluster.settle();
    let zones = |cluster: &mut Cluster| -> Vec<u16> {
        let mut rows: Vec<_> = cluster.store.dump().unwrap().backends4.into_values().collect();
        rows.sort_by_key(|row| std::net::Ipv4Addr::from(row.addr));
        rows.iter().map(|row| row.zone).collect()
    };
    let before = zones(&mut cluster);
    assert!(before[0] == before[2] && before[0] != before[1] && before[..3].iter().all(|z| *z != 0));
    assert_eq!(before[3], 0);
    // The other way round, so that the zones are met in another order.
    let turned: Vec<_> = rows.into_iter().rev().collect();
    cluster.objects.retain(|(kind, _), _| *kind != shunt_model::objects::Kind::EndpointSlice);
    let slice = Object::read(&text(&turned)).remove(0);
    cluster.objects.insert(slice.key(), slice);
    cluster.restart();
    cluster.relist();
    assert_eq!(cluster.reconcile().ops, 0, "nothing to write anew");
    assert_eq!(zones(&mut cluster), before);
}

/// Labels of nodes change all the time, and most are no business of services.
#[test]
fn a_label_of_the_node_costs_what_asks_about_it() {
    let mut cluster = common::Cluster::new(shunt_model::Options::new(common::NODE));
    for n in 0..20 {
        cluster.apply(common::service(n));
        cluster.apply(common::slice(n, 10));
    }
    let asking = "kind: Service\nmetadata: {name: asking, annotations: {shunt.io/node-selector: disk=ssd}}\n\
                  spec: {clusterIP: 10.96.9.9, ports: [{port: 80}]}";
    let node = |labels: &str| {
        format!(
            "kind: Node\nmetadata: {{name: {}, labels: {{{labels}}}}}\n\
             status: {{addresses: [{{type: InternalIP, address: 192.168.0.1}}]}}",
            common::NODE
        )
    };
    let apply = |cluster: &mut common::Cluster, yaml: &str| {
        common::Object::read(yaml).into_iter().for_each(|object| cluster.apply(object));
    };
    apply(&mut cluster, &node("disk: ssd"));
    apply(&mut cluster, asking);
    cluster.relist();
    cluster.settle();
    apply(&mut cluster, &node("disk: ssd, kernel: new"));
    assert_eq!(cluster.reconcile().services, 1, "the one that asks about labels");
    assert_eq!(cluster.reconcile().ops, 0);
    apply(&mut cluster, &node("disk: hdd"));
    let report = cluster.reconcile();
    assert_eq!((report.services, report.ops > 0), (1, true), "it is served here no more");
}
