//! Describes a failed step: the field in config.json that asked for it, and the operation.

use super::Rootfs;
use super::kind::Kind;
use crate::step::Step;

impl Rootfs {
    /// The field in config.json and the operation, for a position in this plan.
    pub(crate) fn describe(&self, step: Step, item: u16) -> Option<(String, String)> {
        let index = usize::from(item);
        let path = self.path.display();
        let root = |operation: String| Some(("root.path".to_owned(), operation));
        match step {
            Step::OpenRoot => root(path.to_string()),
            Step::OpenSource => {
                let mount = self.mounts.get(index)?;
                let operation = match &mount.kind {
                    Kind::Bind { .. } => format!("{}: open the source", mount.describe()),
                    Kind::FileSystem(_) => mount.describe(),
                    Kind::Cgroup(_) => format!("{}: open the cgroups", mount.describe()),
                    Kind::Remount(_) => return None,
                    Kind::Generated(_) => format!("{}: write it", mount.describe()),
                };
                Some((self.mount_field(index), operation))
            }
            Step::MapIds => self.part_of_mount(index, "map its ids"),
            Step::OpenNull => Some((
                "linux.maskedPaths".into(),
                "open the host's /dev/null".into(),
            )),
            Step::Propagation => root("make all mounts private".into()),
            Step::Layer | Step::UpperLayer | Step::Overlay => {
                self.layers.as_ref()?.describe(step, index)
            }
            Step::Root => root(format!("attach {path}")),
            Step::Pivot => root(format!("enter {path}")),
            Step::PutOld => root("make /tmp, which CRIU needs in a read-only root".into()),
            Step::MountPoint => self.part_of_mount(index, "make the mount point"),
            Step::Mount => Some((self.mount_field(index), self.mounts.get(index)?.describe())),
            Step::CopyUp => self.part_of_mount(index, "copy the content"),
            Step::MountInPlace => self.part_of_mount(index, "check that it is in place"),
            Step::Terminal => Some(("process.terminal".into(), "open /dev/pts/ptmx".into())),
            Step::Console => Some(("process.terminal".into(), "bind on /dev/console".into())),
            Step::RootPropagation => Some((
                "linux.rootfsPropagation".into(),
                "set the propagation".into(),
            )),
            Step::ReadonlyRoot => Some(("root.readonly".into(), "make read-only".into())),
            _ => self
                .devices
                .describe(step, index)
                .or_else(|| self.masks.describe(step, index)),
        }
    }

    /// The same for a single mount option that the kernel refused. Steps other than `Mount`
    /// and `OpenSource` make only file systems of `rt`'s own, with fixed options.
    pub(crate) fn describe_parameter(
        &self,
        step: Step,
        item: u16,
        position: u16,
    ) -> Option<(String, String)> {
        let index = usize::from(item);
        let mount = self.mounts.get(index)?;
        match (step, &mount.kind) {
            (Step::Mount | Step::OpenSource, Kind::FileSystem(filesystem)) => {
                let parameter = filesystem.parameter(position)?;
                let operation = format!("{} with {parameter:?}", mount.describe());
                Some((format!("{}.options", self.mount_field(index)), operation))
            }
            (Step::Mount, Kind::Remount(remount)) => {
                let parameter = remount.parameter(position)?;
                let operation = format!("{} with {parameter:?}", mount.describe());
                Some((format!("{}.options", self.mount_field(index)), operation))
            }
            _ => None,
        }
    }

    /// A step of the mount at this index.
    fn part_of_mount(&self, index: usize, part: &str) -> Option<(String, String)> {
        let mount = self.mounts.get(index)?.describe();
        Some((self.mount_field(index), format!("{mount}: {part}")))
    }

    /// The same where `rt` itself refuses a mount, whichever part of it is reached.
    pub(crate) fn describe_refused(&self, step: Step, item: u16) -> Option<(String, String)> {
        match step {
            Step::OpenSource | Step::MountPoint | Step::MountInPlace => {
                self.describe(Step::Mount, item)
            }
            Step::Overlay => self.describe(Step::UpperLayer, item),
            Step::PutOld => Some(("root.path".into(), "/tmp".into())),
            _ => None,
        }
    }

    pub(super) fn mount_field(&self, index: usize) -> String {
        let added = self
            .mounts
            .get(index)
            .filter(|_| index >= self.configured_mounts);
        match added {
            Some(mount) => mount.field_of_added(),
            None => format!("mounts[{index}]"),
        }
    }
}
