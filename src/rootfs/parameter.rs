//! Options of file systems: those of a mount that `rt` does not interpret itself.

use std::ffi::CString;
use std::fmt;

use anyhow::{Result, anyhow};

use crate::selinux::Label;

/// Options whose value is an SELinux label (mount(8)).
const LABELS: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];

/// An option of a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    Flag(CString),
    Value(CString, CString),
}

/// The option by which all files of a new file system get `linux.mountLabel`, if it is set.
pub(super) fn context(label: Option<&Label>) -> Option<Parameter> {
    label.map(|label| Parameter::Value(c"context".into(), label.as_c_string().clone()))
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Parameter::Flag(key) => f.write_str(&key.to_string_lossy()),
            Parameter::Value(key, value) => {
                write!(f, "{}={}", key.to_string_lossy(), value.to_string_lossy())
            }
        }
    }
}

impl Parameter {
    /// Podman before 5.7 passes these options of a volume on to its mount.
    pub(super) fn is_volume_option(&self) -> bool {
        match self {
            Parameter::Flag(flag) => matches!(flag.to_bytes(), b"copy" | b"nocopy"),
            Parameter::Value(key, _) => key.to_bytes() == b"volume-opt",
        }
    }

    /// Whether it gives labels to the files, so that `linux.mountLabel` does not.
    pub(super) fn is_label(&self) -> bool {
        let key = match self {
            Parameter::Flag(_) => return false,
            Parameter::Value(key, _) => key.to_str(),
        };
        key.is_ok_and(|key| LABELS.contains(&key))
    }

    /// As in the comma-separated options of mount(2).
    pub(super) fn to_mount_data(&self) -> String {
        match self {
            Parameter::Value(key, value) if value.to_bytes().contains(&b',') => {
                let quote = if self.is_label() { "\"" } else { "" };
                let (key, value) = (key.to_string_lossy(), value.to_string_lossy());
                format!("{key}={quote}{value}{quote}")
            }
            other => other.to_string(),
        }
    }

    pub(super) fn parse(option: &str) -> Result<Parameter> {
        let text =
            |part: &str| CString::new(part).map_err(|_| anyhow!("{option:?} holds a NUL byte"));
        Ok(match option.split_once('=') {
            // The quotes only protect the commas of a label from being split.
            Some((key, value)) if LABELS.contains(&key) => {
                Parameter::Value(text(key)?, text(&value.replace('"', ""))?)
            }
            Some((key, value)) => Parameter::Value(text(key)?, text(value)?),
            None => Parameter::Flag(text(option)?),
        })
    }
}
