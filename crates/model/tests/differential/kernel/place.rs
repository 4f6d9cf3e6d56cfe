//! A network namespace, and the thread that is in it.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace that lives as long as this value.
pub struct Place {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// By which `ip link set … netns` finds it.
    pub thread_id: i32,
}

/// Forward, whoever asks; tell of every refusal, however many there are.
const SYSCTLS: [(&str, &str); 9] = [
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/icmp_ratemask", "0"),
    ("ipv6/icmp/ratelimit", "0"),
];

fn sysctl(key: &str, value: &str) {
    let path = format!("/proc/sys/net/{key}");
    std::fs::write(&path, value).unwrap_or_else(|e| panic!("{path}: {e}"));
}

impl Place {
    /// A new one; says that `test` is not run, and gives none, where this process may not make any.
    pub fn first(test: &str) -> Option<Self> {
        let place = Self::try_new();
        if place.is_none() {
            // Past the harness, which would keep it to itself; in one piece.
            let line = format!("not run: {test}: network namespaces need root\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
        place
    }

    pub fn new() -> Self {
        Self::try_new().expect("a network namespace (is this root?)")
    }

    fn try_new() -> Option<Self> {
        let (jobs, inbox) = channel::<Job>();
        let (said, heard) = channel();
        let thread = std::thread::spawn(move || {
            // SAFETY: no pointers; a new network namespace for this thread only.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return;
            }
            // SAFETY: no arguments, cannot fail.
            said.send(unsafe { libc::gettid() }).unwrap();
            inbox.into_iter().for_each(|job| job());
        });
        let thread_id = heard.recv().ok()?;
        let place = Self { jobs: Some(jobs), thread: Some(thread), thread_id };
        place.run(|| SYSCTLS.iter().for_each(|(key, value)| sysctl(key, value)));
        place.batch("ip", &["-batch", "-"], "link set lo up\n");
        Some(place)
    }

    /// Runs something there, threads and processes that it starts included.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (said, heard) = channel();
        let job = Box::new(move || _ = said.send(job()));
        self.jobs.as_ref().expect("not dropped").send(job).expect("the thread lives");
        heard.recv().expect("the job ends")
    }

    /// Runs a program there and feeds it.
    pub fn batch(&self, program: &'static str, args: &'static [&'static str], text: &str) {
        let input = text.to_string();
        let result = self.run(move || {
            let mut command = Command::new(program);
            command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap_or_else(|e| panic!("{program}: {e}"));
            child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
            child.wait_with_output().expect("it ends")
        });
        let said = String::from_utf8_lossy(&result.stderr);
        assert!(result.status.success(), "{program}: {said}\n{text}");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.jobs.take());
        // A job's panic has been told already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
