use super::*;
use std::fs;

const WEB: &str = "kind: Service\napiVersion: v1\nmetadata:\n  name: web\nspec:\n  clusterIP: 10.0.0.1\n";
const API: &str = "kind: Service\napiVersion: v1\nmetadata:\n  name: api\n  namespace: shop\n";

fn applied(events: &[Event]) -> Vec<String> {
    let mut names = Vec::new();
    for event in events {
        match event {
            Event::Apply(object) => {
                let (namespace, name) = object.name();
                names.push(format!("+{} {namespace}/{name}", object.kind().name()));
            }
            Event::Delete(kind, namespace, name) => {
                names.push(format!("-{} {namespace}/{name}", kind.name()))
            }
            _ => {}
        }
    }
    names
}

fn problems(events: &[Event]) -> Vec<String> {
    let said = |e: &Event| match e {
        Event::Problems { problems, .. } => problems.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    events.iter().flat_map(said).collect()
}

/// Scans until everything is at rest.
fn scan(directory: &mut Directory) -> Vec<Event> {
    let mut events = directory.scan();
    while directory.is_unsettled() {
        events.extend(directory.scan());
    }
    events
}

/// Writes with another length or time than before.
fn write(dir: &tempfile::TempDir, name: &str, text: &str) {
    fs::write(dir.path().join(name), text).unwrap();
}

#[test]
fn the_first_scan_lists_every_kind_and_the_next_ones_tell_changes() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir, "a.yaml", &format!("{WEB}---\n{API}"));
    let mut directory = Directory::new(dir.path());
    let events = scan(&mut directory);
    assert_eq!(events.iter().filter(|e| matches!(e, Event::ListEnds(_))).count(), Kind::ALL.len());
    assert_eq!(applied(&events), ["+Service default/web", "+Service shop/api"]);
    assert_eq!(scan(&mut directory), []);
    write(&dir, "a.yaml", WEB);
    assert_eq!(applied(&scan(&mut directory)), ["-Service shop/api"]);
    fs::remove_file(dir.path().join("a.yaml")).unwrap();
    assert_eq!(applied(&scan(&mut directory)), ["-Service default/web"]);
}

#[test]
fn a_broken_document_is_named_by_line_and_spoils_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir, "a.yaml", &format!("{WEB}---\n{API}"));
    let mut directory = Directory::new(dir.path());
    scan(&mut directory);
    write(&dir, "a.yaml", &format!("{}---\nkind: Service\nmetadata: [\n", WEB.replace("0.1", "0.99")));
    let events = scan(&mut directory);
    assert_eq!(applied(&events), ["+Service default/web"], "the one that vanished may be the broken one");
    let said = problems(&events);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("a.yaml:") && said[0].contains("is not YAML"), "{said:?}");
    write(&dir, "a.yaml", WEB);
    let events = scan(&mut directory);
    assert_eq!(applied(&events), ["+Service default/web", "-Service shop/api"]);
    assert!(events.iter().any(|e| matches!(e, Event::Problems { problems, .. } if problems.is_empty())));
}

#[test]
fn a_field_of_the_wrong_type_names_the_object_and_its_line() {
    let dir = tempfile::tempdir().unwrap();
    write(
        &dir,
        "a.yaml",
        &format!("{WEB}---\n# a comment\nkind: Service\nmetadata: {{name: bad}}\nspec: {{ports: 80}}\n"),
    );
    let events = scan(&mut Directory::new(dir.path()));
    assert_eq!(applied(&events), ["+Service default/web"]);
    let said = problems(&events);
    assert!(said[0].contains("a.yaml:8: Service bad"), "{said:?}");
}

#[test]
fn lists_are_unfolded_other_kinds_left_and_doubles_reported() {
    let dir = tempfile::tempdir().unwrap();
    let list = "kind: List\napiVersion: v1\nitems:\n- {kind: Service, apiVersion: v1, metadata: {name: web}}\n\
                - {kind: Deployment, apiVersion: apps/v1, metadata: {name: web}}\n";
    write(&dir, "a.yaml", WEB);
    write(&dir, "b.yaml", list);
    write(&dir, "notes.txt", "not yaml: [");
    let events = scan(&mut Directory::new(dir.path()));
    assert_eq!(applied(&events), ["+Service default/web"]);
    let said = problems(&events);
    assert!(said.len() == 1 && said[0].contains("b.yaml has it too"), "{said:?}");
}

