//! The decisions about the root file system, its mounts and devices, as text.

use nix::sys::stat::{SFlag, major, minor};

use super::attributes::Setter;
use super::cgroup::{CgroupDirectories, CgroupMount, V1Hierarchy};
use super::copyup::CopyUp;
use super::devices::{DEFAULT_DEVICES, DEV_LINKS, DevDirectory, Devices};
use super::filesystem::{FileSystem, Origin};
use super::kind::Kind;
use super::mask::{ListedPath, Masks};
use super::mount::Mount;
use super::node::{Node, NodeSource};
use super::options::{Propagation, Recursion};
use super::{Entry, Rootfs, SwitchOrder};
use crate::decisions::{Decisions, list, word};

impl Rootfs {
    /// Adds the steps that build the root, in order.
    pub(crate) fn decisions(&self, to: &mut Decisions) {
        self.root(to);
        if self.switch_order == SwitchOrder::BeforeMounts {
            to.line(self.switch());
        }
        for item in 0..self.mounts.len() {
            self.mount(item, to);
        }
        self.devices.decisions(to);
        if self.switch_order == SwitchOrder::AfterMounts {
            to.line(self.switch());
        }
        self.masks.decisions(self.devices.creates_null(), to);
        if self.readonly {
            to.line("the root becomes read-only");
        }
        if let Some((kind @ (Propagation::Shared | Propagation::Unbindable), recursion)) =
            self.propagation
        {
            let name = propagation((kind, recursion));
            to.line(format!("the root becomes {name}"));
        }
    }

    fn root(&self, to: &mut Decisions) {
        let path = word(self.path.display());
        match (self.entry, &self.layers) {
            (Entry::Chroot, _) => to.line(path),
            (Entry::Pivot | Entry::Move, None) => {
                let kind = propagation(self.initial_propagation());
                to.line(format!("{path}, cloned with the mounts in it, {kind}"));
            }
            (Entry::Pivot | Entry::Move, Some(layers)) => layers.decisions(self.user_namespace, to),
        }
        to.line(match self.setter {
            Setter::Detached => "mounts get their attributes before they are attached",
            Setter::Attached => "mounts get their attributes once attached (before Linux 5.12)",
        });
        if let Some(label) = &self.label {
            let label = word(label.text());
            to.line(format!("SELinux label of new file systems: {label}"));
        }
    }

    fn switch(&self) -> &'static str {
        match self.entry {
            Entry::Pivot => "enter by pivot_root(2)",
            Entry::Move => "enter by moving it to / and chroot(2) (--no-pivot)",
            Entry::Chroot => "enter by chroot(2)",
        }
    }

    fn mount(&self, item: usize, to: &mut Decisions) {
        let mount = &self.mounts[item];
        let place = self.mount_field(item);
        let target = word(mount.target.display());
        match &mount.kind {
            Kind::Bind { source, recursion } => {
                let mut options = vec![recursive("bind", *recursion)];
                options.extend(mount.attributes());
                let types = mount.bind_propagation(self.default_propagation());
                options.extend(types.map(propagation));
                options.extend(mount.idmap.map(|recursion| recursive("idmap", recursion)));
                let made = self.makes_source(item, source);
                let made = made.then_some("made if it is missing");
                let source = word(source.display());
                let opened = self
                    .path_in_root(item)
                    .map(|_| "opened by init in the root");
                let remarks = opened.into_iter().chain(made).chain(mount.remarks());
                let details = details(options, remarks);
                to.line(format!("{place} {source} on {target}{details}"));
            }
            Kind::FileSystem(filesystem) => {
                let mut options = mount.attributes();
                options.extend(mount.new_propagation().map(propagation));
                options.extend(filesystem.options());
                let details = details(options, filesystem.remarks().chain(mount.remarks()));
                to.line(format!(
                    "{place} {} on {target}{details}",
                    filesystem.name()
                ));
            }
            Kind::Remount(remount) => {
                let mut options = mount.attributes();
                options.extend(mount.listed_propagation().map(propagation));
                options.extend(remount.options());
                let details = details(options, mount.remarks());
                to.line(format!("{place} remount {target}{details}"));
            }
            Kind::Generated(_) => {
                let details = details(mount.attributes(), mount.remarks());
                to.line(format!("{place} a file of its own on {target}{details}"));
            }
            Kind::Cgroup(cgroup) => {
                let details = details(mount.attributes(), mount.remarks());
                let heading = format!("{place} cgroups on {target}{details}");
                to.group(heading, |to| cgroup.decisions(to));
            }
        }
    }
}

impl Mount {
    /// The attributes, as options of mount(8).
    fn attributes(&self) -> Vec<String> {
        let of_tree = self.recursive.names().into_iter();
        let own = self.attributes.names().into_iter().map(str::to_owned);
        own.chain(of_tree.map(|name| format!("r{name}"))).collect()
    }

    fn remarks(&self) -> impl Iterator<Item = &'static str> {
        let late = "read-only once everything is mounted";
        self.readonly_late.then_some(late).into_iter()
    }
}

impl FileSystem {
    /// The type, and the source if it has another name.
    fn name(&self) -> String {
        let fs_type = word(self.fs_type.to_string_lossy());
        if self.source == self.fs_type {
            return fs_type;
        }
        format!("{fs_type} {}", word(self.source.to_string_lossy()))
    }

