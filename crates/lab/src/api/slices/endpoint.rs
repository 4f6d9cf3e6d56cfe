//! One pod as an endpoint of one service.

use crate::api::object::{list, text};
use serde_json::{Value, json};
use std::net::IpAddr;

/// The endpoint that a pod is in a family, or `None` when it is none: finished, or without an address there.
pub fn of_pod(service: &Value, pod: &Value, family: &str, zone: Option<&str>) -> Option<Value> {
    if matches!(text(pod, "/status/phase"), "Succeeded" | "Failed") {
        return None;
    }
    let address = address(pod, family == "IPv6")?;
    let conditions = list(pod, "/status/conditions");
    let serving = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
    let terminating = pod.pointer("/metadata/deletionTimestamp").is_some();
    let publish = service.pointer("/spec/publishNotReadyAddresses") == Some(&Value::Bool(true));
    let mut endpoint = json!({
        "addresses": [address],
        "conditions": {"ready": publish || (serving && !terminating), "serving": serving, "terminating": terminating},
        "targetRef": {"kind": "Pod", "namespace": text(pod, "/metadata/namespace"),
            "name": text(pod, "/metadata/name"), "uid": text(pod, "/metadata/uid")},
    });
    let node = text(pod, "/spec/nodeName");
    if !node.is_empty() {
        endpoint["nodeName"] = node.into();
    }
    if let Some(zone) = zone {
        endpoint["zone"] = zone.into();
    }
    Some(endpoint)
}

fn address(pod: &Value, v6: bool) -> Option<String> {
    let many = list(pod, "/status/podIPs").iter().map(|ip| text(ip, "/ip"));
    let mut all = many.chain([text(pod, "/status/podIP")]);
    all.find(|ip| ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6() == v6)).map(str::to_owned)
}

/// The ports of a service on a pod. A named target port that the pod does not have is left out.
pub fn ports(service: &Value, pod: &Value) -> Value {
    let port = |port: &Value| {
        let number = match &port["targetPort"] {
            Value::String(name) => named(pod, name, text(port, "/protocol"))?,
            Value::Number(number) => number.clone().into(),
            _ => port["port"].clone(),
        };
        let mut out =
            json!({"name": text(port, "/name"), "port": number, "protocol": text(port, "/protocol")});
        if let Some(app) = port.get("appProtocol") {
            out["appProtocol"] = app.clone();
        }
        Some(out)
    };
    list(service, "/spec/ports").iter().filter_map(port).collect()
}

fn named(pod: &Value, name: &str, protocol: &str) -> Option<Value> {
    // Sidecars are init containers that keep running; their ports count too.
    let sidecars = list(pod, "/spec/initContainers").iter().filter(|c| c["restartPolicy"] == "Always");
    let ports = list(pod, "/spec/containers").iter().chain(sidecars).flat_map(|c| list(c, "/ports"));
    let protocol_of = |p: &Value| p["protocol"].as_str().unwrap_or("TCP").to_owned();
    let mut fitting = ports.filter(|p| p["name"] == name && protocol_of(p) == protocol);
    fitting.next().map(|p| p["containerPort"].clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(ready: &str, extra: Value) -> Value {
        let mut pod = json!({"metadata": {"name": "p", "namespace": "n"},
            "spec": {"nodeName": "n1", "containers": [{"ports": [{"name": "web", "containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
                "conditions": [{"type": "Ready", "status": ready}]}});
        for (key, value) in extra.as_object().unwrap() {
            *pod.pointer_mut(key).unwrap_or(&mut Value::Null) = value.clone();
        }
        pod
    }

    #[test]
    fn conditions_follow_readiness_deletion_and_publishing() {
        let gone = json!({"/metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let cases = [
            (pod("True", json!({})), false, (true, true, false)),
            (pod("False", json!({})), false, (false, false, false)),
            (pod("False", json!({})), true, (true, false, false)),
            (pod("True", gone.clone()), false, (false, true, true)),
            (pod("True", gone), true, (true, true, true)),
        ];
        for (pod, publish, (ready, serving, terminating)) in cases {
            let service = json!({"spec": {"publishNotReadyAddresses": publish}});
            let endpoint = of_pod(&service, &pod, "IPv4", Some("z")).unwrap();
            let want = json!({"ready": ready, "serving": serving, "terminating": terminating});
            assert_eq!(endpoint["conditions"], want, "{pod}");
            assert_eq!((&endpoint["zone"], &endpoint["nodeName"]), (&"z".into(), &"n1".into()));
        }
    }

    #[test]
    fn addresses_are_per_family_and_finished_pods_have_none() {
        let service = json!({"spec": {}});
        let v6 = of_pod(&service, &pod("True", json!({})), "IPv6", None).unwrap();
        assert_eq!(v6["addresses"], json!(["fd00::1"]));
        let done = pod("True", json!({"/status/phase": "Succeeded"}));
        assert_eq!(of_pod(&service, &done, "IPv4", None), None);
        let bare = pod("True", json!({"/status/podIPs": []}));
        assert_eq!(of_pod(&service, &bare, "IPv4", None), None);
    }

    #[test]
    fn named_target_ports_are_the_pods_own() {
        let port = |target: Value| json!({"spec": {"ports": [{"name": "a", "port": 80, "protocol": "TCP", "targetPort": target}]}});
        let pod = pod("True", json!({}));
        assert_eq!(ports(&port("web".into()), &pod)[0]["port"], 8080);
        assert_eq!(ports(&port(81.into()), &pod)[0]["port"], 81);
        assert_eq!(ports(&port("other".into()), &pod), json!([]));
    }
}