#[test]
fn a_missing_directory_is_a_problem_and_removes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("m");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a.yaml"), WEB).unwrap();
    let mut directory = Directory::new(&root);
    scan(&mut directory);
    fs::remove_dir_all(&root).unwrap();
    let events = scan(&mut directory);
    assert_eq!(applied(&events), [""; 0]);
    assert!(problems(&events)[0].contains("set --manifests"));
}

#[test]
fn a_file_that_is_being_written_or_replaced_keeps_its_services_until_it_rests() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir, "a.yaml", WEB);
    let mut directory = Directory::new(dir.path());
    assert_eq!(directory.scan(), [], "nothing is listed before two looks agree");
    assert_eq!(applied(&scan(&mut directory)), ["+Service default/web"]);
    // An editor truncates, then writes.
    write(&dir, "a.yaml", "");
    assert_eq!(applied(&directory.scan()), [""; 0]);
    write(&dir, "a.yaml", &format!("{WEB}---\n{API}"));
    assert_eq!(applied(&scan(&mut directory)), ["+Service shop/api"]);
    // Another moves it away, then writes it anew.
    fs::rename(dir.path().join("a.yaml"), dir.path().join("a.yaml~")).unwrap();
    assert_eq!(applied(&directory.scan()), [""; 0]);
    fs::rename(dir.path().join("a.yaml~"), dir.path().join("a.yaml")).unwrap();
    assert_eq!(applied(&scan(&mut directory)), [""; 0]);
    // It stays empty: now it is meant.
    write(&dir, "a.yaml", "");
    assert_eq!(applied(&scan(&mut directory)), ["-Service default/web", "-Service shop/api"]);
}

#[test]
fn a_file_that_never_rests_is_read_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut directory = Directory::new(dir.path());
    scan(&mut directory);
    let mut told = Vec::new();
    for n in 0..=RESTLESS as usize {
        write(&dir, "a.yaml", &format!("{WEB}#{}\n", "x".repeat(n)));
        told.extend(applied(&directory.scan()));
    }
    assert_eq!(told, ["+Service default/web"]);
}

#[tokio::test]
async fn edits_are_followed_live() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, mut events) = tokio::sync::mpsc::channel(64);
    let root = dir.path().to_path_buf();
    let task = tokio::spawn(async move { watch(&root, sender).await });
    let mut next = async || {
        tokio::time::timeout(std::time::Duration::from_secs(5), events.recv()).await.unwrap().unwrap()
    };
    let last = *Kind::ALL.last().unwrap();
    while next().await != Event::ListEnds(last) {}
    write(&dir, "new.yaml", WEB);
    assert!(matches!(next().await, Event::Apply(Object::Service(_))));
    fs::remove_file(dir.path().join("new.yaml")).unwrap();
    assert_eq!(next().await, Event::Delete(Kind::Service, "default".into(), "web".into()));
    task.abort();
}

#[test]
fn pods_and_namespaces_are_read_with_the_labels_and_uids_that_the_opt_out_goes_by() {
    let dir = tempfile::tempdir().unwrap();
    let text = "apiVersion: v1\nkind: NamespaceList\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata:\n    name: mesh\n    \
                labels: {shunt.io/socket-lb: disabled}\n---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  namespace: mesh\n  \
                uid: a-b\nspec:\n  nodeName: n1\n";
    write(&dir, "a.yaml", text);
    let mut asked = shunt_model::opt_out::OptOuts::new("shunt.io/socket-lb", "n1");
    let mut directory = Directory::new(dir.path());
    for event in scan(&mut directory) {
        match event {
            Event::Apply(Object::Pod(pod)) => asked.apply_pod(&pod),
            Event::Apply(Object::Namespace(namespace)) => asked.apply_namespace(&namespace),
            Event::ListEnds(kind) => asked.end_replace(kind),
            _ => {}
        }
    }
    assert_eq!(asked.pods().collect::<Vec<_>>(), [("mesh/web", "a-b")]);
    assert!(asked.is_listed());
    write(&dir, "a.yaml", "");
    assert_eq!(applied(&scan(&mut directory)), ["-Pod mesh/web", "-Namespace /mesh"]);
}
