//! The layers of an overlay that a configuration mounts, where their paths are
//! longer than fsconfig(2) takes: by descriptors then, through /proc.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use anyhow::{Result, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::options::Parameter;

/// The longest value of a parameter, in bytes (fsconfig(2) has 256 with the NUL;
/// mount(2) had a page for all of them).
pub(super) const LONGEST: usize = 255;

/// The parameters that name directories of the machine.
const PATHS: [&[u8]; 3] = [b"lowerdir", b"upperdir", b"workdir"];

fn is_path(key: &CString) -> bool {
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

/// The parameter in a form that the kernel takes. `open` keeps what it names
/// until the file system is made.
///
/// # Errors
/// A directory that is missing; `E2BIG` for too many layers.
pub(super) fn shortened(parameter: &Parameter, open: &mut Vec<OwnedFd>) -> nix::Result<Parameter> {
    let (key, value) = match parameter {
        Parameter::Value(key, value) if value.to_bytes().len() > LONGEST && is_path(key) => {
            (key, value)
        }
        short => return Ok(short.clone()),
    };
    let mut names = Vec::new();
    for layer in split(key, value.to_bytes()) {
        // Two colons in a row are of the kernel's language (data-only layers).
        if layer.is_empty() {
            names.push(String::new());
            continue;
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = self::open(OsStr::from_bytes(&layer), flags, Mode::empty())?;
        names.push(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        open.push(directory);
    }
    let value = CString::new(names.join(":")).map_err(|_| Errno::EINVAL)?;
    if value.to_bytes().len() > LONGEST {
        return Err(Errno::E2BIG);
    }
    Ok(Parameter::Value(key.clone(), value))
}

/// The paths of a value; a backslash takes its meaning from the next character.
/// Of lower layers there may be several, with colons between.
fn split(key: &CStr, list: &[u8]) -> Vec<Vec<u8>> {
    let separates = |byte: u8| byte == b':' && key == c"lowerdir";
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
    fn only_what_is_too_long_goes_by_descriptors() {
        let mut open = Vec::new();
        let short = value("lowerdir", "/usr:/etc");
        assert_eq!(shortened(&short, &mut open).unwrap(), short);
        let long = format!("/usr:/{}tmp", "./".repeat(150));
        let Parameter::Value(_, short) = shortened(&value("lowerdir", &long), &mut open).unwrap()
        else {
            panic!("it has a value");
        };
        let [one, two] = &open[..] else {
            panic!("two layers: {open:?}");
        };
        let expected = format!(
            "/proc/self/fd/{}:/proc/self/fd/{}",
            one.as_raw_fd(),
            two.as_raw_fd()
        );
        assert_eq!(short.to_str().unwrap(), expected);
        let many = vec!["/usr"; 100].join(":");
        let error = shortened(&value("lowerdir", &many), &mut open);
        assert_eq!(error, Err(Errno::E2BIG));
    }
}
