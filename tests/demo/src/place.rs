//! Where things are: the programs that were built beside this one, and the files of the checkout.

use anyhow::{Context, ensure};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The root of the checkout, from which the paths in messages are.
pub(crate) fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A program of this workspace, which cargo puts beside this one.
pub(crate) fn program(name: &str) -> anyhow::Result<PathBuf> {
    let path = beside_us()?.join(name);
    ensure!(
        path.is_file(),
        "{} is missing: run `make demo`, or build all with `cargo build --workspace`",
        path.display()
    );
    Ok(path)
}

/// Where the records of the runs are, unless the caller says otherwise.
pub(crate) fn runs() -> anyhow::Result<PathBuf> {
    Ok(beside_us()?.join("demo-runs"))
}

fn beside_us() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("this program does not know where it is")?;
    Ok(own.parent().context("this program is in no folder")?.to_owned())
}

/// Writes a file that only this user can read.
pub(crate) fn write_private(path: &Path, content: &str) -> anyhow::Result<()> {
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}
