//! The container's root: mounts, devices, masks.

use std::ffi::{CStr, CString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use libc::{
    AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY, MOUNT_ATTR_STRICTATIME, MS_PRIVATE, SYS_fsconfig, SYS_fsmount, SYS_fsopen,
    SYS_mknodat, SYS_mount_setattr, SYS_move_mount, SYS_open_tree,
};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::unistd::{chdir, pivot_root};

use super::calls::{NOTHING, bytes_of, call};
use super::files;

const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 4;
const OPEN_TREE_CLONE_CLOEXEC: i32 = 1 | libc::O_CLOEXEC;
/// The size of `struct mount_attr`.
const ATTRIBUTES_SIZE: u32 = 32;

const SAFE: u64 = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
const SAFEST: u64 = SAFE | MOUNT_ATTR_NODEV;

/// Character devices: path, major and minor number.
const DEVICES: [(&CStr, u32, u32); 6] = [
    (c"/dev/null", 1, 3),
    (c"/dev/zero", 1, 5),
    (c"/dev/full", 1, 7),
    (c"/dev/random", 1, 8),
    (c"/dev/urandom", 1, 9),
    (c"/dev/tty", 5, 0),
];
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];
/// The paths of the configuration. Not every kernel has all of them.
const READONLY: [&CStr; 5] = [
    c"/proc/bus",
    c"/proc/fs",
    c"/proc/irq",
    c"/proc/sys",
    c"/proc/sysrq-trigger",
];
const MASKED: [&CStr; 10] = [
    c"/proc/acpi",
    c"/proc/asound",
    c"/proc/kcore",
    c"/proc/keys",
    c"/proc/latency_stats",
    c"/proc/timer_list",
    c"/proc/timer_stats",
    c"/proc/sched_debug",
    c"/sys/firmware",
    c"/proc/scsi",
];

/// What the mounts show of the host.
pub(super) struct Sources {
    root: i32,
    /// With the name of the hierarchy; of cgroup v2 without.
    cgroups: Vec<(Option<PathBuf>, i32)>,
}

impl Sources {
    pub(super) fn open(root: &Path, hierarchies: &[PathBuf], unified: Option<&Path>) -> Sources {
        let name = |directory: &PathBuf| {
            let hierarchy = directory.parent().unwrap().file_name().unwrap();
            Path::new("/sys/fs/cgroup").join(hierarchy)
        };
        let root = open(root);
        let mut cgroups: Vec<(Option<PathBuf>, i32)> = hierarchies
            .iter()
            .map(|directory| (Some(name(directory)), open(directory)))
            .collect();
        if let ([], Some(unified)) = (&*cgroups, unified) {
            cgroups.push((None, open(unified)));
        }
        Sources { root, cgroups }
    }
}

/// Makes everything in the container's mount namespace.
pub(super) fn make(sources: &Sources, network: bool) {
    set(c"/", AT_RECURSIVE, 0, MS_PRIVATE);
    attach(sources.root, c"/");
    call(libc::SYS_fchdir, [sources.root.into()]).unwrap();
    pivot_root(".", ".").unwrap();
    umount2(".", MntFlags::MNT_DETACH).unwrap();
    chdir("/").unwrap();
    filesystem(c"proc", &[], 0, c"/proc");
    let dev = [(c"mode", Some(c"755")), (c"size", Some(c"65536k"))];
    let attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME;
    filesystem(c"tmpfs", &dev, attributes, c"/dev");
    for directory in ["/dev/pts", "/dev/shm", "/dev/mqueue"] {
        fs::create_dir(directory).unwrap();
    }
    let pts = [
        (c"newinstance", None),
        (c"ptmxmode", Some(c"0666")),
        (c"mode", Some(c"0620")),
        (c"gid", Some(c"5")),
    ];
    filesystem(c"devpts", &pts, SAFE, c"/dev/pts");
    let shm = [
        (c"source", Some(c"shm")),
        (c"mode", Some(c"1777")),
        (c"size", Some(c"65536k")),
    ];
    filesystem(c"tmpfs", &shm, SAFEST, c"/dev/shm");
    filesystem(c"mqueue", &[], SAFEST, c"/dev/mqueue");
    filesystem(c"sysfs", &[], SAFEST | MOUNT_ATTR_RDONLY, c"/sys");
    show_cgroups(&sources.cgroups);
    for (path, major, minor) in DEVICES {
        let mode = (libc::S_IFCHR | 0o666).into();
        let device = libc::makedev(major, minor) as u32;
        call(
            SYS_mknodat,
            [AT_FDCWD.into(), path.into(), mode, device.into()],
        )
        .unwrap();
    }
    for (target, path) in LINKS {
        symlink(target, path).unwrap();
    }
    if network {
        files::make();
    }
    protect();
    set(c"/", 0, MOUNT_ATTR_RDONLY, 0);
}

