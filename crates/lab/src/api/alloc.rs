//! ClusterIPs and node ports: who holds which, and the next free one.

use super::object::{Key, list};
use ipnet::IpNet;
use serde_json::Value;
use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

/// What one service holds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Claims {
    /// ClusterIPs.
    pub ips: Vec<IpAddr>,
    /// Node ports and the health check node port, in host order.
    pub ports: Vec<u16>,
}

/// The two pools that services draw from.
#[derive(Debug, Clone)]
pub struct Alloc {
    /// The service networks, the cluster's first family first.
    pub cidrs: Vec<IpNet>,
    /// Node ports, in host order.
    pub node_ports: RangeInclusive<u16>,
    ips: HashMap<IpAddr, Key>,
    ports: HashMap<u16, Key>,
    /// Where the search for a free one goes on, so that a released one is not handed out at once.
    next_ip: HashMap<bool, u128>,
    next_port: u16,
}

impl Alloc {
    /// Pools with nothing held.
    pub fn new(cidrs: Vec<IpNet>, node_ports: RangeInclusive<u16>) -> Self {
        let next_port = *node_ports.start();
        Self {
            cidrs,
            node_ports,
            ips: HashMap::new(),
            ports: HashMap::new(),
            next_ip: HashMap::new(),
            next_port,
        }
    }

    /// The service network of a family.
    pub fn cidr(&self, v6: bool) -> Option<IpNet> {
        self.cidrs.iter().copied().find(|c| c.addr().is_ipv6() == v6)
    }

    /// Whether somebody other than `me` holds `ip`.
    pub fn ip_taken(&self, ip: IpAddr, me: &Key) -> bool {
        self.ips.get(&ip).is_some_and(|k| k != me)
    }

    /// Whether somebody other than `me` holds `port`.
    pub fn port_taken(&self, port: u16, me: &Key) -> bool {
        self.ports.get(&port).is_some_and(|k| k != me)
    }

    /// A free ClusterIP of a family, or `None` when there is no such network or it is full. It is not held yet.
    pub fn pick_ip(&mut self, v6: bool) -> Option<IpAddr> {
        let cidr = self.cidr(v6)?;
        let host_bits = u32::from(cidr.max_prefix_len() - cidr.prefix_len());
        // Host part 0 is the network, the last one is broadcast in IPv4; .1 is kept for default/kubernetes.
        let last = 1_u128.checked_shl(host_bits).map_or(u128::MAX, |n| n - 1) - u128::from(!v6);
        let from = self.next_ip.get(&v6).copied().unwrap_or(2).clamp(2, last.max(2));
        // At most as many steps as there are held addresses, plus one.
        let tries = (self.ips.len() as u128 + 1).min(last);
        for step in 0..=tries {
            let host = if from + step <= last { from + step } else { 2 + (from + step - last - 1) };
            let ip = nth(cidr, host);
            if host <= last && !self.ips.contains_key(&ip) {
                self.next_ip.insert(v6, host + 1);
                return Some(ip);
            }
        }
        None
    }

    /// A free node port that is not in `besides` either. It is not held yet.
    pub fn pick_port(&mut self, besides: &HashSet<u16>) -> Option<u16> {
        let (first, last) = (*self.node_ports.start(), *self.node_ports.end());
        for _ in first..=last {
            let port = self.next_port;
            self.next_port = if port >= last { first } else { port + 1 };
            if !self.ports.contains_key(&port) && !besides.contains(&port) {
                return Some(port);
            }
        }
        None
    }

    /// Replaces what `me` holds. What another one holds stays with the other (only forced objects get here with such).
    pub fn replace(&mut self, me: &Key, old: &Claims, new: &Claims) {
        for ip in old.ips.iter().filter(|ip| !new.ips.contains(ip)) {
            if !self.ip_taken(*ip, me) {
                self.ips.remove(ip);
            }
        }
        for port in old.ports.iter().filter(|p| !new.ports.contains(p)) {
            if !self.port_taken(*port, me) {
                self.ports.remove(port);
            }
        }
        for ip in &new.ips {
            self.ips.entry(*ip).or_insert_with(|| me.clone());
        }
        for port in &new.ports {
            self.ports.entry(*port).or_insert_with(|| me.clone());
        }
    }
}

impl Claims {
    /// What a Service object holds; malformed fields hold nothing.
    pub fn of(service: &Value) -> Self {
        let port = |v: Option<&Value>| {
            v.and_then(Value::as_u64).and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0)
        };
        let mut ports: Vec<u16> =
            list(service, "/spec/ports").iter().filter_map(|p| port(p.get("nodePort"))).collect();
        ports.extend(port(service.pointer("/spec/healthCheckNodePort")));
        let ips =
            list(service, "/spec/clusterIPs").iter().filter_map(|ip| ip.as_str()?.parse().ok()).collect();
        Self { ips, ports }
    }
}

/// The address with host part `host` in a network.
pub fn nth(cidr: IpNet, host: u128) -> IpAddr {
    match cidr.network() {
        IpAddr::V4(net) => Ipv4Addr::from_bits(net.to_bits().wrapping_add(host as u32)).into(),
        IpAddr::V6(net) => Ipv6Addr::from_bits(net.to_bits().wrapping_add(host)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        ("n".into(), name.into())
    }

    #[test]
    fn a_full_network_says_so_and_a_released_address_comes_back() {
        let mut alloc = Alloc::new(vec!["10.0.0.0/29".parse().unwrap()], 30_000..=30_001);
        let mut held = Vec::new();
        while let Some(ip) = alloc.pick_ip(false) {
            let claims = Claims { ips: vec![ip], ports: vec![] };
            alloc.replace(&key(&ip.to_string()), &Claims::default(), &claims);
            held.push(ip);
        }
        assert_eq!(held.len(), 5, "8 less network, kubernetes and broadcast: {held:?}");
        let gone = held[2];
        alloc.replace(
            &key(&gone.to_string()),
            &Claims { ips: vec![gone], ports: vec![] },
            &Claims::default(),
        );
        assert_eq!(alloc.pick_ip(false), Some(gone));
        assert_eq!(alloc.pick_ip(true), None);
    }

    #[test]
    fn node_ports_run_out_and_the_first_holder_keeps_one() {
        let mut alloc = Alloc::new(vec![], 30_000..=30_001);
        let both = Claims { ips: vec![], ports: vec![30_000, 30_001] };
        alloc.replace(&key("a"), &Claims::default(), &both);
        assert_eq!(alloc.pick_port(&HashSet::new()), None);
        alloc.replace(&key("b"), &Claims::default(), &both);
        alloc.replace(&key("b"), &both, &Claims::default());
        assert!(
            alloc.port_taken(30_000, &key("b")),
            "a forced duplicate must not release the first holder's port"
        );
    }
}
