//! The layers of an overlay that a configuration mounts, where their paths are
//! longer than fsconfig(2) takes: one by one then, where the kernel has that, and
//! by descriptors, through /proc, what is too long even so.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use anyhow::{Result, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::options::Parameter;
use crate::sys::{self, FsConfig};

/// The longest value of a parameter, in bytes (fsconfig(2) has 256 with the NUL;
/// mount(2) has a page for all of them).
pub(super) const LONGEST: usize = 255;

/// The parameters that name directories of the machine.
const PATHS: [&[u8]; 3] = [b"lowerdir", b"upperdir", b"workdir"];

/// Adds a layer below the others (Linux 6.7).
const ONE_BY_ONE: &CStr = c"lowerdir+";

/// Adds a data-only layer (overlayfs.rst, Linux 6.7).
const DATA_ONE_BY_ONE: &CStr = c"datadir+";

fn is_path(key: &CStr) -> bool {
    PATHS.contains(&key.to_bytes())
}

/// # Errors
/// A layer that is no absolute path: there is no directory that it would start at.
pub(super) fn check(data: &[Parameter]) -> Result<()> {
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

/// Whether this kernel takes `parameter` by fsconfig(2), in a form that
/// [`shortened`] gives it.
pub(super) fn fits(parameter: &Parameter) -> nix::Result<bool> {
    match parameter {
        Parameter::Value(key, value) if value.to_bytes().len() > LONGEST => {
            match key.as_c_str() == c"lowerdir" {
                true => takes_one_by_one(),
                false => Ok(is_path(key)),
            }
        }
        _ => Ok(true),
    }
}

/// Before Linux 6.5 an overlay's context takes any parameter and looks at none
/// until the end; from 6.7 on it knows this one, which has a value.
fn takes_one_by_one() -> nix::Result<bool> {
    let asked = |what| sys::fsconfig(sys::fsopen(c"overlay")?.as_fd(), what);
    if asked(FsConfig::Flag(ONE_BY_ONE)).is_ok() {
        return Ok(false);
    }
    match asked(FsConfig::String(ONE_BY_ONE, c"/")) {
        Err(Errno::EINVAL) => Ok(false),
        done => done.map(|()| true),
    }
}

/// The parameter in a form that the kernel takes. `open` keeps what it names
/// until the file system is made.
///
/// # Errors
/// A directory that is missing.
pub(super) fn shortened(
    parameter: &Parameter,
    open: &mut Vec<OwnedFd>,
) -> nix::Result<Vec<Parameter>> {
    let (key, value) = match parameter {
        Parameter::Value(key, value) if value.to_bytes().len() > LONGEST && is_path(key) => {
            (key, value)
        }
        short => return Ok(vec![short.clone()]),
    };
    let mut all = Vec::new();
    let mut key = match key.as_c_str() == c"lowerdir" {
        true => ONE_BY_ONE,
        false => key,
    };
    for layer in split_all(value.to_bytes(), key == ONE_BY_ONE) {
        // Two colons in a row: what follows has data only.
        if layer.is_empty() {
            key = DATA_ONE_BY_ONE;
            continue;
        }
        all.push(Parameter::Value(key.into(), named(layer, open)?));
    }
    Ok(all)
}

fn named(layer: Vec<u8>, open: &mut Vec<OwnedFd>) -> nix::Result<CString> {
    let name = match layer.len() > LONGEST {
        false => layer,
        true => {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let directory = self::open(OsStr::from_bytes(&layer), flags, Mode::empty())?;
            let name = format!("/proc/self/fd/{}", directory.as_raw_fd());
            open.push(directory);
            name.into_bytes()
        }
    };
    CString::new(name).map_err(|_| Errno::EINVAL)
}

/// The paths of a value; a backslash takes its meaning from the next character.
/// Of lower layers there may be several, with colons between.
fn split(key: &CStr, list: &[u8]) -> Vec<Vec<u8>> {
    split_all(list, key == c"lowerdir")
}

fn split_all(list: &[u8], several: bool) -> Vec<Vec<u8>> {
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
    fn layers_are_absolute() {
        assert!(check(&[value("lowerdir", "/a:/b::/c"), value("index", "off")]).is_ok());
        for (key, path) in [("lowerdir", "/a:b"), ("upperdir", "u"), ("workdir", "./w")] {
            let error = check(&[value(key, path)]).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("options: {key}={path}: not an absolute path")
            );
        }
    }

    #[test]
    fn what_is_too_long_goes_layer_by_layer() {
        let mut open = Vec::new();
        let short = value("lowerdir", "/usr:/etc");
        assert_eq!(shortened(&short, &mut open).unwrap(), [short]);
        let deep = format!("/{}tmp", "./".repeat(150));
        let list = format!(r"/usr:{deep}:/a\:b::/data");
        let all = shortened(&value("lowerdir", &list), &mut open).unwrap();
        let [directory] = &open[..] else {
            panic!("one is too long: {open:?}");
        };
        let name = format!("/proc/self/fd/{}", directory.as_raw_fd());
        let expected = [
            value("lowerdir+", "/usr"),
            value("lowerdir+", &name),
            value("lowerdir+", "/a:b"),
            value("datadir+", "/data"),
        ];
        assert_eq!(all, expected);
        let all = shortened(&value("upperdir", &deep), &mut open).unwrap();
        let name = format!("/proc/self/fd/{}", open[1].as_raw_fd());
        assert_eq!(all, [value("upperdir", &name)]);
    }
}