fn show_cgroups(cgroups: &[(Option<PathBuf>, i32)]) {
    if let [(None, unified)] = cgroups {
        set_of(*unified, SAFEST | MOUNT_ATTR_RDONLY);
        return attach(*unified, c"/sys/fs/cgroup");
    }
    let options = [(c"source", Some(c"cgroup")), (c"mode", Some(c"755"))];
    filesystem(c"tmpfs", &options, SAFEST, c"/sys/fs/cgroup");
    for (path, cgroup) in cgroups {
        let path = path.as_deref().unwrap();
        fs::create_dir(path).unwrap();
        set_of(*cgroup, SAFEST | MOUNT_ATTR_RDONLY);
        attach(*cgroup, &text(path));
    }
    set(c"/sys/fs/cgroup", 0, MOUNT_ATTR_RDONLY, 0);
}

/// The masks and the read-only paths.
fn protect() {
    for path in READONLY {
        if let Some(tree) = open_if_there(path) {
            set_of(tree, MOUNT_ATTR_RDONLY);
            attach(tree, path);
        }
    }
    let null = open(Path::new("/dev/null"));
    set_of(null, SAFE | MOUNT_ATTR_RDONLY);
    let (mut null_is_used, mut empty) = (false, None);
    for path in MASKED {
        let Ok(metadata) = fs::metadata(Path::new(path.to_str().unwrap())) else {
            continue;
        };
        let mask = match (metadata.is_dir(), empty) {
            (true, None) => *empty.insert(mount(c"tmpfs", &[], SAFE | MOUNT_ATTR_RDONLY)),
            (true, Some(empty)) => copy(empty),
            (false, _) if null_is_used => copy(null),
            (false, _) => {
                null_is_used = true;
                null
            }
        };
        attach(mask, path);
    }
}

/// Mounts a new file system.
fn filesystem(kind: &CStr, options: &[(&CStr, Option<&CStr>)], attributes: u64, target: &CStr) {
    attach(mount(kind, options, attributes), target);
}

/// A new mount that is not attached. Its source is its kind, unless the options name another.
pub(super) fn mount(kind: &CStr, options: &[(&CStr, Option<&CStr>)], attributes: u64) -> i32 {
    let context = call(SYS_fsopen, [kind.into(), FSOPEN_CLOEXEC.into()]).unwrap();
    let configure = |command: u32, key, value| {
        call(SYS_fsconfig, [context.into(), command.into(), key, value]).unwrap();
    };
    let source = (c"source", Some(kind));
    let source = (options.first().is_none_or(|(key, _)| *key != c"source")).then_some(source);
    for (key, value) in source.iter().chain(options) {
        match value {
            Some(value) => configure(FSCONFIG_SET_STRING, (*key).into(), (*value).into()),
            None => configure(FSCONFIG_SET_FLAG, (*key).into(), NOTHING),
        }
    }
    configure(FSCONFIG_CMD_CREATE, NOTHING, NOTHING);
    let attributes = attributes as u32;
    call(
        SYS_fsmount,
        [context.into(), FSMOUNT_CLOEXEC.into(), attributes.into()],
    )
    .unwrap()
}

/// A detached copy of the mounts at a path.
pub(super) fn open(path: &Path) -> i32 {
    open_if_there(&text(path)).unwrap()
}

fn open_if_there(path: &CStr) -> Option<i32> {
    let flags = OPEN_TREE_CLONE_CLOEXEC | AT_RECURSIVE;
    match call(SYS_open_tree, [AT_FDCWD.into(), path.into(), flags.into()]) {
        Err(Errno::ENOENT) => None,
        opened => Some(opened.unwrap()),
    }
}

/// A detached copy of a mount.
fn copy(mount: i32) -> i32 {
    let flags = OPEN_TREE_CLONE_CLOEXEC | libc::AT_EMPTY_PATH;
    call(SYS_open_tree, [mount.into(), c"".into(), flags.into()]).unwrap()
}

pub(super) fn attach(mount: i32, target: &CStr) {
    call(
        SYS_move_mount,
        [
            mount.into(),
            c"".into(),
            AT_FDCWD.into(),
            target.into(),
            MOVE_MOUNT_F_EMPTY_PATH.into(),
        ],
    )
    .unwrap();
}

/// Changes a mount that is attached.
fn set(path: &CStr, flags: i32, attributes: u64, propagation: u64) {
    change((AT_FDCWD, path, flags), attributes, propagation);
}

/// Changes a mount that is not attached.
fn set_of(mount: i32, attributes: u64) {
    change((mount, c"", libc::AT_EMPTY_PATH), attributes, 0);
}

fn change((directory, path, flags): (i32, &CStr, i32), attributes: u64, propagation: u64) {
    // `struct mount_attr`.
    let members = bytes_of([attributes, 0, propagation, 0]);
    call(
        SYS_mount_setattr,
        [
            directory.into(),
            path.into(),
            flags.into(),
            members.as_slice().into(),
            ATTRIBUTES_SIZE.into(),
        ],
    )
    .unwrap();
}

fn text(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}
