//! Devices: whether there are any, and what they can carry.

use super::Row;
use crate::agent::direct;
use crate::config::Config;
use crate::devices::{Classified, DeviceInfo};
use shunt_datapath::examine::{Ability, xdp};
use shunt_datapath::{Acceleration, Error};
use std::path::Path;

/// Rows for the devices, in order of their indexes.
pub(super) fn rows(config: &Config, classified: &Classified) -> Vec<Row> {
    let mut rows: Vec<Row> = missing(classified);
    if classified.devices.is_empty() {
        rows.push(Row::fail("devices", "", "none faces the network", "name them in `devices`"));
    }
    let acceleration = config.acceleration();
    let pins = config.path("bpfRoot").unwrap_or_default();
    for (index, device) in &classified.devices {
        rows.push(Row::pass("device", &device.name, addresses(device)));
        if config.resolved.text("loadBalancer.mode") != "snat" {
            rows.extend(direct_return(config, device));
        }
        if !matches!(acceleration, Acceleration::Disabled | Acceleration::Generic) {
            rows.push(accelerated(acceleration, &device.name, xdp(*index, Path::new(&pins))));
        }
    }
    rows
}

fn missing(classified: &Classified) -> Vec<Row> {
    let missing = classified.missing.iter().map(|name| {
        let todo = "bring it up, or take it off the list; the others are served";
        Row::warn("device", name, "is listed in `devices` and is not there", todo)
    });
    let unsupported = classified.unsupported.iter().map(|name| {
        let todo =
            "what arrives there is not translated: bring clients and other nodes' pods in by another device";
        Row::warn("device", name, "its packets begin with neither an Ethernet header nor an IP header, or keep a VLAN's tag (reorder_hdr off)", todo)
    });
    missing.chain(unsupported).collect()
}

fn addresses(device: &DeviceInfo) -> String {
    let four = device.addr4.map(|a| a.to_string());
    let six = device.addr6.map(|a| a.to_string());
    let all: Vec<String> = four.into_iter().chain(six).collect();
    format!("{}, MTU {}", if all.is_empty() { "no address".into() } else { all.join(" ") }, device.mtu)
}

/// Room for what direct server return adds, and filters that would drop its packets.
fn direct_return(config: &Config, device: &DeviceInfo) -> Vec<Row> {
    let name = &device.name;
    let found = direct::device(config, device);
    // What lacks room is told first.
    let (room, filters) = found.degraded.split_at(usize::from(found.by_snat));
    let todo = "raise the MTU, or set loadBalancer.mode to snat";
    let mut rows: Vec<Row> = room.iter().map(|what| Row::fail("mtu", name, what, todo)).collect();
    rows.extend(filters.iter().map(|what| Row::warn("rp_filter", name, what, "")));
    if !found.by_snat {
        let (four, six) = direct::overhead(config.resolved.text("loadBalancer.dsrDispatch"));
        let text = format!(
            "packets of up to {} bytes (IPv4) and {} (IPv6) have room; longer ones are told so",
            device.mtu.saturating_sub(four),
            device.mtu.saturating_sub(six)
        );
        rows.insert(0, Row::pass("mtu", name, text));
    }
    rows
}

/// What acceleration comes to on a device.
fn accelerated(wanted: Acceleration, device: &str, ability: Result<Ability, Error>) -> Row {
    let todo = "take it off `devices`, or set loadBalancer.acceleration to best-effort or disabled";
    match ability {
        Ok(Ability::Runs) => Row::pass("xdp", device, "runs our program"),
        Ok(Ability::Takes) => Row::pass("xdp", device, "its driver takes programs"),
        Ok(Ability::NoDriver(why)) => Row::pass("xdp", device, format!("served by tc: {why}")),
        Ok(Ability::Cannot(why)) if wanted == Acceleration::Native => Row::fail("xdp", device, why, todo),
        Ok(Ability::Cannot(why)) => Row::warn("xdp", device, format!("will be served by tc: {why}"), ""),
        Ok(Ability::Unknown(why)) => {
            Row::warn("xdp", device, why, "start the agent; `shunt status` says what the device runs")
        }
        Err(error) => Row::fail("xdp", device, error.to_string(), ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;
    use crate::config::{Layers, Resolved};

    fn config(set: &[&str]) -> Config {
        let set = set.iter().map(ToString::to_string).collect();
        Config::new(Resolved::new(&Layers { set, ..Layers::default() }).unwrap()).unwrap()
    }

    fn device(mtu: u32) -> Classified {
        let device = DeviceInfo {
            name: "none0".into(),
            addr4: Some([192, 0, 2, 1].into()),
            addr6: None,
            ethernet: true,
            default_route: true,
            mtu,
        };
        Classified { devices: [(u32::MAX, device)].into(), ..Classified::default() }
    }

    fn verdicts(rows: &[Row]) -> Vec<(&str, Verdict)> {
        rows.iter().map(|row| (row.check.as_str(), row.verdict)).collect()
    }

    #[test]
    fn a_node_without_devices_fails_and_one_that_is_listed_and_gone_is_named() {
        let gone = Classified { missing: vec!["eth7".into()], ..Classified::default() };
        let rows = rows(&config(&[]), &gone);
        assert_eq!(verdicts(&rows), [("device", Verdict::Warn), ("devices", Verdict::Fail)]);
        assert_eq!(rows[0].about, "eth7");
    }

    #[test]
    fn room_for_a_dispatch_is_looked_at_only_where_one_is_asked_for() {
        assert_eq!(verdicts(&rows(&config(&[]), &device(1280))), [("device", Verdict::Pass)]);
        for (dispatch, mtu, verdict) in [
            ("opt", 1304, Verdict::Pass),
            ("opt", 1303, Verdict::Fail),
            ("ipip", 1320, Verdict::Pass),
            ("ipip", 1319, Verdict::Fail),
        ] {
            let set = ["loadBalancer.mode=dsr".into(), format!("loadBalancer.dsrDispatch={dispatch}")];
            let rows = rows(&config(&set.each_ref().map(String::as_str)), &device(mtu));
            assert_eq!(verdicts(&rows), [("device", Verdict::Pass), ("mtu", verdict)], "{dispatch}, {mtu}");
        }
    }

    #[test]
    fn a_device_that_cannot_run_xdp_fails_native_and_warns_best_effort() {
        let cannot = || Ok(Ability::Cannot("its driver takes no XDP program".into()));
        let native = accelerated(Acceleration::Native, "br0", cannot());
        assert_eq!((native.verdict, native.about.as_str()), (Verdict::Fail, "br0"));
        assert!(native.todo.contains("loadBalancer.acceleration") && native.todo.contains("devices"));
        assert_eq!(accelerated(Acceleration::BestEffort, "br0", cannot()).verdict, Verdict::Warn);
        let tunnel = accelerated(Acceleration::Native, "vx0", Ok(Ability::NoDriver("a tunnel".into())));
        assert_eq!(tunnel.verdict, Verdict::Pass);
        let unknown = accelerated(Acceleration::Native, "eth0", Ok(Ability::Unknown("an old kernel".into())));
        assert_eq!(unknown.verdict, Verdict::Warn);
    }
}
