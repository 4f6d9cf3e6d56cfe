//! `shunt status`.

use super::output::{Form, Output, columns, put};
use super::{Common, Done, Failure, client};
use crate::devices::DeviceInfo;
use crate::server::api::Status;
use shunt_datapath::dump::{MapUse, Reader};
use std::fmt::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Flags.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Wait until everything is served
    #[arg(long)]
    wait: bool,
    /// Give up waiting after so many seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    wait_duration: u64,
    /// One line
    #[arg(long, conflicts_with = "verbose")]
    brief: bool,
    /// Details, attachments, problems and maps
    #[arg(long)]
    verbose: bool,
    #[command(flatten)]
    output: Output,
}

const POLL: Duration = Duration::from_millis(100);

pub(super) fn run(args: &Args, common: &Common) -> Done {
    let status = read(args, common)?;
    let wrong = wrong(&status);
    if args.output.output != Form::Table {
        args.output.data(&status)?;
    } else if args.brief {
        put(&brief(&status))?;
    } else {
        let maps = if args.verbose { maps(&status) } else { Vec::new() };
        put(&(text(&status) + &if args.verbose { details(&status, &maps) } else { String::new() }))?;
    }
    match unsettled(&status).filter(|_| args.wait && !wrong) {
        Some(why) => Err(Failure::Problem(format!("not settled within {} s: {why}", args.wait_duration))),
        None => Ok(if wrong { ExitCode::from(1) } else { ExitCode::SUCCESS }),
    }
}

/// Why not everything is served, which is what `--wait` waits for.
fn unsettled(status: &Status) -> Option<String> {
    (!status.sync.settled).then(|| sync(status))
}

fn read(args: &Args, common: &Common) -> Result<Status, Failure> {
    let until = Instant::now() + Duration::from_secs(args.wait_duration);
    loop {
        let answer = client::get::<Status>(common, "/v1/status");
        let good = answer.as_ref().is_ok_and(|s| !wrong(s) && s.sync.settled);
        if !args.wait || good || Instant::now() >= until {
            return answer;
        }
        std::thread::sleep(POLL);
    }
}

/// Problems of objects are their owners'; errors and an unfinished start are the agent's.
fn wrong(status: &Status) -> bool {
    !status.errors.is_empty() || !status.sync.synced
}

fn brief(status: &Status) -> String {
    match status.errors.first() {
        Some(error) => format!("error in {}: {}\n", error.module, error.message),
        None if !status.sync.synced => {
            format!("error in sync: waiting for {}\n", status.sync.waiting.join(", "))
        }
        None => "OK\n".into(),
    }
}

fn text(status: &Status) -> String {
    let ok = |good: bool| if good { "Ok" } else { "Failure" };
    let source = ok(status.source.down.is_empty());
    let version = format!(
        "{}   {} (node {}, up {}s)",
        ok(status.errors.is_empty()),
        status.version,
        status.node,
        status.uptime_seconds
    );
    let devices: Vec<String> = status.devices.iter().map(device).collect();
    let replacement =
        format!("{}   [{}]", title(&status.settings, "kubeProxyReplacement"), devices.join(", "));
    let counts = status.counts;
    let mut lines = vec![
        (format!("{}:", status.source.kind), format!("{source}   {}", status.source.at)),
        ("KubeProxyReplacement:".into(), replacement),
        ("Shunt:".into(), version),
        ("Sync:".into(), sync(status)),
        (
            "Services:".into(),
            format!(
                "{} services, {} frontends, {} backends",
                counts.services, counts.frontends, counts.backends
            ),
        ),
        ("Attach Mode:".into(), attach_mode(status)),
        ("Problems:".into(), status.problems.len().to_string()),
    ];
    if !status.acceleration.is_empty() {
        lines.push(("XDP Acceleration:".into(), acceleration(status)));
    }
    lines.extend(status.degraded.iter().map(|what| ("Degraded:".into(), what.clone())));
    lines.extend(status.errors.iter().map(|e| (format!("Error in {}:", e.module), e.message.clone())));
    pairs(&lines, 25)
}

/// `eth0 native, eth1 tc (its driver takes no XDP program)`.
fn acceleration(status: &Status) -> String {
    let each = status.acceleration.iter().map(|a| match &a.why {
        Some(why) => format!("{} {} ({why})", a.device, a.runs),
        None => format!("{} {}", a.device, a.runs),
    });
    each.collect::<Vec<_>>().join(", ")
}

fn pairs(lines: &[(String, String)], width: usize) -> String {
    lines.iter().map(|(name, value)| format!("{name:width$}{value}\n")).collect()
}

fn device(device: &DeviceInfo) -> String {
    let addresses: Vec<String> = [device.addr4.map(|a| a.to_string()), device.addr6.map(|a| a.to_string())]
        .into_iter()
        .flatten()
        .collect();
    format!("{}   {}", device.name, addresses.join(" ")).trim_end().to_owned()
}

fn title(settings: &std::collections::BTreeMap<String, String>, key: &str) -> &'static str {
    if settings.get(key).is_some_and(|v| v == "true") { "True" } else { "False" }
}

fn sync(status: &Status) -> String {
    let sync = &status.sync;
    match (sync.synced, sync.settled) {
        (false, _) => format!("waiting for the first list of {}", sync.waiting.join(", ")),
        (true, true) => "Ok".into(),
        (true, false) if sync.failed.is_empty() => "under way".into(),
        _ => format!("{} writes failed, trying again", sync.failed.len()),
    }
}

