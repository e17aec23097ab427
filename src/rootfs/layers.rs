//! Layers of an overlay in `mounts` whose paths are too long for one call of fsconfig(2).
//!
//! Where the kernel supports `lowerdir+`, each layer is passed by a call of its own. A
//! single path that is still too long is opened and passed as /proc/self/fd/N.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use anyhow::{Result, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::parameter::Parameter;
use crate::sys::{self, FsConfig};

/// The longest value of a parameter, in bytes. fsconfig(2) takes 256 with the NUL; mount(2)
/// takes one page for all options together.
pub(super) const MAX_VALUE: usize = 255;

/// Options whose values are paths on the host.
const PATH_PARAMETERS: [&[u8]; 3] = [b"lowerdir", b"upperdir", b"workdir"];

/// Appends a lower layer (Linux 6.7).
const LOWERDIR_APPEND: &CStr = c"lowerdir+";

/// Appends a data-only layer (overlayfs.rst, Linux 6.7).
const DATADIR_APPEND: &CStr = c"datadir+";

fn is_path(key: &CStr) -> bool {
    PATH_PARAMETERS.contains(&key.to_bytes())
}

/// Checks that all layers are absolute paths: no directory is defined that a relative one
/// would start at.
pub(super) fn require_absolute_paths(data: &[Parameter]) -> Result<()> {
    for parameter in data {
        let Parameter::Value(key, value) = parameter else {
            continue;
        };
        let mut layers = split(key, value.to_bytes()).into_iter();
        let name = || {
            format!(
                "options: {}={}",
                key.to_string_lossy(),
                value.to_string_lossy()
            )
        };
        ensure!(
            !is_path(key) || layers.all(|layer| layer.is_empty() || layer[0] == b'/'),
            "{}: not an absolute path",
            name()
        );
    }
    Ok(())
}

/// Whether fsconfig(2) of this kernel accepts `parameter` after [`for_fsconfig`].
pub(super) fn fits_fsconfig(parameter: &Parameter) -> nix::Result<bool> {
    match parameter {
        Parameter::Value(key, value) if value.to_bytes().len() > MAX_VALUE => {
            if key.as_c_str() == c"lowerdir" {
                supports_lowerdir_append()
            } else {
                Ok(is_path(key))
            }
        }
        _ => Ok(true),
    }
}

/// Before Linux 6.5 fsconfig(2) accepts any option for an overlay and checks none until the
/// end. From 6.7 on it knows `lowerdir+`, which requires a value.
///
/// # Errors
/// Those of fsopen(2): `EPERM` for a caller who may not mount, `ENODEV` without overlay.
pub(crate) fn supports_lowerdir_append() -> nix::Result<bool> {
    let try_parameter = |parameter| sys::fsconfig(sys::fsopen(c"overlay")?.as_fd(), parameter);
    if try_parameter(FsConfig::Flag(LOWERDIR_APPEND)).is_ok() {
        return Ok(false);
    }
    match try_parameter(FsConfig::String(LOWERDIR_APPEND, c"/")) {
        Err(Errno::EINVAL) => Ok(false),
        result => result.map(|()| true),
    }
}

/// Splits a parameter that is too long into ones that fsconfig(2) accepts. The descriptors
/// that it adds to `descriptors` must stay open until the file system is made.
///
/// # Errors
/// Those of open(2), for a directory that is missing.
pub(super) fn for_fsconfig(
    parameter: &Parameter,
    descriptors: &mut Vec<OwnedFd>,
) -> nix::Result<Vec<Parameter>> {
    let (key, value) = match parameter {
        Parameter::Value(key, value) if value.to_bytes().len() > MAX_VALUE && is_path(key) => {
            (key, value)
        }
        short => return Ok(vec![short.clone()]),
    };
    let mut parameters = Vec::new();
    let mut key = if key.as_c_str() == c"lowerdir" {
        LOWERDIR_APPEND
    } else {
        key
    };
    for layer in split_layers(value.to_bytes(), key == LOWERDIR_APPEND) {
        // After an empty path (two colons in a row) the layers are data-only.
        if layer.is_empty() {
            key = DATADIR_APPEND;
            continue;
        }
        parameters.push(Parameter::Value(
            key.into(),
            path_or_descriptor(layer, descriptors)?,
        ));
    }
    Ok(parameters)
}

