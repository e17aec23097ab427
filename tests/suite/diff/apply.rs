//! Applies a layer to a file tree as image-spec's layer.md says, with nothing of the program.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknod, utimensat};
use nix::sys::time::TimeSpec;
use tar::{Entry, EntryType};

/// The metadata that is set when all entries are there: a file that is added to a directory changes the
/// directory's time.
struct Late {
    mode: u32,
    time: TimeSpec,
}

/// A path, and the name and the value of an extended attribute.
type Attribute = (PathBuf, String, Vec<u8>);

pub(super) fn apply(layer: &Path, top: &Path) {
    let mut archive = tar::Archive::new(File::open(layer).unwrap());
    let mut late: BTreeMap<PathBuf, Late> = BTreeMap::new();
    let mut attributes = Vec::new();
    let mut records = BTreeMap::new();
    // The crate's own reader ends a record at a line break in its value.
    for entry in archive.entries().unwrap().raw(true) {
        let mut entry = entry.unwrap();
        if entry.header().entry_type() == EntryType::XHeader {
            records = read_records(&mut entry);
            continue;
        }
        let pax = std::mem::take(&mut records);
        let relative = entry.path_bytes();
        let relative = pax.get("path").map_or(&*relative, Vec::as_slice);
        // With a slash at the end, as directories have, a link or a file would not be found.
        let relative: PathBuf = Path::new(OsStr::from_bytes(relative))
            .components()
            .collect();
        let path = top.join(&relative);
        let name = relative.file_name().unwrap_or_default().as_bytes();
        if let Some(deleted) = name.strip_prefix(b".wh.") {
            remove(&path.with_file_name(OsStr::from_bytes(deleted)));
            continue;
        }
        let header = entry.header();
        let number = |key: &str, plain: u64| {
            let text = pax
                .get(key)
                .map(|value| String::from_utf8(value.clone()).unwrap());
            text.map_or(plain, |text| text.parse().unwrap())
        };
        let (uid, gid) = (
            number("uid", header.uid().unwrap()),
            number("gid", header.gid().unwrap()),
        );
        let mode = header.mode().unwrap();
        let time = match pax.get("mtime") {
            Some(text) => decimal(std::str::from_utf8(text).unwrap()),
            None => TimeSpec::new(i64::try_from(header.mtime().unwrap()).unwrap(), 0),
        };
        let is_link = header.entry_type() == EntryType::Link;
        create(&mut entry, &pax, &path, top);
        if is_link {
            continue;
        }
        lchown(&path, Some(uid as u32), Some(gid as u32)).unwrap();
        let of_entry = pax.iter().filter_map(|(key, value)| {
            let name = key.strip_prefix("SCHILY.xattr.")?;
            Some((name.to_owned(), value.clone()))
        });
        attributes.extend(of_entry.map(|(name, value)| (path.clone(), name, value)));
        late.insert(path, Late { mode, time });
    }
    set_metadata(late, &attributes);
}

fn set_metadata(mut late: BTreeMap<PathBuf, Late>, attributes: &[Attribute]) {
    late.retain(|path, _| path.symlink_metadata().is_ok());
    for (path, Late { mode, .. }) in &late {
        if !path.is_symlink() {
            fs::set_permissions(path, Permissions::from_mode(*mode)).unwrap();
        }
    }
    set_attributes(attributes);
    for (path, Late { time, .. }) in late.iter().rev() {
        let flags = UtimensatFlags::NoFollowSymlink;
        utimensat(nix::fcntl::AT_FDCWD, path, time, time, flags).unwrap();
    }
}

/// Records of the form `LENGTH KEY=VALUE\n`, where the length includes itself (pax(1)).
fn read_records(entry: &mut Entry<File>) -> BTreeMap<String, Vec<u8>> {
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).unwrap();
    let (mut all, mut rest) = (BTreeMap::new(), bytes.as_slice());
    while let Some(space) = rest.iter().position(|byte| *byte == b' ') {
        let length = std::str::from_utf8(&rest[..space]).unwrap();
        let (record, others) = rest.split_at(length.parse().unwrap());
        let record = &record[space + 1..];
        let equals = record.iter().position(|byte| *byte == b'=').unwrap();
        let key = String::from_utf8(record[..equals].to_vec()).unwrap();
        let value = record[equals + 1..].strip_suffix(b"\n").unwrap();
        assert!(all.insert(key, value.to_vec()).is_none());
        rest = others;
    }
    assert!(rest.is_empty());
    all
}

