//! Mount options of config.json, parsed into attributes, propagation types and file system
//! options by one table.

use anyhow::{Result, bail};
use libc::{
    MOUNT_ATTR__ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_RELATIME, MOUNT_ATTR_STRICTATIME,
};

use super::parameter::Parameter;
use crate::bundle;
use crate::sys::{MountAttr, OpenTree};

/// The parsed options of one mount.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// `Some` for a bind mount.
    pub(super) bind: Option<Recursion>,
    /// Attributes of the mount itself.
    pub(super) attributes: Attributes,
    /// Attributes of the mount and all mounts below it (`rro` and the like).
    pub(super) recursive: Attributes,
    /// Propagation types, in the order of the list.
    pub(super) propagation: Vec<(Propagation, Recursion)>,
    /// Flags of the superblock, by their names in fsconfig(2).
    pub(super) superblock: Vec<&'static str>,
    /// Flags of the superblock that a remount clears, in the same form. A new superblock has none.
    pub(super) superblock_cleared: Vec<&'static str>,
    /// Changes an existing mount.
    pub(super) remount: bool,
    /// `Some` if the ids of the mount, or of the whole tree, are mapped.
    pub(super) idmap: Option<Recursion>,
    /// A new tmpfs starts as a copy of the directory that it covers.
    pub(super) copy_up: bool,
    /// All other options are those of the file system: `size=64k`, `newinstance`.
    pub(super) data: Vec<Parameter>,
}

/// Whether an operation applies to one mount or to the whole tree below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recursion {
    MountOnly,
    Recursive,
}

impl From<Recursion> for OpenTree {
    fn from(recursion: Recursion) -> OpenTree {
        match recursion {
            Recursion::MountOnly => OpenTree::Mount,
            Recursion::Recursive => OpenTree::Recursive,
        }
    }
}

/// Whether mounts and unmounts propagate between clones of a mount (mount_namespaces(7),
/// "SHARED SUBTREES").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    Private,
    Slave,
    Shared,
    Unbindable,
}

impl Propagation {
    /// The name of its option, as in the table below.
    pub(super) fn name(self) -> &'static str {
        match self {
            Propagation::Private => "private",
            Propagation::Slave => "slave",
            Propagation::Shared => "shared",
            Propagation::Unbindable => "unbindable",
        }
    }

    /// The `MS_*` flag of mount(2), which mount_setattr(2) uses too.
    pub(super) fn flag(self) -> libc::c_ulong {
        match self {
            Propagation::Private => libc::MS_PRIVATE,
            Propagation::Slave => libc::MS_SLAVE,
            Propagation::Shared => libc::MS_SHARED,
            Propagation::Unbindable => libc::MS_UNBINDABLE,
        }
    }
}

/// `MOUNT_ATTR_*` to set and to clear (mount_setattr(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) set: u64,
    pub(crate) clear: u64,
}

