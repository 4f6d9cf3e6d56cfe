//! An agent that cannot work says why and what to do, in one line, and leaves nothing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use shunt_lab::agent::binary;
use shunt_lab::cluster::Lab;
use shunt_lab::patience;
use shunt_lab::topology::{Style, Topology};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn a_refusal_to_start_is_one_clear_message() {
    let lab = Lab::up(Topology { nodes: 1, pods: 1, ..Topology::new("refusals", Style::Bridge) }).unwrap();
    let node = Node::new(&lab);
    wrong_settings(&node);
    a_node_that_lacks_something(&node);
    without_privileges(&node);
    what_is_not_reached_or_not_free(&node);
}

/// What makes a system one without certificate authorities, as a container with nothing but our binary is, given an empty
/// folder.
fn no_authorities(folder: &Path) -> [(String, String); 2] {
    [("SSL_CERT_FILE", Path::new("/dev/null")), ("SSL_CERT_DIR", folder)]
        .map(|(name, path)| (name.into(), path.display().to_string()))
}

#[test]
fn an_api_server_without_tls_needs_no_certificate_authorities() {
    let topology = Topology { nodes: 1, pods: 1, ..Topology::new("bare", Style::Bridge) };
    let mut lab = Lab::without_agents(topology).unwrap();
    let folder = lab.dir().join("nothing");
    fs::create_dir_all(&folder).unwrap();
    let agent = &mut lab.nodes[0].agent;
    agent.env = no_authorities(&folder).to_vec();
    agent.start().unwrap();
    agent.wait_ready(patience::seconds(30)).unwrap();
}

/// A node with an agent, on which others are started that must refuse.
struct Node<'a> {
    lab: &'a Lab,
    /// An empty folder.
    dir: PathBuf,
}

impl<'a> Node<'a> {
    fn new(lab: &'a Lab) -> Self {
        let dir = lab.dir().join("nothing");
        fs::create_dir_all(&dir).unwrap();
        Self { lab, dir }
    }

    fn dir(&self) -> String {
        self.dir.display().to_string()
    }

    fn bpf(&self) -> PathBuf {
        self.lab.dir().join("bpf/other")
    }

    /// Starts an agent that would come up but for `more` and for what `wrapper` (a command and its arguments) takes from
    /// it; holds its exit code against `code` and what it says against `words`.
    fn refuses_under(&self, wrapper: &[&str], code: i32, more: &[&str], words: &[&str]) {
        let run = self.dir.join("run").display().to_string();
        let (bpf, cgroup) =
            (self.bpf().display().to_string(), self.lab.nodes[0].agent.cgroup_root.display().to_string());
        // One that comes up instead does not end.
        let limit = ["timeout", "--signal=KILL", "20"];
        let mut line: Vec<OsString> = limit.iter().chain(wrapper).map(OsString::from).collect();
        line.extend([binary().unwrap().into(), "agent".into()]);
        let base =
            [("--node-name", "x"), ("--run-dir", &run), ("--bpf-root", &bpf), ("--cgroup-root", &cgroup)];
        let missing = base.iter().filter(|(flag, _)| !more.contains(flag));
        line.extend(missing.flat_map(|(flag, value)| [flag.into(), value.into()]));
        if !more.contains(&"--kubeconfig") {
            line.extend(["--manifests".into(), self.dir.clone().into()]);
        }
        line.extend(more.iter().map(OsString::from));
        let done = self.lab.nodes[0].host.command(&line[0]).unwrap().args(&line[1..]).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{more:?}: {said}");
        assert!(said.starts_with("shunt: ") && said.lines().count() == 1, "{more:?}: one line, not:\n{said}");
        assert_eq!(String::from_utf8_lossy(&done.stdout), "", "{more:?}");
        for word in words {
            assert!(said.contains(word), "{more:?}: no {word:?} in: {said}");
        }
        assert!(!self.bpf().exists() && !self.dir.join("run").exists(), "{more:?}: something was made");
    }