fn remove(path: &Path) {
    let found = path.symlink_metadata();
    let found = found.unwrap_or_else(|e| panic!("{} is marked as deleted: {e}", path.display()));
    if found.is_dir() {
        fs::remove_dir_all(path).unwrap();
    } else {
        fs::remove_file(path).unwrap();
    }
}

fn create(entry: &mut Entry<File>, pax: &BTreeMap<String, Vec<u8>>, path: &Path, top: &Path) {
    let kind = entry.header().entry_type();
    if let Ok(found) = path.symlink_metadata() {
        if found.is_dir() && kind == EntryType::Directory {
            // The entry has all attributes that remain.
            clear_attributes(path);
            return;
        }
        remove(path);
    }
    let target = entry.link_name_bytes().map(|target| target.into_owned());
    let target = pax.get("linkpath").or(target.as_ref());
    let target = target.map(|bytes| Path::new(OsStr::from_bytes(bytes)));
    match kind {
        EntryType::Regular => {
            let mut file = SparseFile {
                file: File::create_new(path).unwrap(),
                length: 0,
            };
            io::copy(entry, &mut file).unwrap();
            file.file.set_len(file.length).unwrap();
        }
        EntryType::Directory => fs::create_dir(path).unwrap(),
        EntryType::Symlink => symlink(target.unwrap(), path).unwrap(),
        EntryType::Link => fs::hard_link(top.join(target.unwrap()), path).unwrap(),
        EntryType::Fifo => nix::unistd::mkfifo(path, Mode::empty()).unwrap(),
        EntryType::Char => node(entry, path, SFlag::S_IFCHR),
        EntryType::Block => node(entry, path, SFlag::S_IFBLK),
        other => panic!("{}: an entry of type {other:?}", path.display()),
    }
}

fn node(entry: &Entry<File>, path: &Path, kind: SFlag) {
    let header = entry.header();
    let (major, minor) = (header.device_major(), header.device_minor());
    let number = |part: io::Result<Option<u32>>| u64::from(part.unwrap().unwrap());
    let device = makedev(number(major), number(minor));
    mknod(path, kind, Mode::empty(), device).unwrap();
}

/// Leaves holes where the archive has zeros.
struct SparseFile {
    file: File,
    length: u64,
}

impl io::Write for SparseFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes != [0; 8192].get(..bytes.len()).unwrap_or_default() {
            std::os::unix::fs::FileExt::write_all_at(&self.file, bytes, self.length)?;
        }
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn decimal(text: &str) -> TimeSpec {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanoseconds: i64 = format!("{fraction:0<9}").parse().unwrap();
    let seconds: i64 = whole.parse().unwrap();
    if whole.starts_with('-') && nanoseconds > 0 {
        TimeSpec::new(seconds - 1, 1_000_000_000 - nanoseconds)
    } else {
        TimeSpec::new(seconds, nanoseconds)
    }
}

fn clear_attributes(path: &Path) {
    let mut getfattr = Command::new("getfattr");
    let listed = getfattr.args(["-h", "-m", "-"]).arg(path).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for name in listed
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let mut setfattr = Command::new("setfattr");
        let status = setfattr.args(["-h", "-x", name]).arg(path).status();
        assert!(status.unwrap().success());
    }
}

fn set_attributes(attributes: &[Attribute]) {
    for (path, name, value) in attributes {
        let value = value
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        let mut setfattr = Command::new("setfattr");
        setfattr.args(["-h", "-n", name, "-v", &format!("0x{value}")]);
        assert!(
            setfattr.arg(path).status().unwrap().success(),
            "{name}: {}",
            path.display()
        );
    }
}