/// The meaning of one option.
#[derive(Clone, Copy)]
enum Meaning {
    Set(u64),
    Clear(u64),
    /// Access times are one field of three bits, not a flag.
    Atime(u64),
    /// Cancels one kind of access times if it was set before, so that the mount keeps that
    /// of its source.
    NoAtime(u64),
    Bind(Recursion),
    Propagation(Propagation, Recursion),
    Superblock(&'static str),
    /// The flag that it cancels, and the name in fsconfig(2) of the parameter that clears it.
    NoSuperblock(&'static str, Option<&'static str>),
    Remount,
    Idmap(Recursion),
    CopyUp,
    /// fsopen(2) logs nothing that `silent` could suppress.
    NoEffect,
}

use Recursion::{MountOnly, Recursive};

/// The options of mount(8) that the specification lists. A recursive option (`rro`) means
/// the same for the whole tree.
const OPTIONS: [(&str, Meaning); 44] = [
    ("defaults", Meaning::NoEffect),
    ("ro", Meaning::Set(MOUNT_ATTR_RDONLY)),
    ("rw", Meaning::Clear(MOUNT_ATTR_RDONLY)),
    ("nosuid", Meaning::Set(MOUNT_ATTR_NOSUID)),
    ("suid", Meaning::Clear(MOUNT_ATTR_NOSUID)),
    ("nodev", Meaning::Set(MOUNT_ATTR_NODEV)),
    ("dev", Meaning::Clear(MOUNT_ATTR_NODEV)),
    ("noexec", Meaning::Set(MOUNT_ATTR_NOEXEC)),
    ("exec", Meaning::Clear(MOUNT_ATTR_NOEXEC)),
    ("nodiratime", Meaning::Set(MOUNT_ATTR_NODIRATIME)),
    ("diratime", Meaning::Clear(MOUNT_ATTR_NODIRATIME)),
    ("nosymfollow", Meaning::Set(MOUNT_ATTR_NOSYMFOLLOW)),
    ("symfollow", Meaning::Clear(MOUNT_ATTR_NOSYMFOLLOW)),
    ("noatime", Meaning::Atime(MOUNT_ATTR_NOATIME)),
    ("atime", Meaning::NoAtime(MOUNT_ATTR_NOATIME)),
    ("relatime", Meaning::Atime(MOUNT_ATTR_RELATIME)),
    ("norelatime", Meaning::NoAtime(MOUNT_ATTR_RELATIME)),
    ("strictatime", Meaning::Atime(MOUNT_ATTR_STRICTATIME)),
    ("nostrictatime", Meaning::NoAtime(MOUNT_ATTR_STRICTATIME)),
    ("bind", Meaning::Bind(MountOnly)),
    ("rbind", Meaning::Bind(Recursive)),
    (
        "private",
        Meaning::Propagation(Propagation::Private, MountOnly),
    ),
    (
        "rprivate",
        Meaning::Propagation(Propagation::Private, Recursive),
    ),
    ("slave", Meaning::Propagation(Propagation::Slave, MountOnly)),
    (
        "rslave",
        Meaning::Propagation(Propagation::Slave, Recursive),
    ),
    (
        "shared",
        Meaning::Propagation(Propagation::Shared, MountOnly),
    ),
    (
        "rshared",
        Meaning::Propagation(Propagation::Shared, Recursive),
    ),
    (
        "unbindable",
        Meaning::Propagation(Propagation::Unbindable, MountOnly),
    ),
    (
        "runbindable",
        Meaning::Propagation(Propagation::Unbindable, Recursive),
    ),
    ("sync", Meaning::Superblock("sync")),
    ("async", Meaning::NoSuperblock("sync", Some("async"))),
    ("dirsync", Meaning::Superblock("dirsync")),
    ("lazytime", Meaning::Superblock("lazytime")),
    (
        "nolazytime",
        Meaning::NoSuperblock("lazytime", Some("nolazytime")),
    ),
    ("mand", Meaning::Superblock("mand")),
    ("nomand", Meaning::NoSuperblock("mand", Some("nomand"))),
    ("silent", Meaning::NoEffect),
    ("loud", Meaning::NoEffect),
    ("iversion", Meaning::Superblock("iversion")),
    ("noiversion", Meaning::NoSuperblock("iversion", None)),
    ("remount", Meaning::Remount),
    ("idmap", Meaning::Idmap(MountOnly)),
    ("ridmap", Meaning::Idmap(Recursive)),
    ("tmpcopyup", Meaning::CopyUp),
];

fn lookup(option: &str) -> Option<Meaning> {
    OPTIONS
        .iter()
        .find(|(name, _)| *name == option)
        .map(|(_, meaning)| *meaning)
}

/// The meaning of a recursive option such as `rro` or `rnosuid`.
fn recursive(option: &str) -> Option<Meaning> {
    let meaning = option.strip_prefix('r').and_then(lookup);
    match meaning? {
        // The mounts of a tree have different sources, so the kernel's default is set.
        Meaning::NoAtime(_) => Some(Meaning::Atime(MOUNT_ATTR_RELATIME)),
        meaning @ (Meaning::Set(_) | Meaning::Clear(_) | Meaning::Atime(_)) => Some(meaning),
        _ => None,
    }
}

/// All options that `rt` itself interprets, for `rt features`.
pub(crate) fn names() -> Vec<String> {
    let recursive_names = OPTIONS.iter().map(|(name, _)| format!("r{name}"));
    let recursive_names = recursive_names.filter(|name| recursive(name).is_some());
    let options = OPTIONS.iter().map(|(name, _)| (*name).to_owned());
    options.chain(recursive_names).collect()
}

/// The option that `option`, which is none of [`names`], most likely stands for.
pub(super) fn likely(option: &str) -> Option<String> {
    let names = names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    bundle::likely(option, &names).map(str::to_owned)
}

/// Parses the options of one mount.
///
/// # Errors
/// An option that holds a NUL byte.
pub(super) fn parse(options: &[String]) -> Result<Options> {
    let mut parsed = Options::default();
    // Buildah passes an empty option for a volume without options.
    let options = options.iter().flat_map(|option| split(option));
    for option in options.filter(|option| !option.is_empty()) {
        match (lookup(option), recursive(option)) {
            (Some(meaning), _) => parsed.apply(meaning),
            (None, Some(meaning)) => parsed.recursive.apply(meaning),
            (None, None) => parsed.data.push(Parameter::parse(option)?),
        }
    }
    Ok(parsed)
}

/// Whether the parameter `name` of fsconfig(2) clears a flag of the superblock.
fn clears(name: &str, flag: &str) -> bool {
    OPTIONS.iter().any(|(_, meaning)| {
        matches!(meaning, Meaning::NoSuperblock(of, Some(known)) if (*of, *known) == (flag, name))
    })
}

/// Splits an entry that holds several options, as mount(8) does. A comma between quotes
/// (SELinux labels), after a backslash (overlay layers) or before a digit (`mpol=` nodes)
/// is part of a value.
fn split(entry: &str) -> Vec<&str> {
    let (mut quoted, mut escaped, mut start) = (false, false, 0);
    let mut options = Vec::new();
    for (at, character) in entry.char_indices() {
        let digit = entry[at..]
            .chars()
            .nth(1)
            .is_some_and(|next| next.is_ascii_digit());
        if character == ',' && !quoted && !escaped && !digit {
            options.push(&entry[start..at]);
            start = at + 1;
        }
        quoted ^= character == '"';
        escaped = character == '\\' && !escaped;
    }
    options.push(&entry[start..]);
    options
}

impl Options {
    fn apply(&mut self, meaning: Meaning) {
        match meaning {
            Meaning::Set(_) | Meaning::Clear(_) | Meaning::Atime(_) | Meaning::NoAtime(_) => {
                self.attributes.apply(meaning);
            }
            // `rbind` stays recursive even if `bind` follows.
            Meaning::Bind(_) if self.bind == Some(Recursive) => {}
            Meaning::Bind(recursion) => self.bind = Some(recursion),
            Meaning::Propagation(kind, recursion) => self.propagation.push((kind, recursion)),
            Meaning::Superblock(flag) => {
                self.superblock.push(flag);
                let cleared = &mut self.superblock_cleared;
                cleared.retain(|name| !clears(name, flag));
            }
            Meaning::NoSuperblock(flag, name) => {
                self.superblock.retain(|other| *other != flag);
                self.superblock_cleared.extend(name);
            }
            Meaning::Remount => self.remount = true,
            Meaning::Idmap(recursion) => self.idmap = Some(recursion),
            Meaning::CopyUp => self.copy_up = true,
            Meaning::NoEffect => {}
        }
    }
}

impl Attributes {
    /// The last option that concerns a flag wins.
    fn apply(&mut self, meaning: Meaning) {
        let (set, clear) = match meaning {
            Meaning::Set(flag) => (flag, 0),
            Meaning::Clear(flag) => (0, flag),
            Meaning::Atime(kind) => {
                self.set &= !MOUNT_ATTR__ATIME;
                (kind, MOUNT_ATTR__ATIME)
            }
            Meaning::NoAtime(kind) => {
                if self.clear & MOUNT_ATTR__ATIME != 0 && self.set & MOUNT_ATTR__ATIME == kind {
                    self.set &= !MOUNT_ATTR__ATIME;
                    self.clear &= !MOUNT_ATTR__ATIME;
                }
                return;
            }
            _ => return,
        };
        self.set = self.set & !(set | clear) | set;
        self.clear = self.clear & !(set | clear) | clear;
    }

