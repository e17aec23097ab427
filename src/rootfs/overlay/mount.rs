//! Init's part: opens the layers, and mounts the overlay.
//!
//! Init does both, because before Linux 6.15 overlayfs accepts no layer that is detached or
//! from another mount namespace. Layers are passed as /proc/self/fd/N of the host's /proc, so
//! special characters in paths need no escaping.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::{AccessFlags, Gid, Uid, faccessat, fchdir, fchownat};

use super::{Layers, UPPER, Upper, WORK};
use crate::rootfs::detached::new_file_system;
use crate::rootfs::filesystem::PAGE;
use crate::rootfs::layers::{MAX_VALUE, supports_lowerdir_append};
use crate::rootfs::old_mount_api::{MountArgs, mount_detached};
use crate::rootfs::parameter::{self, Parameter};
use crate::selinux::Label;
use crate::step::{Cause, Progress, Refusal, Step};
use crate::sys::{self, CloseBatch};

const DIRECTORY: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

const OVERLAY: &CStr = c"overlay";

/// The layers that [`Layers::open`] has opened.
pub(crate) struct OpenLayers {
    /// The lower layers above `root.path`, top first.
    above: Vec<OwnedFd>,
    /// The content of an upper layer on the host, and its work directory.
    upper: Option<(OwnedFd, OwnedFd)>,
}

/// Where init mounts, and how.
pub(in crate::rootfs) struct Place<'a> {
    /// Hidden by the tmpfs of the upper layer while the overlay is made.
    pub(in crate::rootfs) old_root: BorrowedFd<'a>,
    pub(in crate::rootfs) user_namespace: bool,
    /// `linux.mountLabel`, the label of all files of the overlay.
    pub(in crate::rootfs) label: Option<&'a Label>,
}

impl Layers {
    /// Init, with the caller's ids: opens all layers but `root.path`.
    pub(in crate::rootfs) fn open(&self, progress: &Progress) -> Result<OpenLayers, Cause> {
        let (_, above) = self.lower.split_last().ok_or(Errno::EBADF)?;
        let above = above.iter().enumerate().map(|(item, path)| {
            progress.at(Step::Layer, item);
            open(path, DIRECTORY, Mode::empty())
        });
        let above = above.collect::<nix::Result<_>>()?;
        let upper = match &self.upper {
            Upper::None | Upper::Memory(_) => None,
            Upper::Directory(path) => {
                progress.enter(Step::UpperLayer);
                let directory = open(path, DIRECTORY, Mode::empty())?;
                let part = |name| {
                    openat(
                        &directory,
                        name,
                        DIRECTORY | OFlag::O_NOFOLLOW,
                        Mode::empty(),
                    )
                };
                Some((part(UPPER)?, part(WORK)?))
            }
        };
        Ok(OpenLayers { above, upper })
    }

    /// Init, as root of its user namespace: mounts the overlay, detached. `root` is `root.path`.
    pub(in crate::rootfs) fn mount(
        &self,
        opened: &OpenLayers,
        root: BorrowedFd,
        place: &Place,
        progress: &Progress,
    ) -> Result<OwnedFd, Cause> {
        let close_batch = CloseBatch::default();
        let lower: Vec<BorrowedFd> = opened.above.iter().map(AsFd::as_fd).chain([root]).collect();
        if place.user_namespace {
            self.require_access(&lower, progress)?;
        }
        progress.enter(Step::Overlay);
        let make = |upper: Vec<Parameter>| place.overlay(&lower, upper, &close_batch);
        match (&self.upper, &opened.upper) {
            (Upper::None, _) => make(Vec::new()),
            (Upper::Memory(size), _) => {
                with_memory_layer(place.old_root, size, lower[0], &close_batch, |tmpfs| {
                    let mut parameters = vec![
                        layer(c"upperdir", tmpfs, "/upper"),
                        layer(c"workdir", tmpfs, "/work"),
                    ];
                    parameters.extend(self_contained(place.user_namespace));
                    make(parameters)
                })
            }
            (Upper::Directory(_), Some((upper, work))) => {
                let mut parameters = vec![
                    layer(c"upperdir", upper.as_fd(), ""),
                    layer(c"workdir", work.as_fd(), ""),
                ];
                if !place.user_namespace {
                    place.refuse_in_use(upper.as_fd(), &close_batch)?;
                }
                parameters.extend(self_contained(place.user_namespace));
                make(parameters)
            }
            (Upper::Directory(_), None) => Err(Errno::EBADF.into()),
        }
    }

    /// In a user namespace files keep the owners that they have on the host, so its root may
    /// have no right to read a layer. `root.path` is checked when mount points are made in it.
    fn require_access(&self, lower: &[BorrowedFd], progress: &Progress) -> Result<(), Cause> {
        for (item, layer) in lower.iter().enumerate().take(self.lower.len() - 1) {
            progress.at(Step::Layer, item);
            let access = AccessFlags::R_OK | AccessFlags::X_OK;
            faccessat(layer, ".", access, AtFlags::AT_EACCESS)?;
        }
        Ok(())
    }
}

