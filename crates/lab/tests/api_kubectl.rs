//! The real kubectl against the lab's API. A machine without kubectl fails here: `cargo xtask setup` brings it.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod api_support;

use api_support::{Server, eventually, server};
use serde_json::Value;
use shunt_lab::api::{Kind, Options};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};
use tempfile::TempDir;

const MANIFEST: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec:
  type: NodePort
  selector: {app: web}
  ports:
  - {name: dns, port: 53, protocol: UDP}
  - {name: dns-tcp, port: 53}
  - {name: http, port: 80, targetPort: http}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, labels: {app: web}}
spec:
  nodeName: n1
  containers: [{name: c, image: i, ports: [{name: http, containerPort: 8080}]}]
";

struct Kubectl {
    server: Server,
    home: TempDir,
}

impl Kubectl {
    fn new() -> Self {
        let this = Self { server: server(Options::default()), home: tempfile::tempdir().unwrap() };
        fs::write(this.path("web.yaml"), MANIFEST).unwrap();
        let server = format!("http://{}", this.server.address);
        let config = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: lab\nclusters: [{{name: lab, cluster: {{server: \"{server}\"}}}}]\n\
             contexts: [{{name: lab, context: {{cluster: lab, user: lab}}}}]\nusers: [{{name: lab, user: {{}}}}]\n"
        );
        fs::write(this.path("config"), config).unwrap();
        this
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(arguments).current_dir(self.home.path()).env("HOME", self.home.path());
        command.env("KUBECONFIG", self.path("config")).env("KUBECACHEDIR", self.path("cache"));
        command
    }

    fn try_run(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.command(arguments).output();
        let output =
            output.expect("kubectl must be installed (`cargo xtask setup` installs it) and on the PATH");
        let text = [output.stdout, output.stderr].map(|o| String::from_utf8_lossy(&o).into_owned()).concat();
        (output.status.success(), text)
    }

    #[track_caller]
    fn run(&self, line: &str) -> String {
        let arguments: Vec<&str> = line.split(' ').collect();
        let (good, text) = self.try_run(&arguments);
        assert!(good, "kubectl {line}: {text}");
        text
    }

    fn service(&self) -> Value {
        self.server.handle().get(Kind::Service, "default", "web").unwrap()
    }
}

/// The words of each line.
fn words(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|l| l.split_whitespace().collect()).collect()
}

#[test]
fn apply_is_idempotent_and_get_prints_tables() {
    let kubectl = Kubectl::new();
    assert_eq!(kubectl.run("apply -f web.yaml"), "service/web created\npod/web-0 created\n");
    assert_eq!(kubectl.run("apply -f web.yaml"), "service/web unchanged\npod/web-0 unchanged\n");
    let table = kubectl.run("get svc web");
    let rows = words(&table);
    assert_eq!(rows[0], ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"]);
    assert_eq!(
        rows[1][..5],
        ["web", "NodePort", "10.96.0.2", "<none>", "53:30000/UDP,53:30000/TCP,80:30001/TCP"]
    );
    assert!(kubectl.run("get svc web -o wide").contains("app=web"));
    assert_eq!(kubectl.run("get svc web -o jsonpath={.spec.ports[2].targetPort}"), "http");
    assert!(kubectl.run("get svc web -o yaml").contains("clusterIP: 10.96.0.2"));
    assert!(kubectl.run("get all,endpointslices,nodes,ns,cm -A").contains("service/web"));
    let changed = MANIFEST.replace("port: 80,", "port: 81,");
    fs::write(kubectl.path("web.yaml"), changed).unwrap();
    assert_eq!(kubectl.run("apply -f web.yaml"), "service/web configured\npod/web-0 unchanged\n");
    let service = kubectl.service();
    let ports: Vec<&Value> =
        service["spec"]["ports"].as_array().unwrap().iter().map(|p| &p["port"]).collect();
    assert_eq!(ports, [53, 53, 81]);
    assert!(
        kubectl
            .run("apply --server-side --force-conflicts -f web.yaml")
            .contains("service/web serverside-applied")
    );
}

#[test]
fn describe_shows_the_endpoints_of_a_service() {
    let kubectl = Kubectl::new();
    kubectl.run("apply -f web.yaml");
    let status = r#"{"status":{"phase":"Running","podIP":"10.1.0.1","podIPs":[{"ip":"10.1.0.1"}],"conditions":[{"type":"Ready","status":"True"}]}}"#;
    let (good, text) =
        kubectl.try_run(&["patch", "pod", "web-0", "--subresource=status", "--type=merge", "-p", status]);
    assert!(good, "{text}");
    eventually("describe shows the endpoint", || {
        let text = kubectl.run("describe svc web");
        text.contains("10.1.0.1:8080") && text.contains("NodePort:") && text.contains("10.96.0.2")
    });
    assert!(words(&kubectl.run("get pod web-0"))[1].starts_with(&["web-0", "1/1", "Running"]));
    assert!(kubectl.run("get endpointslices").contains("10.1.0.1"));
}

#[test]
fn annotate_label_patch_and_delete_change_the_object() {
    let kubectl = Kubectl::new();
    kubectl.run("apply -f web.yaml");
    kubectl.run("annotate svc web shunt.io/x=y");
    kubectl.run("label svc web tier=front app-");
    let service = kubectl.service();
    assert_eq!(service["metadata"]["annotations"]["shunt.io/x"], "y");
    assert_eq!(service["metadata"]["labels"], serde_json::json!({"tier": "front"}));
    let patch = r#"{"spec":{"sessionAffinity":"ClientIP"}}"#;
    for kind in ["strategic", "merge"] {
        let (good, text) = kubectl.try_run(&["patch", "svc", "web", "--type", kind, "-p", patch]);
        assert!(good, "{text}");
    }
    let replace = r#"[{"op":"replace","path":"/spec/type","value":"ClusterIP"}]"#;
    let (good, text) = kubectl.try_run(&["patch", "svc", "web", "--type=json", "-p", replace]);
    assert!(good, "{text}");
    assert_eq!(kubectl.service()["spec"]["type"], "ClusterIP");
    assert!(kubectl.run("get svc -l tier=front -o name").contains("service/web"));
    kubectl.run("delete -f web.yaml --timeout=20s");
    let (good, text) = kubectl.try_run(&["get", "svc", "web"]);
    assert!(!good && text.contains("Error from server (NotFound): services \"web\" not found"), "{text}");
    let bad = MANIFEST.replace("port: 80,", "port: 80, nodePort: 80,");
    fs::write(kubectl.path("bad.yaml"), bad).unwrap();
    let (good, text) = kubectl.try_run(&["apply", "-f", "bad.yaml"]);
    assert!(
        !good && text.contains("spec.ports[2].nodePort: Invalid value: 80: provided port is not"),
        "{text}"
    );
}

#[test]
fn get_with_w_prints_changes_as_they_come() {
    let kubectl = Kubectl::new();
    kubectl.run("apply -f web.yaml");
    let mut child = kubectl
        .command(&["get", "svc", "-w", "--output-watch-events"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.by_ref().find(|l| l.contains("web")).unwrap();
    assert!(first.starts_with("ADDED"), "{first}");
    kubectl.run("annotate svc web a=b");
    kubectl.run("delete svc web");
    let rest: Vec<String> = lines.take(2).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(rest[0].starts_with("MODIFIED") && rest[1].starts_with("DELETED"), "{rest:?}");
    assert!(Path::new(&kubectl.path("config")).exists());
}
