//! How programs are found and built, with a `go` of our own in the place of the real one.

use crate::machine::{eventually, running_with};
use control_plane::Process;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// A folder with a cache, and with a `go` that tells a version, counts its builds, and then does `build`, where `$out`
/// is the file that it is asked for.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new(version: &str, build: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let go = folder.path().join("go");
        let script = format!(
            r#"#!/bin/sh
[ "$1" = env ] && {{ echo {version}; exit 0; }}
echo build >> "{builds}"
while [ "$1" != -o ]; do shift; done
out=$2
{build}
"#,
            builds = folder.path().join("builds").display()
        );
        std::fs::write(&go, script).unwrap();
        std::fs::set_permissions(&go, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn builds(&self) -> usize {
        std::fs::read_to_string(self.path().join("builds"))
            .unwrap_or_default()
            .lines()
            .count()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_control-plane"));
        let path = format!("{}:{}", self.path().display(), std::env::var("PATH").unwrap());
        command
            .args(arguments)
            .env("PATH", path)
            .env_remove("KUBEBUILDER_ASSETS");
        command.env("GUEST_OPERATOR_CACHE", self.path().join("cache"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_program_is_built_when_it_is_first_needed_and_then_no_more() {
    let machine = Machine::new("go1.26.8", "echo program > \"$out\"");
    let first = machine.run(&["path", "helm"]);
    assert!(first.status.success(), "{}", stderr(&first));
    assert!(stderr(&first).contains("building helm (once; about 1 minute") && stderr(&first).contains("built helm in"));
    let path = PathBuf::from(stdout(&first));
    assert!(path.starts_with(machine.path().join("cache")) && path.ends_with("helm"));
    assert_eq!(std::fs::read_to_string(path).unwrap(), "program\n");
    let second = machine.run(&["path", "helm"]);
    assert_eq!((stdout(&second), stderr(&second)), (stdout(&first), String::new()));
    assert_eq!(machine.builds(), 1);
    // Without names it is what every control plane needs.
    assert!(machine.run(&["build"]).status.success());
    assert_eq!(machine.builds(), 4);
}

#[test]
fn processes_that_need_the_same_program_build_it_once() {
    let machine = Machine::new("go1.26.8", "sleep 1; echo program > \"$out\"");
    let outputs: Vec<_> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..4).map(|_| scope.spawn(|| machine.run(&["path", "etcd"]))).collect();
        started.into_iter().map(|running| running.join().unwrap()).collect()
    });
    assert!(
        outputs
            .iter()
            .all(|output| output.status.success() && stdout(output) == stdout(&outputs[0]))
    );
    assert_eq!(machine.builds(), 1);
    let waited = outputs
        .iter()
        .filter(|output| stderr(output).contains("another process is building etcd"));
    assert_eq!(waited.count(), 3);
}

#[test]
fn a_failed_build_shows_the_end_of_what_go_said_and_is_tried_again() {
    let say = "i=0; while [ $i -lt 100 ]; do i=$((i + 1)); echo line-$i >&2; done; exit 1";
    let machine = Machine::new("go1.26.8", say);
    for builds in 1..=2 {
        let output = machine.run(&["build", "etcd"]);
        assert!(!output.status.success());
        let said = stderr(&output);
        assert!(said.contains("could not build etcd") && said.contains("line-100\n") && said.contains("line-71\n"));
        assert!(!said.contains("line-70\n") && said.contains("try again") && said.contains("KUBEBUILDER_ASSETS"));
        assert_eq!(machine.builds(), builds);
    }
}

#[test]
fn an_old_go_or_none_is_said_clearly() {
    let old = Machine::new("go1.22.1", "echo program > \"$out\"");
    let said = stderr(&old.run(&["build", "kubectl"]));
    assert!(
        said.contains("Go 1.26.0 or newer is needed to build kubectl, and `go` is go1.22.1"),
        "{said}"
    );
    assert_eq!(old.builds(), 0);
    let none = old
        .command(&["build", "kubectl"])
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    assert!(!none.status.success());
    assert!(
        stderr(&none).contains("there is no `go` in PATH: install it (https://go.dev/dl/)"),
        "{}",
        stderr(&none)
    );
}

#[test]
fn ready_programs_are_used_where_the_user_has_them() {
    let machine = Machine::new("go1.26.8", "echo program > \"$out\"");
    let assets = machine.path().join("assets");
    std::fs::create_dir(&assets).unwrap();
    std::fs::write(assets.join("etcd"), "theirs").unwrap();
    let path = |name: &str| {
        machine
            .command(&["path", name])
            .env("KUBEBUILDER_ASSETS", &assets)
            .output()
            .unwrap()
    };
    assert_eq!(stdout(&path("etcd")), assets.join("etcd").to_str().unwrap());
    let missing = path("kubectl");
    assert!(!missing.status.success());
    assert!(
        stderr(&missing).contains("which holds no kubectl"),
        "{}",
        stderr(&missing)
    );
    assert_eq!(machine.builds(), 0);
    // Such a folder never has this one.
    assert!(path("kube-controller-manager").status.success());
    assert_eq!(machine.builds(), 1);
}

#[tokio::test]
async fn the_compiler_ends_with_who_started_it() {
    let machine = Machine::new("go1.26.8", "while :; do sleep 0.05; done");
    let logs = tempfile::tempdir().unwrap();
    let process = Process::spawn("build", &machine.command(&["build", "etcd"]), logs.path()).unwrap();
    let builds = || running_with(&machine.path().join("cache"));
    eventually("it builds", || {
        if builds().len() == 1 {
            Ok(())
        } else {
            Err(format!("{:?}", builds()))
        }
    })
    .await;
    process.kill_9().await.unwrap();
    eventually("no build", || {
        if builds().is_empty() {
            Ok(())
        } else {
            Err(format!("{:?}", builds()))
        }
    })
    .await;
    // And it can be built after that.
    let left = machine
        .command(&["build", "etcd"])
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    assert!(
        stderr(&left).contains("no `go` in PATH"),
        "the lock of a killed process is free"
    );
    assert_eq!(process.wait_exit(Duration::ZERO).await.unwrap().code(), None);
}
