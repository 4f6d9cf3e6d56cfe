//! `networking.k8s.io/v1` ServiceCIDR.

use super::Meta;
use serde::{Deserialize, Serialize};

/// A ServiceCIDR: ranges that the API server gives ClusterIPs from (KEP-1880).
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceCidr {
    /// Its name.
    pub metadata: Meta,
    /// The ranges.
    pub spec: ServiceCidrSpec,
}

/// `ServiceCIDRSpec`.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceCidrSpec {
    /// At most one of each family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cidrs: Option<Vec<String>>,
}
