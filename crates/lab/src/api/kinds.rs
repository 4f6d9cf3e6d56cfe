//! The kinds that the API serves, as one table. Discovery, paths, printing and storage all read it.

/// What the API knows about one kind.
#[derive(Debug, PartialEq, Eq)]
pub struct KindInfo {
    /// API group, empty for the core group.
    pub group: &'static str,
    /// API version within the group.
    pub version: &'static str,
    /// Kind as in `kind:`.
    pub kind: &'static str,
    /// Plural resource name as in URLs.
    pub plural: &'static str,
    /// Singular resource name, as kubectl accepts it.
    pub singular: &'static str,
    /// Short names, as kubectl accepts them.
    pub short: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Whether there is a status subresource.
    pub status: bool,
    /// Whether the API server keeps `metadata.generation` for it.
    pub generation: bool,
    /// Member of `kubectl get all`.
    pub all: bool,
}

/// A kind, as an index into [`KINDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// v1 Service
    Service,
    /// discovery.k8s.io/v1 EndpointSlice
    EndpointSlice,
    /// v1 Node
    Node,
    /// v1 Pod
    Pod,
    /// v1 Namespace
    Namespace,
    /// v1 ConfigMap
    ConfigMap,
    /// v1 Event
    Event,
    /// networking.k8s.io/v1 ServiceCIDR
    ServiceCidr,
}

const fn info(
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short: &'static [&'static str],
) -> KindInfo {
    let version = "v1";
    KindInfo {
        group,
        version,
        kind,
        plural,
        singular,
        short,
        namespaced: true,
        status: false,
        generation: false,
        all: false,
    }
}

/// Every kind, in the order of [`Kind`].
pub const KINDS: [KindInfo; 8] = [
    KindInfo { status: true, all: true, ..info("", "Service", "services", "service", &["svc"]) },
    KindInfo {
        generation: true,
        ..info("discovery.k8s.io", "EndpointSlice", "endpointslices", "endpointslice", &[])
    },
    KindInfo { namespaced: false, status: true, ..info("", "Node", "nodes", "node", &["no"]) },
    KindInfo { status: true, all: true, ..info("", "Pod", "pods", "pod", &["po"]) },
    KindInfo { namespaced: false, status: true, ..info("", "Namespace", "namespaces", "namespace", &["ns"]) },
    info("", "ConfigMap", "configmaps", "configmap", &["cm"]),
    info("", "Event", "events", "event", &["ev"]),
    KindInfo {
        namespaced: false,
        status: true,
        ..info("networking.k8s.io", "ServiceCIDR", "servicecidrs", "servicecidr", &[])
    },
];

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 8] = [
        Kind::Service,
        Kind::EndpointSlice,
        Kind::Node,
        Kind::Pod,
        Kind::Namespace,
        Kind::ConfigMap,
        Kind::Event,
        Kind::ServiceCidr,
    ];

    /// The row of [`KINDS`] for this kind.
    pub fn info(self) -> &'static KindInfo {
        &KINDS[self as usize]
    }

    /// Finds a kind by group and plural name, as they stand in a URL.
    pub fn by_plural(group: &str, version: &str, plural: &str) -> Option<Kind> {
        Self::ALL.into_iter().find(|k| {
            let i = k.info();
            i.group == group && i.version == version && i.plural == plural
        })
    }

    /// Finds a kind by its `apiVersion` and `kind`.
    pub fn by_type(api_version: &str, kind: &str) -> Option<Kind> {
        Self::ALL.into_iter().find(|k| k.info().kind == kind && k.info().api_version() == api_version)
    }
}

impl KindInfo {
    /// `apiVersion` as it stands in an object: `v1` or `group/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.into() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The resource with its group, as error messages name it: `services`, `endpointslices.discovery.k8s.io`.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.into() } else { format!("{}.{}", self.plural, self.group) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for kind in Kind::ALL {
            assert_eq!(Kind::by_type(&kind.info().api_version(), kind.info().kind), Some(kind));
        }
        assert_eq!(Kind::by_plural("discovery.k8s.io", "v1", "endpointslices"), Some(Kind::EndpointSlice));
        assert_eq!(Kind::ServiceCidr.info().kind, "ServiceCIDR");
    }
}
