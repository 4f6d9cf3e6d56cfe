//! A pod of this node, as far as it matters here.

use super::word::{OUT, Said, Word};
use crate::Problem;
use crate::objects::{Kind, Meta, Pod};

/// The uid of a static pod, on the Pod that mirrors it in the API and has another one: the kubelet's hash of its manifest.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Why a pod's cgroups cannot be known: what is wrong, and what to do.
type Lost = (String, &'static str);

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PodEntry {
    pub(super) says: Said,
    pub(super) uid: Result<Box<str>, Lost>,
}

impl PodEntry {
    /// `None` when the pod has nothing to opt out of here.
    pub(super) fn new(pod: &Pod, node: &str, label: &str) -> Option<Self> {
        let over = matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed"));
        if over || pod.spec.node_name.as_deref() != Some(node) {
            return None;
        }
        let key = pod.metadata.key();
        let mut says = Said::new(Kind::Pod, &key, &pod.metadata, label);
        if pod.spec.host_network == Some(true) {
            if says.word == Word::Out {
                let what = format!("label {label}={OUT} on a pod of the node's own network");
                let todo = "take it off: the node's sockets are always translated";
                says.problem = Some(Problem::new(Kind::Pod, &key, what, todo));
            }
            // Kept for what is wrong with it alone.
            says.word = Word::In;
            says.problem.as_ref()?;
        }
        Some(Self { says, uid: uid(&pod.metadata) })
    }
}

/// The uid by which the kubelet knows the pod, as a part of directory names.
fn uid(meta: &Meta) -> Result<Box<str>, Lost> {
    let uid = meta.uid.as_deref().unwrap_or_default();
    let name = meta.annotation(MIRROR).unwrap_or(uid);
    if name.is_empty() {
        return Err((
            "metadata.uid is missing: its cgroup cannot be found".into(),
            "add the uid that it has",
        ));
    }
    let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
    if !name.bytes().all(plain) {
        let what = format!("uid {name:?} is none that the kubelet gives: its cgroup cannot be found");
        return Err((what, "correct metadata.uid"));
    }
    // Users can write annotations: a uid that the API server gave to another pod must not stand in one.
    if name != uid && name.contains('-') {
        let what = format!("annotation {MIRROR}: {name:?} is no hash of a manifest");
        return Err((what, "leave that annotation to the kubelet"));
    }
    Ok(name.into())
}