    pub(super) fn is_empty(self) -> bool {
        self == Attributes::default()
    }

    pub(super) fn readonly(self) -> bool {
        self.set & MOUNT_ATTR_RDONLY != 0
    }

    /// The names of the options that mean the same.
    pub(super) fn names(self) -> Vec<&'static str> {
        let is_named = |meaning: &Meaning| match meaning {
            Meaning::Set(flag) => self.set & flag != 0,
            Meaning::Clear(flag) => self.clear & flag != 0,
            Meaning::Atime(kind) => {
                self.clear & MOUNT_ATTR__ATIME != 0 && self.set & MOUNT_ATTR__ATIME == *kind
            }
            _ => false,
        };
        let named = OPTIONS.iter().filter(|(_, meaning)| is_named(meaning));
        named.map(|(name, _)| *name).collect()
    }

    pub(super) fn noexec(self) -> bool {
        self.set & MOUNT_ATTR_NOEXEC != 0
    }

    /// The same attributes, but writable.
    pub(super) fn writable(self) -> Attributes {
        Attributes {
            set: self.set & !MOUNT_ATTR_RDONLY,
            ..self
        }
    }
}

impl From<Attributes> for MountAttr {
    fn from(attributes: Attributes) -> MountAttr {
        MountAttr {
            set: attributes.set,
            clear: attributes.clear,
            ..MountAttr::default()
        }
    }
}

/// Parses `linux.rootfsPropagation`.
///
/// # Errors
/// When it is not a propagation type. The error lacks the place.
pub(super) fn propagation(value: &str) -> Result<(Propagation, Recursion)> {
    if let Some(Meaning::Propagation(kind, recursion)) = lookup(value) {
        return Ok((kind, recursion));
    }
    let is_propagation = |meaning: &Meaning| matches!(meaning, Meaning::Propagation(..));
    let names = OPTIONS
        .iter()
        .filter(|(_, meaning)| is_propagation(meaning));
    let names: Vec<&str> = names.map(|(name, _)| *name).collect();
    bail!(bundle::unknown_value(value, &names))
}

#[cfg(test)]
mod tests;
