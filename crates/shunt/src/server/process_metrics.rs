//! `process_*`, as every Prometheus client library tells them.

use procfs::process::{LimitValue, Process};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// Reads this process anew at each encoding.
pub(super) fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(This));
    registry
}

#[derive(Debug)]
struct This;

struct Figures {
    cpu_seconds: f64,
    started: f64,
    resident: f64,
    virtual_size: f64,
    threads: f64,
    open_fds: f64,
    max_fds: f64,
}

fn figures() -> procfs::ProcResult<Figures> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let ticks = procfs::ticks_per_second() as f64;
    Ok(Figures {
        cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
        started: procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks,
        resident: (stat.rss * procfs::page_size()) as f64,
        virtual_size: stat.vsize as f64,
        threads: stat.num_threads as f64,
        open_fds: process.fd_count()? as f64,
        max_fds: match process.limits()?.max_open_files.soft_limit {
            LimitValue::Value(n) => n as f64,
            LimitValue::Unlimited => f64::INFINITY,
        },
    })
}

impl Collector for This {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        // Without /proc there is nothing to tell.
        let Ok(figures) = figures() else { return Ok(()) };
        let cpu = ConstCounter::new(figures.cpu_seconds);
        let help = "User and system CPU time";
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)?;
        for (name, help, value) in [
            ("process_start_time_seconds", "Unix time of the start", figures.started),
            ("process_resident_memory_bytes", "Resident memory", figures.resident),
            ("process_virtual_memory_bytes", "Virtual memory", figures.virtual_size),
            ("process_threads", "Threads", figures.threads),
            ("process_open_fds", "Open file descriptors", figures.open_fds),
            ("process_max_fds", "Most file descriptors that may be open", figures.max_fds),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
