//! Writes changes as a layer: a tar archive (pax format of POSIX.1-2001) with whiteouts.
//!
//! layer.md asks for explicit whiteouts rather than opaque directories, and advises against
//! sparse files, so a hole is written as zeros.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, major, minor};
use tar::{Builder, EntryType, Header};

use super::attributes::{self, Xattrs};
use super::compare::{Entry, file_type, shown};
use super::kind::Kind;
use crate::log;

/// The beginning of the name of a file that marks a deletion (layer.md, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";

/// The largest values of the header's fields of 8 and of 12 bytes, which hold octal digits and
/// a NUL.
const MAX_SHORT: u64 = 0o7_777_777;
const MAX_LONG: u64 = 0o77_777_777_777;

/// The length of the header's fields for a name and for the target of a link.
const NAME_LENGTH: usize = 100;

/// A layer that is being written.
pub(crate) struct Archive {
    builder: Builder<BufWriter<File>>,
    /// The name of the first of several hard links, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
}

/// An entry's header, with the records for what the header cannot hold.
struct Record {
    header: Header,
    extensions: Vec<(String, Vec<u8>)>,
}

impl Archive {
    pub(crate) fn new(file: File) -> Archive {
        Archive {
            builder: Builder::new(BufWriter::with_capacity(1 << 16, file)),
            links: HashMap::new(),
        }
    }

    /// Appends one change. Sockets are left out: an archive cannot hold them.
    ///
    /// # Errors
    /// When the name or an attribute cannot be represented, or the file cannot be read.
    pub(crate) fn append(&mut self, entry: &Entry) -> Result<()> {
        let subject = || shown(entry.path);
        ensure!(
            !entry.name.to_bytes().starts_with(WHITEOUT),
            "{}: a layer cannot hold it: names that begin with .wh. mark deletions; rename or remove it",
            subject()
        );
        let Some(stat) = &entry.stat else {
            return self.append_whiteout(entry).with_context(subject);
        };
        match file_type(stat) {
            SFlag::S_IFREG => self.append_file(entry, stat),
            SFlag::S_IFSOCK => Ok(()),
            _ => self.append_other(entry, stat),
        }
        .with_context(subject)
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn finish(self) -> Result<()> {
        let mut writer = self.builder.into_inner()?;
        writer.flush()?;
        Ok(())
    }

    fn append_whiteout(&mut self, entry: &Entry) -> Result<()> {
        debug_assert_eq!(entry.kind, Kind::Deleted);
        let (parent, name) = split(entry.path);
        let name = [parent, WHITEOUT, name].concat();
        self.write(Record::new(EntryType::Regular, &name), io::empty())
    }

    /// Appends a regular file, or a hard link if another link to it was appended already.
    fn append_file(&mut self, entry: &Entry, stat: &FileStat) -> Result<()> {
        let (name, inode) = (relative(entry.path), (stat.st_dev, stat.st_ino));
        if let Some(first) = self.links.get(&inode) {
            let mut record = Record::new(EntryType::Link, name);
            record.set_attributes(stat);
            record.set_target(first);
            return self.write(record, io::empty());
        }
        // If the file was replaced by a FIFO, opening it must not wait for a writer.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(entry.parent, entry.name, flags, Mode::empty()) {
            Err(Errno::ENOENT | Errno::ELOOP | Errno::ENXIO) => return Ok(()),
            Err(Errno::EAGAIN) => bail!("a process holds a lease on it (fcntl(2)); try again"),
            file => File::from(file?),
        };
        let stat = fstat(&file)?;
        if file_type(&stat) != SFlag::S_IFREG {
            return Ok(());
        }
        let mut record = Record::new(EntryType::Regular, name);
        record.set_attributes(&stat);
        record.set_size(stat.st_size.unsigned_abs());
        record.set_xattrs(attributes::of(file.as_fd())?)?;
        let mut content = Content {
            file,
            remaining: stat.st_size.unsigned_abs(),
            shrunk: false,
        };
        self.write(record, &mut content)?;
        if content.shrunk {
            log::warn(&format!(
                "{}: became shorter while it was read; its end in the layer is zeros",
                shown(entry.path)
            ));
        }
        if stat.st_nlink > 1 {
            self.links
                .insert((stat.st_dev, stat.st_ino), name.to_owned());
        }
        Ok(())
    }