/// A dispatch, in the words of Cilium's status.
fn dispatch(name: &str) -> &str {
    match name {
        "opt" => "IP Option/Extension",
        "ipip" => "IPIP",
        "geneve" => "Geneve",
        other => other,
    }
}

fn attach_mode(status: &Status) -> String {
    let on_interfaces =
        status.attachments.iter().filter(|a| !a.interface.is_empty() && !a.mode.starts_with("xdp"));
    let mut modes: Vec<&str> = on_interfaces.map(|a| a.mode.as_str()).collect();
    modes.sort_unstable();
    modes.dedup();
    let words: Vec<&str> =
        modes.into_iter().map(|m| if m == "tcx" { "TCX" } else { "Legacy TC (clsact)" }).collect();
    if words.is_empty() { "none yet".into() } else { words.join(", ") }
}

fn details(status: &Status, maps: &[MapUse]) -> String {
    let get = |key: &str| status.settings.get(key).map_or("", String::as_str);
    let enabled = |key: &str| if get(key) == "true" { "Enabled" } else { "Disabled" };
    let mut text = String::from("KubeProxyReplacement Details:\n");
    let devices: Vec<String> = status.devices.iter().map(device).collect();
    let addresses: Vec<String> = status.node_port_addresses.iter().map(ToString::to_string).collect();
    let lines = [
        ("  Status:", title(&status.settings, "kubeProxyReplacement").to_owned()),
        ("  Socket LB:", enabled("socketLB.enabled").into()),
        ("  Socket LB Coverage:", coverage(status)),
        ("  Socket LB Opt-Out:", opt_out(status)),
        ("  Devices:", devices.join(", ")),
        ("  Pod interfaces:", status.pod_interfaces.join(", ")),
        ("  NodePort Addresses:", addresses.join(", ")),
        ("  Mode:", get("loadBalancer.mode").to_uppercase()),
        ("    DSR Dispatch Mode:", dispatch(get("loadBalancer.dsrDispatch")).into()),
        ("  Backend Selection:", capital(get("loadBalancer.algorithm"))),
        ("  XDP Acceleration:", {
            let setting = capital(get("loadBalancer.acceleration"));
            let devices = acceleration(status);
            if devices.is_empty() { setting } else { format!("{setting}   [{devices}]") }
        }),
    ];
    text += &pairs(&lines.map(|(name, value)| (name.into(), value)), 26);
    text += "  Services:\n";
    let services = [
        ("  - ClusterIP:", "Enabled".to_owned()),
        ("  - NodePort:", format!("{} (Range: {})", enabled("nodePort.enabled"), get("nodePort.range"))),
        ("  - LoadBalancer:", "Enabled".into()),
        ("  - externalIPs:", enabled("externalIPs.enabled").into()),
    ];
    text += &pairs(&services.map(|(name, value)| (name.into(), value)), 18);
    text += "Attachments:\n";
    let row = |a: &crate::server::api::Attached| {
        vec![format!("  {}", a.hook), a.interface.clone(), a.mode.clone(), a.program_id.to_string()]
    };
    let headings = ["  Hook", "Interface", "Mode", "Program"].map(String::from).to_vec();
    let rows: Vec<_> = std::iter::once(headings).chain(status.attachments.iter().map(row)).collect();
    text += &columns(&rows);
    if let Some(opt_out) = status.opt_out.as_ref().filter(|o| !o.pods.is_empty()) {
        text += "Opted-Out Pods:\n";
        text.extend(opt_out.pods.iter().map(|pod| format!("  {pod}\n")));
    }
    text += "Problems:\n";
    for problem in &status.problems {
        _ = writeln!(text, "  {problem}");
    }
    text + &maps_text(maps)
}

/// Cilium's words.
fn coverage(status: &Status) -> String {
    let host_only = status.settings.get("socketLB.hostNamespaceOnly").is_some_and(|v| v == "true");
    if host_only { "Hostns-only" } else { "Full" }.into()
}

/// How many pods have left the socket path, and which cannot.
fn opt_out(status: &Status) -> String {
    let Some(opt_out) = &status.opt_out else { return "Disabled".into() };
    let mut text = format!("{} pods   (label {})", opt_out.pods.len(), opt_out.label);
    if !opt_out.missing.is_empty() {
        _ = write!(text, "; no cgroup found of {}", opt_out.missing.join(", "));
    }
    text
}

fn maps_text(maps: &[MapUse]) -> String {
    let headings = ["  Name", "Size", "Used", "Bytes"].map(String::from).to_vec();
    let row = |m: &MapUse| {
        let used = m.used.map_or_else(|| "-".into(), |used| used.to_string());
        vec![format!("  {}", m.spec.name), m.spec.max_entries.to_string(), used, m.bytes.to_string()]
    };
    let rows: Vec<_> = std::iter::once(headings).chain(maps.iter().map(row)).collect();
    format!("BPF Maps:   dynamic sizing: off\n{}", columns(&rows))
}

fn maps(status: &Status) -> Vec<MapUse> {
    Reader::open(&status.bpf_root).and_then(|reader| reader.maps()).unwrap_or_default()
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests;