    fn refuses(&self, code: i32, more: &[&str], words: &[&str]) {
        self.refuses_under(&[], code, more, words);
    }
}

fn wrong_settings(node: &Node<'_>) {
    node.refuses(2, &["--set", "nodePort.rnage=1-2"], &["nodePort.rnage", "did you mean nodePort.range?"]);
    node.refuses(2, &["--set", "loadBalancer.mode=fast"], &["loadBalancer.mode", "snat"]);
    node.refuses(1, &["--set", "nodePort.range=30000-65535"], &["nodePort.range", "SNAT", "65518"]);
    node.refuses(1, &["--set", "nodePort.range=30000-65530"], &["nodePort.range", "SNAT", "65518"]);
    let file = node.dir.join("shunt.yaml");
    let path = file.display().to_string();
    fs::write(&file, "# ours\nnodePort:\n  enabled: true\n  rnage: 1-2\n").unwrap();
    let words = [&format!("{path}:4: nodePort.rnage: "), "did you mean nodePort.range?"];
    node.refuses(2, &["--config", &path], &words);
    fs::write(&file, "loadBalancer:\n  mode: fast\n").unwrap();
    node.refuses(2, &["--config", &path], &[&format!("{path}:2: loadBalancer.mode: "), "snat"]);
    fs::write(&file, "a: [1").unwrap();
    node.refuses(2, &["--config", &path], &[&path, "is not YAML"]);
    fs::remove_file(&file).unwrap();
    node.refuses(2, &["--config", &path], &[&path, "cannot be read"]);
}

fn a_node_that_lacks_something(node: &Node<'_>) {
    let dir = node.dir();
    let words = [&format!("{dir} is not on a BPF file system"), "mount -t bpf", "--bpf-root"];
    node.refuses(1, &["--bpf-root", &dir], &words);
    for missing in ["", "/not-there"] {
        let path = format!("{dir}{missing}");
        let words = [
            &format!("{path} is not a cgroup v2 directory"),
            &*format!("mount -t cgroup2 none {path}"),
            "set --cgroup-root",
        ];
        node.refuses(1, &["--cgroup-root", &path], &words);
    }
}

/// By their numbers: util-linux may be older than their names.
fn without_privileges(node: &Node<'_>) {
    let all = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"];
    let words = ["missing capability CAP_BPF and CAP_PERFMON and CAP_NET_ADMIN: ", "run as root, or grant"];
    node.refuses_under(&all, 1, &[], &words);
    let some = ["setpriv", "--bounding-set", "-cap_39,-cap_21", "--inh-caps", "-all"];
    node.refuses_under(&some, 1, &[], &["missing capability CAP_BPF: "]);
    let net = ["setpriv", "--bounding-set", "-cap_12", "--inh-caps", "-all"];
    node.refuses_under(&net, 1, &[], &["missing capability CAP_NET_ADMIN: "]);
}

fn what_is_not_reached_or_not_free(node: &Node<'_>) {
    let missing = node.dir.join("kubeconfig").display().to_string();
    node.refuses(1, &["--kubeconfig", &missing], &["kubeconfig ", &missing]);
    let public = node.lab.dir().join("public").display().to_string();
    let cluster = "clusters: [{name: a, cluster: {server: \"https://127.0.0.1:1\"}}]";
    let context =
        "contexts: [{name: a, context: {cluster: a, user: a}}]\nusers: [{name: a, user: {token: x}}]";
    fs::write(&public, format!("current-context: a\n{cluster}\n{context}\n")).unwrap();
    let words = ["127.0.0.1:1", "certificate-authority in the kubeconfig", "ca-certificates"];
    let bare = no_authorities(&node.dir).map(|(name, value)| format!("{name}={value}"));
    node.refuses_under(&["env", &bare[0], &bare[1]], 1, &["--kubeconfig", &public], &words);
    let taken = node.lab.nodes[0].agent.run_dir.display().to_string();
    node.refuses(1, &["--run-dir", &taken], &["another agent answers on ", &taken, "stop it first"]);
}
