use super::*;
use std::fs;
use std::time::Duration;

const ONE: &str = "3f0f9d3e-8d0b-4a51-9b0c-1d2e3f4a5b6c";
const TWO: &str = "00000000-1111-4222-8333-444444444444";
const STATIC: &str = "0c9e42b7d5a84f0e9f3a0e5a7be5a0a1";

/// The directories of three pods, one of each class, as a driver names them.
fn tree(systemd: bool, prefix: &str) -> [String; 3] {
    if systemd {
        let above =
            prefix.split('/').filter(|p| !p.is_empty()).map(|p| format!("{p}.slice/")).collect::<String>();
        let name = prefix.split('/').filter(|p| !p.is_empty()).map(|p| format!("{p}-")).collect::<String>();
        let pod = |class: &str, uid: &str| {
            format!("{name}kubepods{class}-pod{}.slice/c.scope", uid.replace('-', "_"))
        };
        let top = format!("{above}{name}kubepods.slice");
        [
            format!("{top}/{name}kubepods-burstable.slice/{}", pod("-burstable", ONE)),
            format!("{top}/{name}kubepods-besteffort.slice/{}", pod("-besteffort", TWO)),
            format!("{top}/{}", pod("", STATIC)),
        ]
    } else {
        let top = if prefix.is_empty() { "kubepods".into() } else { format!("{prefix}/kubepods") };
        [
            format!("{top}/burstable/pod{ONE}/c"),
            format!("{top}/besteffort/pod{TWO}/c"),
            format!("{top}/pod{STATIC}/c"),
        ]
    }
}

fn inode(root: &Path, container: &str) -> u64 {
    fs::metadata(root.join(container).parent().unwrap()).unwrap().ino()
}

fn cgroups(root: &Path) -> (PodCgroups, mpsc::Receiver<()>) {
    let (hint, hints) = mpsc::channel(1);
    (PodCgroups::new(root.into(), hint), hints)
}

#[test]
fn pods_of_every_class_are_found_by_either_driver_and_below_a_kubelets_own_root() {
    for systemd in [true, false] {
        for prefix in ["", "kubelet", "system/kubelet"] {
            let dir = tempfile::tempdir().unwrap();
            let tree = tree(systemd, prefix);
            fs::create_dir_all(dir.path().join("system.slice/cron.service")).unwrap();
            tree.iter().for_each(|path| fs::create_dir_all(dir.path().join(path)).unwrap());
            let found = cgroups(dir.path()).0.find(false);
            let ids = [ONE, TWO, STATIC].map(|uid| found.get(uid).cloned().unwrap_or_default());
            let wanted = tree.each_ref().map(|path| vec![inode(dir.path(), path)]);
            assert_eq!(ids, wanted, "systemd: {systemd}, below {prefix:?}");
            assert_eq!(found.len(), 3, "{found:?}");
        }
    }
}

#[test]
fn where_two_drivers_have_left_a_directory_for_a_pod_both_count() {
    let dir = tempfile::tempdir().unwrap();
    let trees = [tree(true, ""), tree(false, "")];
    trees.iter().for_each(|tree| fs::create_dir_all(dir.path().join(&tree[0])).unwrap());
    let mut ids = cgroups(dir.path()).0.find(false)[ONE].clone();
    let mut wanted: Vec<u64> = trees.iter().map(|tree| inode(dir.path(), &tree[0])).collect();
    ids.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(ids, wanted);
}

#[test]
fn a_tree_without_pods_or_without_anything_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a/b/c/d/kubepods/burstable/podtoo-deep")).unwrap();
    assert_eq!(cgroups(dir.path()).0.find(true), Found::new());
    assert_eq!(cgroups(&dir.path().join("none")).0.find(true), Found::new());
}

/// Waits for a hint, so long as one may take.
async fn hinted(hints: &mut mpsc::Receiver<()>) -> bool {
    let told = tokio::time::timeout(Duration::from_secs(5), hints.recv()).await;
    // Each step of a path made is one.
    tokio::time::sleep(Duration::from_millis(50)).await;
    while hints.try_recv().is_ok() {}
    told.is_ok_and(|hint| hint.is_some())
}

#[tokio::test]
async fn a_pod_that_comes_is_told_on_every_level_and_one_that_comes_again_is_another() {
    let dir = tempfile::tempdir().unwrap();
    let (mut cgroups, mut hints) = cgroups(dir.path());
    assert_eq!(cgroups.find(false).len(), 0);
    for systemd in [true, false] {
        let tree = tree(systemd, "");
        let [pod, other, guaranteed] = tree.each_ref().map(|path| dir.path().join(path));
        let (pod, guaranteed) = (pod.parent().unwrap(), guaranteed.parent().unwrap());
        let (class, top) = (pod.parent().unwrap(), guaranteed.parent().unwrap());
        for (step, pods) in [(top, 0), (class, 0), (pod, 1), (guaranteed, 2)] {
            fs::create_dir(step).unwrap();
            assert!(hinted(&mut hints).await, "{}", step.display());
            assert_eq!(cgroups.find(false).len(), pods, "{}", step.display());
        }
        fs::create_dir_all(&other).unwrap();
        assert!(hinted(&mut hints).await);
        assert_eq!(cgroups.find(false).len(), 3);
        // As at a reset of the class's cgroup.
        fs::remove_dir_all(class).unwrap();
        assert!(hinted(&mut hints).await);
        assert_eq!(cgroups.find(false).len(), 2);
        fs::create_dir(class).unwrap();
        assert!(hinted(&mut hints).await);
        cgroups.find(false);
        fs::create_dir(pod).unwrap();
        assert!(hinted(&mut hints).await, "the new directory of the class is followed too");
        assert_eq!(cgroups.find(false)[ONE], [fs::metadata(pod).unwrap().ino()]);
        fs::remove_dir_all(top).unwrap();
        assert!(hinted(&mut hints).await);
        assert_eq!(cgroups.find(false).len(), 0);
    }
}

#[tokio::test]
async fn reading_the_tree_is_no_change_of_it() {
    let dir = tempfile::tempdir().unwrap();
    tree(true, "").iter().for_each(|path| fs::create_dir_all(dir.path().join(path)).unwrap());
    let (mut cgroups, mut hints) = cgroups(dir.path());
    for _ in 0..3 {
        cgroups.find(true);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(hints.try_recv().is_err());
}
