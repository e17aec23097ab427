//! Mount options: the words of config.json, turned into attributes,
//! propagation and data. One table.

use std::ffi::CString;
use std::fmt;

use anyhow::{Context, Result};
use libc::{
    MOUNT_ATTR__ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_RELATIME, MOUNT_ATTR_STRICTATIME,
};

use crate::sys::{MountAttr, OpenTree};

/// What the options of one mount ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// Some when it is a bind mount.
    pub(super) bind: Option<Recursion>,
    /// Of the mount itself.
    pub(super) attributes: Attributes,
    /// Of the mount and every mount below it (`rro` and its kin).
    pub(super) recursive: Attributes,
    /// Propagation types, in the order given.
    pub(super) propagation: Vec<(Propagation, Recursion)>,
    /// Flags of the superblock, by the names that fsconfig(2) takes.
    pub(super) superblock: Vec<&'static str>,
    /// Some when ids of the mount, or of the tree, are to be mapped.
    pub(super) idmap: Option<Recursion>,
    /// A tmpfs begins with a copy of what it covers.
    pub(super) copy_up: bool,
    /// Everything else is the file system's own: `size=64k`, `newinstance`.
    pub(super) data: Vec<Parameter>,
}

/// Whether something is said of one mount, or of the tree below it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recursion {
    One,
    Tree,
}

impl From<Recursion> for OpenTree {
    fn from(recursion: Recursion) -> OpenTree {
        match recursion {
            Recursion::One => OpenTree::Mount,
            Recursion::Tree => OpenTree::Recursive,
        }
    }
}

/// Whether mounts and unmounts pass between copies of a mount
/// (mount_namespaces(7), "SHARED SUBTREES").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    Private,
    Slave,
    Shared,
    Unbindable,
}

impl Propagation {
    /// The kernel's flag for it.
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
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) set: u64,
    pub(crate) clear: u64,
}

impl fmt::Debug for Attributes {
    /// As the words of the table, for a plan is read by people.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut list = f.debug_list();
        for (name, word) in WORDS {
            match word {
                Word::Set(flag) if self.set & flag != 0 => list.entry(&format_args!("{name}")),
                Word::Clear(flag) if self.clear & flag != 0 => list.entry(&format_args!("{name}")),
                _ => continue,
            };
        }
        if self.clear & MOUNT_ATTR__ATIME != 0 {
            list.entry(&match self.set & MOUNT_ATTR__ATIME {
                MOUNT_ATTR_NOATIME => format_args!("noatime"),
                MOUNT_ATTR_STRICTATIME => format_args!("strictatime"),
                _ => format_args!("relatime"),
            });
        }
        list.finish()
    }
}

/// A file system's own option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    Flag(CString),
    Value(CString, CString),
}

/// What one word means.
#[derive(Clone, Copy)]
enum Word {
    Set(u64),
    Clear(u64),
    /// Access times are one field of three bits, not a flag.
    Atime(u64),
    /// Takes back the word for one kind of access times, if it was given: what is
    /// left is what the source has.
    NoAtime(u64),
    Bind(Recursion),
    Propagation(Propagation, Recursion),
    Superblock(&'static str),
    Idmap(Recursion),
    CopyUp,
    /// Asks for what holds anyway: a new superblock has none of the flags that
    /// it would clear, and fsopen(2) logs nothing that `silent` could silence.
    Default,
}

use Recursion::{One, Tree};

/// The options of mount(8) that the specification lists; each recursive twin
/// (`rro`) means the same of a whole tree.
const WORDS: [(&str, Word); 42] = [
    ("defaults", Word::Default),
    ("ro", Word::Set(MOUNT_ATTR_RDONLY)),
    ("rw", Word::Clear(MOUNT_ATTR_RDONLY)),
    ("nosuid", Word::Set(MOUNT_ATTR_NOSUID)),
    ("suid", Word::Clear(MOUNT_ATTR_NOSUID)),
    ("nodev", Word::Set(MOUNT_ATTR_NODEV)),
    ("dev", Word::Clear(MOUNT_ATTR_NODEV)),
    ("noexec", Word::Set(MOUNT_ATTR_NOEXEC)),
    ("exec", Word::Clear(MOUNT_ATTR_NOEXEC)),
    ("nodiratime", Word::Set(MOUNT_ATTR_NODIRATIME)),
    ("diratime", Word::Clear(MOUNT_ATTR_NODIRATIME)),
    ("nosymfollow", Word::Set(MOUNT_ATTR_NOSYMFOLLOW)),
    ("symfollow", Word::Clear(MOUNT_ATTR_NOSYMFOLLOW)),
    ("noatime", Word::Atime(MOUNT_ATTR_NOATIME)),
    ("atime", Word::NoAtime(MOUNT_ATTR_NOATIME)),
    ("relatime", Word::Atime(MOUNT_ATTR_RELATIME)),
    ("norelatime", Word::NoAtime(MOUNT_ATTR_RELATIME)),
    ("strictatime", Word::Atime(MOUNT_ATTR_STRICTATIME)),
    ("nostrictatime", Word::NoAtime(MOUNT_ATTR_STRICTATIME)),
    ("bind", Word::Bind(One)),
    ("rbind", Word::Bind(Tree)),
    ("private", Word::Propagation(Propagation::Private, One)),
    ("rprivate", Word::Propagation(Propagation::Private, Tree)),
    ("slave", Word::Propagation(Propagation::Slave, One)),
    ("rslave", Word::Propagation(Propagation::Slave, Tree)),
    ("shared", Word::Propagation(Propagation::Shared, One)),
    ("rshared", Word::Propagation(Propagation::Shared, Tree)),
    (
        "unbindable",
        Word::Propagation(Propagation::Unbindable, One),
    ),
    (
        "runbindable",
        Word::Propagation(Propagation::Unbindable, Tree),
    ),
    ("sync", Word::Superblock("sync")),
    ("async", Word::Default),
    ("dirsync", Word::Superblock("dirsync")),
    ("lazytime", Word::Superblock("lazytime")),
    ("nolazytime", Word::Default),
    ("mand", Word::Superblock("mand")),
    ("nomand", Word::Default),
    ("silent", Word::Default),
    ("loud", Word::Default),
    ("noiversion", Word::Default),
    ("idmap", Word::Idmap(One)),
    ("ridmap", Word::Idmap(Tree)),
    ("tmpcopyup", Word::CopyUp),
];

/// The options that hold a label of SELinux (mount(8)).
const LABELS: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];

