//! docs/SPECIFICATION.md against the tests: what it names is there, what is there it names, and no row is empty.

use std::fs;
use std::path::{Path, PathBuf};

/// Each name on the page is a test of that file; each case is on the page; each row has a test or a reason.
#[test]
fn the_specification_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("docs/SPECIFICATION.md")).unwrap();
    let mut wrong: Vec<String> =
        named(&page).filter(|name| !exists(root, name)).map(|name| format!("no test {name}")).collect();
    assert!(named(&page).count() > 100, "{} names", named(&page).count());
    for (file, case) in cases(&root.join("tests/contract")) {
        let name = format!("{file}::{case}`");
        if !page.contains(&name) {
            wrong.push(format!("no row names the case {name}"));
        }
    }
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).collect();
    assert!(rows.len() > 100, "{} rows", rows.len());
    wrong.extend(rows.into_iter().filter_map(|row| Some(format!("{}: {row}", lacking(row)?))));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_row_without_a_test_or_a_reason_is_seen() {
    assert_eq!(lacking("| a | `services::b` |"), None);
    assert_eq!(lacking("| a | none: nobody can |"), None);
    assert_eq!(lacking("| a | `datapath: flows::b`; by packets alone, since no stack does it |"), None);
    for bad in [
        "| a | |",
        "| a | soon |",
        "| a | none: |",
        "| a | `datapath: flows::b` |",
        "| a | `model: flows::b` |",
    ] {
        assert!(lacking(bad).is_some(), "{bad}");
    }
}

/// The names of tests on the page: what stands in quotes and has a path.
fn named(page: &str) -> impl Iterator<Item = &str> {
    page.split('`').skip(1).step_by(2).filter(|text| is_test(text))
}

fn is_test(text: &str) -> bool {
    text.contains("::") && !text.starts_with("shunt_")
}

/// Whether a function of that name is in a file of that name, of this package or of the crate before the colon.
fn exists(root: &Path, name: &str) -> bool {
    let (folders, name) = match name.split_once(": ") {
        Some((krate, name)) => {
            let tests = root.join("crates").join(krate).join("tests");
            let inner = fs::read_dir(&tests).into_iter().flatten().map(|entry| entry.unwrap().path());
            (inner.filter(|path| path.is_dir()).chain([tests.clone()]).collect(), name)
        }
        None => {
            (vec![root.join("tests/contract"), root.join("tests")], name.trim_start_matches("contract::"))
        }
    };
    let Some((file, function)) = name.rsplit_once("::").or(Some(("main", name))) else { return false };
    let sources = |folder: &PathBuf| {
        let files = [format!("{file}.rs"), format!("{file}/main.rs"), "specification.rs".into()];
        files.map(|file| folder.join(file))
    };
    let texts = folders.iter().flat_map(sources).filter_map(|path| fs::read_to_string(path).ok());
    let function = format!("fn {function}(");
    texts.into_iter().any(|text| text.contains(&function))
}

/// Every case of the files here: what stands in `cases![...]`.
fn cases(folder: &Path) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let file = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let Some((_, rest)) = text.split_once("cases![").filter(|_| file != "specification") else {
            continue;
        };
        let list = rest.split(']').next().unwrap();
        let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        all.extend(names.map(|name| (file.clone(), name.to_owned())));
    }
    assert!(all.len() > 40, "{} cases", all.len());
    all
}

/// What a row lacks: a test, or a reason. One that only tests of single crates show says since when that is enough.
fn lacking(row: &str) -> Option<&'static str> {
    let cell = row.split('|').nth(2).unwrap_or_default().trim();
    if ["ours", "---"].contains(&cell) {
        return None;
    }
    let tests: Vec<&str> = named(cell).collect();
    let reason = ["none: ", "none on the node: ", "as ", "every "]
        .iter()
        .any(|word| cell.strip_prefix(word).is_some_and(|reason| reason.len() >= 10));
    if tests.is_empty() && !reason {
        return Some("neither a test nor a reason");
    }
    let alone = !tests.is_empty() && tests.iter().all(|test| test.contains(": "));
    (alone && !reason && !cell.contains("alone, since "))
        .then_some("shown without the lab, and it does not say why")
}