    fn options(&self) -> impl Iterator<Item = String> {
        let superblock = self.superblock.iter().map(|flag| flag.to_string_lossy());
        let superblock = superblock.map(|flag| format!("{flag} (superblock)"));
        superblock.chain(self.data.iter().map(word))
    }

    fn remarks(&self) -> impl Iterator<Item = &'static str> {
        let copied = |what| self.copy_up.contains(&what);
        let remarks = [
            (self.origin == Origin::Host, "made from the host's files"),
            (copied(CopyUp::Mode), "mode of the covered directory"),
            (copied(CopyUp::Content), "content of the covered directory"),
        ];
        remarks
            .into_iter()
            .filter_map(|(is_so, text)| is_so.then_some(text))
    }
}

impl CgroupMount {
    fn decisions(&self, to: &mut Decisions) {
        match self {
            CgroupMount::V2 => to.line("cgroup2, whose root is the container's cgroup"),
            CgroupMount::V2Bind(directories) => to.line(directories.decision()),
            CgroupMount::V1 {
                namespaced,
                hierarchies,
            } => {
                for hierarchy in hierarchies {
                    to.line(hierarchy.decision(*namespaced));
                }
            }
        }
    }
}

impl CgroupDirectories {
    fn decision(&self) -> String {
        let caller = format!("{}, read-only", word(self.caller.display()));
        match &self.container {
            None => format!("bind {caller}"),
            Some(own) => format!("bind {}, or if missing {caller}", word(own.display())),
        }
    }
}

impl V1Hierarchy {
    fn decision(&self, namespaced: bool) -> String {
        let name = word(self.name.to_string_lossy());
        let links = self.links.iter().map(|link| word(link.to_string_lossy()));
        let links = match self.links.as_slice() {
            [] => String::new(),
            [..] => format!("; links {}", list(links)),
        };
        let content = if namespaced {
            format!("cgroup with {}", list(self.options.iter().map(word)))
        } else {
            self.directories.decision()
        };
        format!("{name}: {content}{links}")
    }
}

impl Devices {
    fn decisions(&self, to: &mut Decisions) {
        match self.directory {
            DevDirectory::Filled => self.defaults(to),
            DevDirectory::Bound(mount) => to.line(format!(
                "no default devices and links: /dev is a bind mount (mounts[{mount}])"
            )),
            DevDirectory::Unchanged => to.line("no devices and links in /dev"),
        }
        for node in &self.nodes {
            to.line(node.decision());
        }
        if self.directory == DevDirectory::Filled {
            let links = DEV_LINKS.map(|(name, target)| format!("/dev/{name} to {target}"));
            to.line(format!("links to what exists: {}", list(links)));
            to.line("link /dev/ptmx to pts/ptmx");
        }
    }

    fn defaults(&self, to: &mut Decisions) {
        let source = match self.node_source {
            NodeSource::Mknod => "mknod(2), mode 0666",
            NodeSource::Bind => "bind mounts of the host's: ro, nosuid, noexec, private",
        };
        let defaults = self.default_nodes.iter().map(|item| {
            let (name, major, minor) = DEFAULT_DEVICES[*item];
            format!("/dev/{name} c {major}:{minor}")
        });
        to.line(format!("default devices by {source}: {}", list(defaults)));
    }
}

impl Node {
    fn decision(&self) -> String {
        let Node {
            index,
            device,
            mode,
            uid,
            gid,
            ..
        } = self;
        let (major, minor) = (major(*device), minor(*device));
        let kind = match self.kind {
            SFlag::S_IFIFO => "p".to_owned(),
            SFlag::S_IFBLK => format!("b {major}:{minor}"),
            _ => format!("c {major}:{minor}"),
        };
        let path = word(self.path.display());
        let how = match self.source {
            Some(NodeSource::Mknod) => format!("mode {mode:04o}, owner {uid}:{gid}"),
            Some(NodeSource::Bind) => "bind mount of the host's".to_owned(),
            None => "an error unless it is there".to_owned(),
        };
        format!("linux.devices[{index}] {path} {kind}: {how}")
    }
}

impl Masks {
    fn decisions(&self, creates_null: bool, to: &mut Decisions) {
        let paths = |listed: &[ListedPath]| list(listed.iter().map(|one| word(one.path.display())));
        to.line(format!("read-only paths: {}", paths(&self.readonly)));
        to.line(format!("masked paths: {}", paths(&self.masked)));
        if self.has_masked_paths() {
            let owner = if creates_null {
                "container's"
            } else {
                "host's"
            };
            to.line(format!(
                "masked files become the {owner} null device, directories an empty tmpfs: ro, nosuid, noexec"
            ));
        }
    }
}

/// The name of an option, with `r` before it for a whole tree.
fn recursive(name: &str, recursion: Recursion) -> String {
    match recursion {
        Recursion::MountOnly => name.to_owned(),
        Recursion::Recursive => format!("r{name}"),
    }
}

fn propagation((kind, recursion): (Propagation, Recursion)) -> String {
    recursive(kind.name(), recursion)
}

/// What follows the mount point: options, and remarks in words.
fn details(options: Vec<String>, remarks: impl Iterator<Item = &'static str>) -> String {
    let options = Some(options)
        .filter(|options| !options.is_empty())
        .map(list);
    let parts = options.into_iter().chain(remarks.map(str::to_owned));
    match parts.collect::<Vec<_>>().join("; ") {
        empty if empty.is_empty() => empty,
        parts => format!(": {parts}"),
    }
}