impl Place<'_> {
    /// Makes an overlay of the lower layers and of what `upper` says.
    fn overlay(
        &self,
        lower: &[BorrowedFd],
        upper: Vec<Parameter>,
        close_batch: &CloseBatch,
    ) -> Result<OwnedFd, Cause> {
        let list: Vec<String> = lower.iter().map(path_of).collect();
        let list = list.join(":");
        let is_short = list.len() <= MAX_VALUE;
        let is_appended = !is_short && supports_lowerdir_append()?;
        let mut parameters = if is_appended {
            let layers = lower.iter();
            layers.map(|fd| layer(c"lowerdir+", *fd, "")).collect()
        } else {
            vec![Parameter::Value(c"lowerdir".into(), text(list))]
        };
        parameters.extend(upper);
        parameters.extend(parameter::context(self.label));
        if self.user_namespace {
            // Whiteouts are in `user.` attributes (Linux 5.11).
            parameters.push(Parameter::Flag(c"userxattr".into()));
        }
        if is_short || is_appended {
            return new_file_system(close_batch, OVERLAY, OVERLAY, &[], &parameters, 0);
        }
        let data: Vec<String> = parameters.iter().map(Parameter::to_mount_data).collect();
        let data = data.join(",");
        if data.len() >= PAGE {
            return Err(Errno::E2BIG.into());
        }
        let args = MountArgs {
            fs_type: OVERLAY,
            source: OVERLAY,
            flags: MsFlags::empty(),
            data: &data,
        };
        mount_detached(self.old_root, &args, close_batch)
    }

    /// Refuses a directory that is the upper layer of a mounted overlay, of any program: two
    /// overlays that write to it would damage it. The kernel refuses it with `index=on` only, which would
    /// tie the directory to its lower layers forever. So that option is set on an overlay that is
    /// dropped at once, and that only reads the directory, as a lower layer. A user namespace
    /// may not set it.
    fn refuse_in_use(&self, upper: BorrowedFd, close_batch: &CloseBatch) -> Result<(), Cause> {
        let made = with_memory_layer(self.old_root, &None, upper, close_batch, |tmpfs| {
            let parameters = vec![
                layer(c"upperdir", tmpfs, "/upper"),
                layer(c"workdir", tmpfs, "/work"),
                Parameter::Value(c"index".into(), c"on".into()),
            ];
            self.overlay(&[upper], parameters, close_batch)
        });
        match made {
            Ok(overlay) => {
                close_batch.add(overlay);
                Ok(())
            }
            Err(Cause::Errno(Errno::EBUSY)) => Err(Refusal::UpperInUse.into()),
            Err(other) => Err(other),
        }
    }
}

/// Calls `make` with a new tmpfs that holds the directories of an upper layer, attached to
/// `target`. Afterwards only the overlay that was made of it holds the tmpfs: left attached,
/// it would prevent unmounting the old root.
fn with_memory_layer(
    target: BorrowedFd,
    size: &Option<CString>,
    top: BorrowedFd,
    close_batch: &CloseBatch,
    make: impl FnOnce(BorrowedFd) -> Result<OwnedFd, Cause>,
) -> Result<OwnedFd, Cause> {
    let mut options = vec![Parameter::Value(c"mode".into(), c"0700".into())];
    options.extend((size.clone()).map(|size| Parameter::Value(c"size".into(), size)));
    let tmpfs = new_file_system(close_batch, c"tmpfs", c"tmpfs", &[], &options, 0)?;
    sys::move_mount(tmpfs.as_fd(), target)?;
    // The merged root has the attributes of the upper directory, so they are copied from
    // the layer below.
    let stat = fstat(top)?;
    let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
    mkdirat(&tmpfs, UPPER, mode)?;
    mkdirat(&tmpfs, WORK, Mode::S_IRWXU)?;
    let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
    match fchownat(&tmpfs, UPPER, Some(owner.0), Some(owner.1), flags) {
        // An owner without a mapping in the user namespace: the layer stays with its root.
        Ok(()) | Err(Errno::EINVAL) => {}
        Err(errno) => return Err(errno.into()),
    }
    let made = make(tmpfs.as_fd());
    fchdir(&tmpfs)?;
    umount2(".", MntFlags::MNT_DETACH)?;
    close_batch.add(tmpfs);
    made
}

/// Options by which a file of the upper layer says all about itself, so that other programs
/// can read and copy the layer, that its lower layers may be replaced, and that `rt diff` finds
/// each change in a directory that was copied. With `userxattr` only the first has an effect.
fn self_contained(user_namespace: bool) -> impl Iterator<Item = Parameter> {
    let off = [c"index", c"metacopy", c"redirect_dir"];
    let off = off.into_iter().take(if user_namespace { 1 } else { 3 });
    off.map(|key| Parameter::Value(key.into(), c"off".into()))
}

fn path_of(directory: &BorrowedFd) -> String {
    format!("/proc/self/fd/{}", directory.as_raw_fd())
}

fn layer(key: &CStr, directory: BorrowedFd, below: &str) -> Parameter {
    Parameter::Value(key.into(), text(path_of(&directory) + below))
}

fn text(value: String) -> CString {
    CString::new(value).unwrap_or_default()
}
