use super::super::agent::Args;
use super::super::{Cli, Command};
use super::*;
use clap::Parser;

fn line(line: &str) -> Vec<OsString> {
    line.split(' ').map(OsString::from).collect()
}

fn called(text: &str) -> Args {
    let cli = Cli::try_parse_from(arguments(line(text))).unwrap_or_else(|e| panic!("{text}: {e}"));
    match cli.command {
        Command::Agent(args) => args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn called_as_kube_proxy_it_is_the_agent_and_as_anything_else_what_it_was() {
    let asked = |text: &str| arguments(line(text)).join(" ".as_ref()).into_string().unwrap();
    assert_eq!(asked("/usr/local/bin/kube-proxy --config=/c --v=2"), "shunt agent --config=/c --v=2");
    assert_eq!(asked("kube-proxy --hostname_override=a_b"), "shunt agent --hostname-override=a_b");
    assert_eq!(asked("kube-proxy --version"), "shunt --version");
    assert_eq!(asked("/kube-proxy/shunt status"), "/kube-proxy/shunt status");
    assert_eq!(arguments(Vec::new()), Vec::<OsString>::new());
}

#[test]
fn kubeadms_command_line_is_taken_as_it_stands() {
    let text =
        "/usr/local/bin/kube-proxy --config=/var/lib/kube-proxy/config.conf --hostname-override=Node-1";
    let args = called(text);
    assert_eq!(args.layers.config.as_deref(), Some(Path::new("/var/lib/kube-proxy/config.conf")));
    assert_eq!(args.kube_proxy.flags(), [("nodeName", "hostname-override", "node-1".to_owned())]);
    assert!(!args.kube_proxy.cleanup && !args.kube_proxy.init_only);
}

#[test]
fn every_flag_of_a_drop_in_is_known_in_each_way_to_write_it() {
    for (text, cleanup, init_only, verbosity) in [
        ("kube-proxy --cleanup", true, false, 0),
        ("kube-proxy --cleanup=true --v=4", true, false, 4),
        ("kube-proxy --cleanup=false --init-only -v 6", false, true, 6),
        ("shunt agent --init-only=true -v=2 --kubeconfig /k --master https://192.0.2.1:6443", false, true, 2),
        ("shunt agent --kube-proxy-config /c --write-config-to /w --feature-gates A=true", false, false, 0),
    ] {
        let found = called(text).kube_proxy;
        assert_eq!(
            (found.cleanup, found.init_only, found.verbosity),
            (cleanup, init_only, verbosity),
            "{text}"
        );
    }
}

#[test]
fn flags_become_settings_that_win() {
    let args = called(
        "kube-proxy --master=https://192.0.2.1:6443 --feature-gates=AllowServiceExternalIPs=false,Other=true",
    );
    let expected = [
        ("k8sServiceHost", "master", "https://192.0.2.1:6443".to_owned()),
        ("externalIPs.enabled", "feature-gates", "false".to_owned()),
    ];
    assert_eq!(args.kube_proxy.flags(), expected);
    let wrong = Cli::try_parse_from(arguments(line("kube-proxy --feature-gates=Other"))).unwrap_err();
    assert!(wrong.to_string().contains("NAME=true"), "{wrong}");
}

#[test]
fn klogs_numbers_are_levels() {
    assert_eq!([0, 2].map(level), ["info"; 2]);
    assert!(level(4).contains("shunt=debug") && level(10).contains("shunt=trace"));
}

#[test]
fn what_is_written_can_be_given_to_config() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.yaml");
    let config = Config::new(crate::config::Resolved::defaults()).unwrap();
    write_config(&config, &path).unwrap_or_else(|e| panic!("{e:?}"));
    assert!(std::fs::read_to_string(&path).unwrap().contains("range: 30000-32767"));
    let error = write_config(&config, &dir.path().join("none/out.yaml")).unwrap_err();
    assert!(matches!(error, Failure::Problem(text) if text.starts_with("--write-config-to ")));
}
