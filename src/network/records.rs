//! The records of all leases: a directory for each bridge, below one that is locked (flock(2))
//! by the command that changes it.
//!
//! Published ports belong to the host, so one lock covers all bridges. A record is replaced as
//! a whole, so it can be read without the lock.

use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use super::lease::Lease;

/// Where the records are. It does not depend on `--root`, because the host has only one
/// network.
pub(crate) const DIRECTORY: &str = "/run/rt/network";

const FILE: &str = "leases.json";
const DRAFT: &str = "leases.json.draft";

/// What is recorded about one bridge.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The boot (`/proc/sys/kernel/random/boot_id`) that the leases belong to.
    pub(crate) boot_id: String,
    /// The address that `rt` gave to a bridge that it made: a bridge with another one is
    /// somebody else's. `None` if `rt` did not make it.
    pub(crate) mac: Option<String>,
    /// With the bridge's own addresses in them.
    pub(crate) subnets: Vec<IpNet>,
    /// In the order in which they were taken.
    pub(crate) leases: Vec<Lease>,
}

/// All records, locked.
pub(super) struct Records {
    directory: File,
}

impl Records {
    /// Waits for the lock. Makes the directory if it is missing.
    ///
    /// # Errors
    /// When the directory cannot be made or locked, or belongs to another user.
    pub(super) fn lock_or_make() -> Result<Records> {
        loop {
            if let Some(records) = Records::lock()? {
                return Ok(records);
            }
            let mut private = DirBuilder::new();
            private.mode(0o700).recursive(true);
            private.create(DIRECTORY).context(DIRECTORY)?;
        }
    }

    /// Waits for the lock. `None` when nothing is recorded, or everything was removed meanwhile.
    ///
    /// # Errors
    /// As [`Records::lock_or_make`].
    pub(super) fn lock() -> Result<Option<Records>> {
        let mut options = File::options();
        options
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW);
        let directory = match options.open(DIRECTORY) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            directory => directory.context(DIRECTORY)?,
        };
        let own = directory.metadata().context(DIRECTORY)?;
        ensure!(
            own.uid() == geteuid().as_raw() && own.mode() & 0o022 == 0,
            "{DIRECTORY}: other users can write to it; remove it once no container uses a network"
        );
        directory
            .lock()
            .with_context(|| format!("lock {DIRECTORY}"))?;
        // The previous holder of the lock may have removed the directory.
        match fs::symlink_metadata(DIRECTORY) {
            Ok(now) if (now.dev(), now.ino()) == (own.dev(), own.ino()) => {
                Ok(Some(Records { directory }))
            }
            Ok(_) => Records::lock(),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(DIRECTORY),
        }
    }

    /// Replaces the record of a bridge.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn write(&self, bridge: &str, record: &Record) -> Result<()> {
        let directory = directory_of(bridge);
        let subject = || directory.display().to_string();
        let text = serde_json::to_vec(record).with_context(subject)?;
        let draft = directory.join(DRAFT);
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let opened = match options.open(&draft) {
            // The first lease of this bridge.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let made = DirBuilder::new().mode(0o700).create(&directory);
                made.and_then(|()| options.open(&draft))
            }
            opened => opened,
        };
        opened
            .and_then(|mut file| file.write_all(&text))
            .and_then(|()| fs::rename(&draft, directory.join(FILE)))
            .with_context(subject)
    }

    /// Replaces the record of a bridge, or removes it when it has no lease.
    ///
    /// # Errors
    /// When a file cannot be written or removed.
    pub(super) fn put(&self, bridge: &str, record: &Record) -> Result<()> {
        if record.leases.is_empty() {
            self.remove(bridge)
        } else {
            self.write(bridge, record)
        }
    }

    /// Removes the record of a bridge, and the directory of all with the last. What is missing
    /// is no error.
    ///
    /// # Errors
    /// When something cannot be removed.
    fn remove(&self, bridge: &str) -> Result<()> {
        let directory = directory_of(bridge);
        let files = [DRAFT, FILE].map(|file| fs::remove_file(directory.join(file)));
        for removed in files.into_iter().chain([fs::remove_dir(&directory)]) {
            match removed {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                removed => removed.with_context(|| directory.display().to_string())?,
            }
        }
        self.remove_if_empty()
    }

    /// Removes the directory of all records, if there is none.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(super) fn remove_if_empty(&self) -> Result<()> {
        match fs::remove_dir(DIRECTORY) {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty
                ) =>
            {
                Ok(())
            }
            removed => removed.context(DIRECTORY),
        }
    }

    /// Releases the lock.
    pub(super) fn unlock(self) {
        drop(self.directory);
    }
}

/// The record of a bridge. `None` when there is none.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn read(bridge: &str) -> Result<Option<Record>> {
    let path = directory_of(bridge).join(FILE);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| path.display().to_string())?,
    };
    let record = serde_json::from_slice(&text);
    record.map(Some).with_context(|| {
        let path = path.display();
        format!("{path}: remove it once no container uses the bridge")
    })
}

/// The bridges that have a directory, sorted.
///
/// # Errors
/// When the directory of all records cannot be read.
pub(crate) fn bridges() -> Result<Vec<String>> {
    let entries = match fs::read_dir(DIRECTORY) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context(DIRECTORY)?,
    };
    let mut bridges: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    bridges.sort_unstable();
    Ok(bridges)
}

fn directory_of(bridge: &str) -> PathBuf {
    Path::new(DIRECTORY).join(bridge)
}
