//! Programs that were let run on, and how to stop them later.

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a program may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// What `NAME.pid` holds.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    pid: i32,
    program: String,
}

impl Record {
    /// The process, if it still runs and still is the program that was started: ids are given again.
    fn running(&self) -> Option<Pid> {
        let pid = Pid::from_raw(self.pid).filter(|pid| test_kill_process(*pid).is_ok())?;
        command_line(self.pid)
            .is_some_and(|line| line.starts_with(&self.program))
            .then_some(pid)
    }
}

/// Writes down what [`stop_detached`] needs to know.
pub(crate) fn record(state: &Path, name: &str, pid: u32, program: &str) -> anyhow::Result<()> {
    let record = Record {
        pid: i32::try_from(pid)?,
        program: program.to_owned(),
    };
    let path = state.join(format!("{name}.pid"));
    std::fs::write(&path, serde_json::to_vec(&record)?).with_context(|| format!("cannot write {}", path.display()))
}

/// Stops what was detached with its id in this folder: SIGTERM, and SIGKILL if that is not enough. Blocks until all
/// of it is gone, and removes the `*.pid` files; the rest of the folder stays. Gives the names of what was stopped,
/// which leaves out what had ended before.
pub fn stop_detached(state: &Path) -> anyhow::Result<Vec<String>> {
    let mut files = Vec::new();
    let mut running = Vec::new();
    for entry in std::fs::read_dir(state).with_context(|| format!("cannot read {}", state.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "pid") {
            let record: Record = serde_json::from_slice(&std::fs::read(&path)?)
                .with_context(|| format!("{} is not a record of a program", path.display()))?;
            if record.running().is_some() {
                running.push((
                    path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
                    record,
                ));
            }
            files.push(path);
        }
    }
    for signal in [Signal::TERM, Signal::KILL] {
        for pid in running.iter().filter_map(|(_, record)| record.running()) {
            // One that ended in this moment is what is wanted.
            let _ = kill_process(pid, signal);
        }
        let deadline = Instant::now() + GRACE;
        while running.iter().any(|(_, record)| record.running().is_some()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    if let Some((name, record)) = running.iter().find(|(_, record)| record.running().is_some()) {
        anyhow::bail!("{name} (process {}) does not end", record.pid);
    }
    for file in files {
        std::fs::remove_file(file)?;
    }
    Ok(running.into_iter().map(|(name, _)| name).collect())
}

/// The command line of a process: from /proc, or where that does not exist from `ps`. A zombie has none.
fn command_line(pid: i32) -> Option<String> {
    let bytes = if Path::new("/proc/self/cmdline").exists() {
        std::fs::read(format!("/proc/{pid}/cmdline")).ok()?
    } else {
        std::process::Command::new("ps")
            .args(["-ww", "-o", "args=", "-p"])
            .arg(pid.to_string())
            .output()
            .ok()?
            .stdout
    };
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