fn path_or_descriptor(layer: Vec<u8>, descriptors: &mut Vec<OwnedFd>) -> nix::Result<CString> {
    let name = if layer.len() > MAX_VALUE {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(OsStr::from_bytes(&layer), flags, Mode::empty())?;
        let name = format!("/proc/self/fd/{}", directory.as_raw_fd());
        descriptors.push(directory);
        name.into_bytes()
    } else {
        layer
    };
    CString::new(name).map_err(|_| Errno::EINVAL)
}

/// Splits a value into paths. A backslash escapes the next character. Only `lowerdir` has
/// several paths, separated by colons.
fn split(key: &CStr, list: &[u8]) -> Vec<Vec<u8>> {
    split_layers(list, key == c"lowerdir")
}

fn split_layers(list: &[u8], several: bool) -> Vec<Vec<u8>> {
    let separates = |byte: u8| byte == b':' && several;
    let (mut paths, mut bytes) = (vec![Vec::new()], list.iter());
    while let Some(byte) = bytes.next() {
        match (byte, paths.last_mut()) {
            (byte, _) if separates(*byte) => paths.push(Vec::new()),
            (b'\\', Some(path)) => path.extend(bytes.next()),
            (byte, Some(path)) => path.push(*byte),
            (_, None) => {}
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(key: &str, value: &str) -> Parameter {
        Parameter::Value(CString::new(key).unwrap(), CString::new(value).unwrap())
    }

    #[test]
    fn lists_are_split_at_colons_that_are_not_escaped() {
        let paths = |list: &str| -> Vec<String> {
            let paths = split(c"lowerdir", list.as_bytes()).into_iter();
            paths.map(|path| String::from_utf8(path).unwrap()).collect()
        };
        assert_eq!(paths("/a"), ["/a"]);
        assert_eq!(paths("/a:/b"), ["/a", "/b"]);
        assert_eq!(paths(r"/a\:b:/c\\d"), ["/a:b", r"/c\d"]);
        assert_eq!(paths("/a::/data"), ["/a", "", "/data"]);
        assert_eq!(split(c"upperdir", b"/a:b"), [b"/a:b"]);
    }

    #[test]
    fn a_relative_layer_is_refused() {
        assert!(
            require_absolute_paths(&[value("lowerdir", "/a:/b::/c"), value("index", "off")])
                .is_ok()
        );
        for (key, path) in [("lowerdir", "/a:b"), ("upperdir", "u"), ("workdir", "./w")] {
            let error = require_absolute_paths(&[value(key, path)])
                .unwrap_err()
                .to_string();
            assert_eq!(
                error,
                format!("options: {key}={path}: not an absolute path")
            );
        }
    }

    #[test]
    fn a_value_that_is_too_long_is_passed_layer_by_layer() {
        let mut open = Vec::new();
        let short = value("lowerdir", "/usr:/etc");
        assert_eq!(for_fsconfig(&short, &mut open).unwrap(), [short]);
        let deep = format!("/{}tmp", "./".repeat(150));
        let list = format!(r"/usr:{deep}:/a\:b::/data");
        let all = for_fsconfig(&value("lowerdir", &list), &mut open).unwrap();
        let [directory] = &open[..] else {
            panic!("exactly one layer is too long: {open:?}");
        };
        let name = format!("/proc/self/fd/{}", directory.as_raw_fd());
        let expected = [
            value("lowerdir+", "/usr"),
            value("lowerdir+", &name),
            value("lowerdir+", "/a:b"),
            value("datadir+", "/data"),
        ];
        assert_eq!(all, expected);
        let all = for_fsconfig(&value("upperdir", &deep), &mut open).unwrap();
        let name = format!("/proc/self/fd/{}", open[1].as_raw_fd());
        assert_eq!(all, [value("upperdir", &name)]);
    }
}
