//! What runs on this machine.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The command lines that name a folder. From /proc, or where that does not exist from `ps`; zombies have none.
pub(crate) fn running_with(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let all: Vec<String> = if Path::new("/proc/self/cmdline").exists() {
        // A process may end between the listing and the reading.
        let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        lines
            .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
            .collect()
    } else {
        let output = Command::new("ps").args(["-axww", "-o", "args="]).output().unwrap();
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect()
    };
    all.into_iter().filter(|line| line.contains(folder)).collect()
}

/// Asks again and again until the answer is `Ok`; after half a minute it panics with the last error.
pub(crate) async fn eventually(what: &str, mut check: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Err(error) = check() {
        assert!(Instant::now() < deadline, "{what}: not within 30 s: {error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
