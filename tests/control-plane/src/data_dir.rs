//! The folder of a control plane.

use crate::watchdog::Watchdog;
use anyhow::{Context, bail, ensure};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A socket's path has at most 103 bytes on any system (104 with its end, on macOS), and the name needs some of them.
const LONGEST: usize = 80;
/// How many names are tried for a temporary folder.
const NAMES: usize = 100;

/// The folder of a control plane: one that the caller chose, or a temporary one that goes with us.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// Of a temporary folder that is to be removed.
    watchdog: Option<Watchdog>,
}

impl DataDir {
    pub(crate) fn new(chosen: Option<PathBuf>) -> anyhow::Result<Self> {
        let data = match chosen {
            Some(path) => {
                std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
                ensure!(path.read_dir()?.next().is_none(), "{} is not empty", path.display());
                // Programs are started in it and elsewhere.
                Self {
                    path: std::path::absolute(path)?,
                    watchdog: None,
                }
            }
            None => Self::temporary()?,
        };
        let length = data.path.as_os_str().as_bytes().len();
        ensure!(
            length <= LONGEST,
            "the path {} is too long to have a socket in it ({length} bytes, at most {LONGEST}): choose another folder, \
             or set TMPDIR",
            data.path.display()
        );
        Ok(data)
    }

    fn temporary() -> anyhow::Result<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let parent = std::path::absolute(std::env::temp_dir())?;
        // A process that had our id and died with the machine may have left its folders.
        for _ in 0..NAMES {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("control-plane-{}-{number}", std::process::id()));
            if let Some(watchdog) = Watchdog::of_new_folder(&path)? {
                let watchdog = Some(watchdog);
                return Ok(Self { path, watchdog });
            }
        }
        bail!("cannot make a folder in {}", parent.display())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the folder where it is.
    pub(crate) fn keep(mut self) -> PathBuf {
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.dismiss();
        }
        std::mem::take(&mut self.path)
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if let Some(watchdog) = self.watchdog.take() {
            // Nothing writes to it any more; if it cannot be removed now, it cannot be removed later.
            let _ = std::fs::remove_dir_all(&self.path);
            watchdog.dismiss();
        }
    }
}