    /// Appends what has no content: a directory, symbolic link, FIFO or device.
    fn append_other(&mut self, entry: &Entry, stat: &FileStat) -> Result<()> {
        let name = relative(entry.path);
        let (file_type, name) = match file_type(stat) {
            SFlag::S_IFDIR => (EntryType::Directory, [name, b"/"].concat()),
            SFlag::S_IFLNK => (EntryType::Symlink, name.to_owned()),
            SFlag::S_IFIFO => (EntryType::Fifo, name.to_owned()),
            SFlag::S_IFBLK => (EntryType::Block, name.to_owned()),
            _ => (EntryType::Char, name.to_owned()),
        };
        let mut record = Record::new(file_type, &name);
        record.set_attributes(stat);
        if file_type == EntryType::Symlink {
            match readlinkat(entry.parent, entry.name) {
                Ok(target) => record.set_target(target.as_bytes()),
                // It has vanished, or something else is there now.
                Err(Errno::ENOENT | Errno::EINVAL) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
        if matches!(file_type, EntryType::Block | EntryType::Char) {
            record
                .header
                .set_device_major(u32::try_from(major(stat.st_rdev))?)?;
            record
                .header
                .set_device_minor(u32::try_from(minor(stat.st_rdev))?)?;
        }
        let xattrs = match entry.directory {
            Some(directory) => attributes::of(directory)?,
            None => match attributes::of_entry(entry.parent, entry.name) {
                Err(Errno::ENOENT) => return Ok(()),
                xattrs => xattrs?,
            },
        };
        record.set_xattrs(xattrs)?;
        self.write(record, io::empty())
    }

    fn write(&mut self, mut record: Record, content: impl Read) -> Result<()> {
        let extensions = record.extensions.iter();
        let extensions = extensions.map(|(key, value)| (key.as_str(), value.as_slice()));
        self.builder.append_pax_extensions(extensions)?;
        record.header.set_cksum();
        self.builder.append(&record.header, content)?;
        Ok(())
    }
}

impl Record {
    fn new(file_type: EntryType, name: &[u8]) -> Record {
        let mut header = Header::new_ustar();
        header.set_entry_type(file_type);
        header.set_mode(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        header.set_mtime(0);
        let mut record = Record {
            header,
            extensions: Vec::new(),
        };
        if !fill(&mut record.header.as_old_mut().name, name) {
            record.extend("path", name.to_owned());
        }
        record
    }

    fn extend(&mut self, key: &str, value: impl Into<Vec<u8>>) {
        self.extensions.push((key.to_owned(), value.into()));
    }

    fn set_target(&mut self, target: &[u8]) {
        if !fill(&mut self.header.as_old_mut().linkname, target) {
            self.extend("linkpath", target);
        }
    }

    fn set_size(&mut self, size: u64) {
        self.header.set_size(size);
        if size > MAX_LONG {
            self.extend("size", size.to_string());
        }
    }

    fn set_attributes(&mut self, stat: &FileStat) {
        let (uid, gid) = (u64::from(stat.st_uid), u64::from(stat.st_gid));
        self.header.set_mode(stat.st_mode & 0o7777);
        self.header.set_uid(uid);
        self.header.set_gid(gid);
        for (key, id) in [("uid", uid), ("gid", gid)] {
            if id > MAX_SHORT {
                self.extend(key, id.to_string());
            }
        }
        let seconds = u64::try_from(stat.st_mtime).unwrap_or(0).min(MAX_LONG);
        self.header.set_mtime(seconds);
        if stat.st_mtime_nsec != 0 || i64::try_from(seconds) != Ok(stat.st_mtime) {
            self.extend("mtime", decimal(stat.st_mtime, stat.st_mtime_nsec));
        }
    }

    /// # Errors
    /// When a name has a character that the archive uses to separate names from values.
    fn set_xattrs(&mut self, xattrs: Xattrs) -> Result<()> {
        for (name, value) in xattrs {
            let text = name.to_str().ok().filter(|name| !name.contains('='));
            let text = text.with_context(|| {
                format!(
                    "a layer cannot hold the name of the extended attribute {:?}; remove it",
                    name.to_string_lossy()
                )
            })?;
            self.extend(&format!("SCHILY.xattr.{text}"), value);
        }
        Ok(())
    }
}

/// The content of a file, in the length that the header says: an end that was cut off
/// meanwhile is zeros.
struct Content {
    file: File,
    remaining: u64,
    shrunk: bool,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer
            .len()
            .min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..wanted];
        let mut length = self.file.read(buffer)?;
        if length == 0 && wanted > 0 {
            self.shrunk = true;
            buffer.fill(0);
            length = wanted;
        }
        self.remaining -= length as u64;
        Ok(length)
    }
}

/// Puts `value` into a field of the header. If it is too long, the field gets the beginning, for
/// readers that ignore records.
fn fill(field: &mut [u8; NAME_LENGTH], value: &[u8]) -> bool {
    let length = value.len().min(NAME_LENGTH);
    field[..length].copy_from_slice(&value[..length]);
    value.len() <= NAME_LENGTH
}

/// A path in the archive, without the slash at its beginning. The root is `.`.
fn relative(path: &[u8]) -> &[u8] {
    match path {
        b"/" => b".",
        [b'/', rest @ ..] => rest,
        path => path,
    }
}

/// The directory of an entry, with a slash at its end unless it is the root, and its name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let path = relative(path);
    let slash = path.iter().rposition(|byte| *byte == b'/');
    path.split_at(slash.map_or(0, |slash| slash + 1))
}

/// Seconds and nanoseconds as a decimal number (pax(1), "mtime").
fn decimal(seconds: i64, nanoseconds: i64) -> String {
    let (sign, seconds, nanoseconds) = match (seconds, nanoseconds) {
        (0.., _) => ("", seconds, nanoseconds),
        (_, 0) => ("-", -seconds, 0),
        _ => ("-", -seconds - 1, 1_000_000_000 - nanoseconds),
    };
    let text = format!("{sign}{seconds}.{nanoseconds:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_decimal_numbers() {
        assert_eq!(decimal(5, 0), "5");
        assert_eq!(decimal(50, 0), "50");
        assert_eq!(decimal(5, 120_000_000), "5.12");
        assert_eq!(decimal(0, 1), "0.000000001");
        assert_eq!(decimal(-1, 500_000_000), "-0.5");
        assert_eq!(decimal(-2, 500_000_000), "-1.5");
        assert_eq!(decimal(-10, 0), "-10");
    }

    #[test]
    fn paths_in_a_layer_are_relative() {
        assert_eq!(relative(b"/"), b".");
        assert_eq!(relative(b"/a/b"), b"a/b");
        assert_eq!(split(b"/a"), (&b""[..], &b"a"[..]));
        assert_eq!(split(b"/a/b/c"), (&b"a/b/"[..], &b"c"[..]));
    }
}
