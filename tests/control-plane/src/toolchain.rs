//! Building one program with the Go toolchain.

use crate::output::tail;
use crate::process::Process;
use crate::program::{GO_MOD, GO_SUM, Heartbeat, Program, say};
use anyhow::{Context, bail};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What to do without a (new enough) Go.
const WAYS_OUT: &str = "install it (https://go.dev/dl/), or set KUBEBUILDER_ASSETS to a folder that holds \
                        kube-apiserver, etcd and kubectl";
/// How many lines of a failed build are shown.
const TAIL: usize = 30;

/// The second word of the line of `go.mod` that begins with `word`.
fn from_go_mod(word: &str) -> &'static str {
    let line = GO_MOD
        .lines()
        .find_map(|line| line.trim().strip_prefix(word)?.strip_prefix(' '));
    line.and_then(|rest| rest.split_whitespace().next()).unwrap_or_default()
}

/// No symbols, and the version where Kubernetes' programs look for it: unstamped, `kubectl version` and `helm` stop
/// with an error.
pub(crate) fn linker_flags() -> String {
    let version = from_go_mod("k8s.io/kubernetes");
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let helm = from_go_mod("helm.sh/helm/v4");
    format!(
        "-s -w -X k8s.io/component-base/version.gitVersion={version} \
         -X k8s.io/component-base/version.gitMajor={major} -X k8s.io/component-base/version.gitMinor={minor} \
         -X helm.sh/helm/v4/internal/version.version={helm}"
    )
}

/// Builds a program to `target`, with a folder of its own in `folder` to work in. The caller holds the program's lock.
pub(crate) fn build(program: Program, folder: &Path, target: &Path) -> anyhow::Result<()> {
    require_go(program)?;
    let name = program.name();
    let work = folder.join(format!("{name}.build"));
    // One that was killed may have left its folder.
    if work.exists() {
        std::fs::remove_dir_all(&work)?;
    }
    std::fs::create_dir(&work).with_context(|| format!("cannot create {}", work.display()))?;
    std::fs::write(work.join("go.mod"), GO_MOD)?;
    std::fs::write(work.join("go.sum"), GO_SUM)?;
    let built = work.join(name);
    let mut go = go();
    go.current_dir(&work)
        .args([
            "build",
            "-mod=readonly",
            "-buildvcs=false",
            "-trimpath",
            "-ldflags",
            &linker_flags(),
            "-o",
        ])
        .arg(&built)
        .arg(program.package());

    let usual = program.usual_build();
    let mut heartbeat = Heartbeat::start(format!(
        "building {name} (once; about {usual} on two cores, plus its downloads)"
    ));
    // As a `Process` the compiler ends with us.
    let process = Process::spawn("go", &go, &work)?;
    let status = loop {
        if let Some(status) = process.exit_status() {
            break status;
        }
        heartbeat.beat();
        std::thread::sleep(Duration::from_millis(100));
    };
    if !status.success() {
        let output = tail(&process.stderr(), TAIL);
        bail!(
            "go could not build {name} ({status}):{output}\nIf this is the network, try again: what was downloaded \
             and compiled is kept. If Go modules cannot be reached from here, set GOPROXY, or {WAYS_OUT}"
        );
    }
    // Under its final name a program is always whole.
    std::fs::rename(&built, target).with_context(|| format!("cannot move {name} to {}", target.display()))?;
    std::fs::remove_dir_all(&work)?;
    say(&format!("built {name} in {} s", heartbeat.seconds()));
    Ok(())
}

/// Go with the settings that decide what is built, whatever the user's are.
fn go() -> Command {
    let mut go = Command::new("go");
    // `local`: a toolchain is never downloaded behind the user's back.
    go.env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .env("CGO_ENABLED", "0")
        .env_remove("GOOS")
        .env_remove("GOARCH");
    go
}

fn require_go(program: Program) -> anyhow::Result<()> {
    let name = program.name();
    let needed = from_go_mod("go");
    let output = match go().args(["env", "GOVERSION"]).current_dir("/").output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("Go {needed} or newer is needed to build {name}, and there is no `go` in PATH: {WAYS_OUT}")
        }
        Err(error) => return Err(error).context("cannot run go"),
    };
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if is_older(&version, needed) {
        bail!("Go {needed} or newer is needed to build {name}, and `go` is {version}: {WAYS_OUT}");
    }
    Ok(())
}

/// Whether a version such as `go1.25.1` is older than `1.26.0`. One that does not read like a release (a development
/// build) is taken for new enough; go itself has the last word.
fn is_older(version: &str, needed: &str) -> bool {
    let numbers = |text: &str| -> Option<Vec<u32>> {
        let digits = |part: &str| {
            part.chars()
                .take_while(char::is_ascii_digit)
                .collect::<String>()
                .parse()
                .ok()
        };
        text.split('.').take(2).map(digits).collect()
    };
    match (version.strip_prefix("go").and_then(numbers), numbers(needed)) {
        (Some(version), Some(needed)) => version < needed,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_come_from_go_mod() {
        let flags = linker_flags();
        assert!(flags.contains("version.gitVersion=v1."), "{flags}");
        assert!(flags.contains("version.gitMajor=1 "), "{flags}");
        assert!(flags.contains("helm/v4/internal/version.version=v4."), "{flags}");
        assert!(from_go_mod("go").starts_with("1."));
    }

    #[test]
    fn every_program_is_a_tool_of_go_mod() {
        for program in Program::ALL {
            assert!(
                GO_MOD.lines().any(|line| line.trim() == program.package()),
                "{program:?}"
            );
        }
    }

    #[test]
    fn an_old_go_is_told_from_a_new_one() {
        assert!(is_older("go1.25.9", "1.26.0"));
        assert!(is_older("go1.9", "1.26.0"));
        assert!(!is_older("go1.26rc1", "1.26.0"));
        assert!(!is_older("go1.26.8", "1.26.0"));
        assert!(!is_older("go2.0", "1.26.0"));
        assert!(!is_older("devel +abc", "1.26.0"));
    }
}
