//! A lab as a value.

use std::fmt;
use std::str::FromStr;

/// How pods of different nodes reach each other: what the CNI beside Shunt does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// A veth and a host route for each pod; the underlay routes pod networks.
    Routed,
    /// A bridge on each node; the underlay routes pod networks.
    Bridge,
    /// A bridge on each node and a VXLAN overlay between them; the underlay knows no pods.
    Vxlan,
}

impl Style {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Routed, Self::Bridge, Self::Vxlan];
}

impl fmt::Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Routed => "routed",
            Self::Bridge => "bridge",
            Self::Vxlan => "vxlan",
        })
    }
}

impl FromStr for Style {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|style| style.to_string() == text)
            .ok_or_else(|| format!("{text:?} is no style; allowed: routed, bridge, vxlan"))
    }
}

/// The address families that a lab has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Families {
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
    /// Both.
    Both,
}

impl Families {
    /// Each of them: whether it is IPv6.
    pub const fn each(self) -> &'static [bool] {
        match self {
            Self::V4 => &[false],
            Self::V6 => &[true],
            Self::Both => &[false, true],
        }
    }

    /// Whether the family that parts of a lab talk to each other by is IPv6: only when there is no other.
    pub fn first_is_v6(self) -> bool {
        self == Self::V6
    }

    /// Those of two things, the IPv4 one first, that a lab of these families has.
    pub fn of<T: Clone>(self, both: &[T; 2]) -> Vec<T> {
        self.each().iter().map(|v6| both[usize::from(*v6)].clone()).collect()
    }
}

impl FromStr for Families {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "v4" => Ok(Self::V4),
            "v6" => Ok(Self::V6),
            "both" => Ok(Self::Both),
            _ => Err(format!("{text:?} names no families; allowed: v4, v6, both")),
        }
    }
}

/// The shape of a lab.
#[derive(Clone, Debug)]
pub struct Topology {
    /// Name; two labs on one machine need two.
    pub name: String,
    /// Number of nodes.
    pub nodes: usize,
    /// Pods on each node.
    pub pods: usize,
    /// What the CNI does.
    pub style: Style,
    /// Address families.
    pub families: Families,
    /// Devices of each node that face the network; each hangs on an underlay of its own.
    pub devices: usize,
    /// MTU of the underlay, in bytes; IPv6 wants 1280, and 50 or 70 more below an overlay.
    pub mtu: u32,
}

impl Topology {
    /// Three nodes of two pods, both families, one device.
    pub fn new(name: impl Into<String>, style: Style) -> Self {
        let (families, devices) = (Families::Both, 1);
        Self { name: name.into(), nodes: 3, pods: 2, style, families, devices, mtu: 1500 }
    }

    /// Says what is wrong with a shape that cannot be built.
    pub fn check(&self) -> Result<(), String> {
        let name = self.name.as_str();
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 40 || !name.chars().all(word) {
            return Err(format!("{name:?} is no name for a lab: up to 40 of a-z, 0-9 and -"));
        }
        let limits = [
            ("nodes", self.nodes, 1, 200),
            ("pods on a node", self.pods, 0, 200),
            ("devices on a node", self.devices, 1, 9),
            ("bytes of MTU", self.mtu as usize, 1350, 65_535),
        ];
        match limits.into_iter().find(|(_, n, least, most)| n < least || n > most) {
            Some((what, n, least, most)) => Err(format!("{n} {what}: allowed are {least} to {most}")),
            None => Ok(()),
        }
    }

    /// One line for `ip -batch` for each family; the argument says whether it is IPv6.
    pub fn lines(&self, line: impl Fn(bool) -> String) -> Vec<String> {
        self.families.each().iter().map(|v6| line(*v6)).collect()
    }

    /// The name of one of its network namespaces.
    pub fn netns(&self, what: &str) -> String {
        format!("{}{what}", netns_prefix(&self.name))
    }
}

/// What the names of a lab's network namespaces begin with. Another lab's may begin so too: see [`place_of`].
pub fn netns_prefix(lab: &str) -> String {
    format!("shunt-{lab}-")
}

/// The place (`node1`, `pod1-2`, `client`, `router`) that a network namespace of this lab is, by its name; `None` when it
/// is another lab's, whose name only begins alike.
pub fn place_of<'a>(lab: &str, netns: &'a str) -> Option<&'a str> {
    let place = netns.strip_prefix(&netns_prefix(lab))?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let pod = |text: &str| text.split_once('-').is_some_and(|(node, i)| number(node) && number(i));
    let known = matches!(place, "client" | "router")
        || place.strip_prefix("node").is_some_and(number)
        || place.strip_prefix("pod").is_some_and(pod);
    known.then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_s_namespaces_are_not_those_of_a_lab_whose_name_begins_alike() {
        assert_eq!(place_of("ways", "shunt-ways-node1"), Some("node1"));
        assert_eq!(place_of("ways", "shunt-ways-pod12-3"), Some("pod12-3"));
        assert_eq!(place_of("ways-routed", "shunt-ways-routed-client"), Some("client"));
        for other in ["shunt-ways-routed-node1", "shunt-ways-pod1", "shunt-ways-node", "shunt-way-router"] {
            assert_eq!(place_of("ways", other), None, "{other}");
        }
    }

    #[test]
    fn a_shape_that_cannot_be_built_is_refused_with_the_reason() {
        let good = Topology::new("ways-routed", Style::Routed);
        assert_eq!(good.check(), Ok(()));
        let wrong = |shape: Topology| shape.check().unwrap_err();
        assert!(wrong(Topology { name: "a/b".into(), ..good.clone() }).contains("a/b"));
        assert!(wrong(Topology { nodes: 0, ..good.clone() }).contains("0 nodes"));
        assert!(wrong(Topology { nodes: 201, ..good.clone() }).contains("1 to 200"));
        assert!(wrong(Topology { mtu: 1280, ..good }).contains("MTU"));
    }

    #[test]
    fn words_name_styles_and_families() {
        for style in Style::ALL {
            assert_eq!(style.to_string().parse(), Ok(style));
        }
        assert!("flat".parse::<Style>().unwrap_err().contains("routed, bridge, vxlan"));
        assert_eq!("v6".parse(), Ok(Families::V6));
        assert_eq!(Families::V6.of(&["four", "six"]), ["six"]);
        assert_eq!(Families::Both.of(&["four", "six"]), ["four", "six"]);
    }
}