fn word(option: &str) -> Option<Word> {
    WORDS
        .iter()
        .find(|(name, _)| *name == option)
        .map(|(_, word)| *word)
}

/// What the recursive twin of a word means: `rro`, `rnosuid`.
fn recursive(option: &str) -> Option<Word> {
    let word = option.strip_prefix('r').and_then(word);
    match word? {
        // A tree is of many sources: the kernel's default holds for all of them.
        Word::NoAtime(_) => Some(Word::Atime(MOUNT_ATTR_RELATIME)),
        word @ (Word::Set(_) | Word::Clear(_) | Word::Atime(_)) => Some(word),
        _ => None,
    }
}

/// Every option that means something to `rt` itself, for `rt features`.
pub(crate) fn names() -> Vec<String> {
    let twins = WORDS.iter().map(|(name, _)| format!("r{name}"));
    let twins = twins.filter(|twin| recursive(twin).is_some());
    let words = WORDS.iter().map(|(name, _)| (*name).to_owned());
    words.chain(twins).collect()
}

/// Reads the options of one mount.
///
/// # Errors
/// A NUL byte.
pub(super) fn parse(options: &[String]) -> Result<Options> {
    let mut parsed = Options::default();
    // Buildah writes an empty one where a volume has none.
    let options = options.iter().flat_map(|option| split(option));
    for option in options.filter(|option| !option.is_empty()) {
        match (word(option), recursive(option)) {
            (Some(word), _) => parsed.take(word),
            (None, Some(word)) => parsed.recursive.take(word),
            (None, None) => parsed.data.push(Parameter::parse(option)?),
        }
    }
    Ok(parsed)
}

/// One entry may hold several options, as mount(8) takes them. A comma between
/// quotes (labels of SELinux), behind a backslash (layers of an overlay) or before
/// a digit (nodes of `mpol=`) is part of a value.
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
    fn take(&mut self, word: Word) {
        match word {
            Word::Set(_) | Word::Clear(_) | Word::Atime(_) | Word::NoAtime(_) => {
                self.attributes.take(word);
            }
            // In any order: `bind` takes nothing from `rbind`.
            Word::Bind(_) if self.bind == Some(Tree) => {}
            Word::Bind(recursion) => self.bind = Some(recursion),
            Word::Propagation(kind, recursion) => self.propagation.push((kind, recursion)),
            Word::Superblock(flag) => self.superblock.push(flag),
            Word::Idmap(recursion) => self.idmap = Some(recursion),
            Word::CopyUp => self.copy_up = true,
            Word::Default => {}
        }
    }
}

impl Attributes {
    /// The last word about a flag wins.
    fn take(&mut self, word: Word) {
        let (set, clear) = match word {
            Word::Set(flag) => (flag, 0),
            Word::Clear(flag) => (0, flag),
            Word::Atime(kind) => {
                self.set &= !MOUNT_ATTR__ATIME;
                (kind, MOUNT_ATTR__ATIME)
            }
            Word::NoAtime(kind) => {
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

    /// The same, but writable.
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
    /// What Podman before 5.7 passes on, though it is about a volume and not about
    /// its mount.
    pub(super) fn is_of_a_volume(&self) -> bool {
        match self {
            Parameter::Flag(flag) => matches!(flag.to_bytes(), b"copy" | b"nocopy"),
            Parameter::Value(key, _) => key.to_bytes() == b"volume-opt",
        }
    }

    /// As mount(2) takes it, with commas between.
    pub(super) fn in_a_list(&self) -> String {
        match self {
            Parameter::Value(key, value) if value.to_bytes().contains(&b',') => {
                let label = key.to_str().is_ok_and(|key| LABELS.contains(&key));
                let quote = if label { "\"" } else { "" };
                let (key, value) = (key.to_string_lossy(), value.to_string_lossy());
                format!("{key}={quote}{value}{quote}")
            }
            other => other.to_string(),
        }
    }

    fn parse(option: &str) -> Result<Parameter> {
        let text = |part: &str| CString::new(part).with_context(|| format!("{option:?}"));
        Ok(match option.split_once('=') {
            // The quotes that protect the commas of a label are not part of it.
            Some((key, value)) if LABELS.contains(&key) => {
                Parameter::Value(text(key)?, text(&value.replace('"', ""))?)
            }
            Some((key, value)) => Parameter::Value(text(key)?, text(value)?),
            None => Parameter::Flag(text(option)?),
        })
    }
}

/// The flag of `linux.rootfsPropagation`.
pub(super) fn propagation(value: &str) -> Option<(Propagation, Recursion)> {
    match word(value) {
        Some(Word::Propagation(kind, recursion)) => Some((kind, recursion)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
