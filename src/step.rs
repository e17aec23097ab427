//! A failure is a position: the steps that init takes, in order, and how a failed step is
//! reported in eight bytes.
//!
//! Init keeps its position in a [`Progress`] and otherwise returns plain errors. When a step
//! fails, init sends step, item and cause to the runtime, which holds the same plan and writes
//! the error message. [`Step`] is the table of contents of everything between clone3(2) and
//! execve(2).

use serde::{Deserialize, Serialize};

/// An enum that travels as one byte: its variants are numbered from 0 in the order of the
/// source, and `ALL` lists them by number.
macro_rules! numbered_enum {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $name:ident {
            $($(#[$variant_attribute:meta])* $variant:ident,)*
        }
    ) => {
        $(#[$attribute])*
        #[repr(u8)]
        $visibility enum $name {
            $($(#[$variant_attribute])* $variant,)*
        }

        impl $name {
            /// All variants, in order.
            pub(crate) const ALL: &[$name] = &[$($name::$variant),*];

            /// `None` for a byte that is no variant's number.
            fn decode(byte: u8) -> Option<$name> {
                $name::ALL.get(usize::from(byte)).copied()
            }
        }
    };
}

mod failure;
mod progress;

pub(crate) use failure::{Cause, Failure, Refusal};
pub(crate) use progress::{Position, Progress};

numbered_enum! {
    /// What init does, in this order. Where a step handles a list, such as mounts or devices, the
    /// item is an index into the list.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub(crate) enum Step {
        /// clone3(2) itself, which the runtime calls.
        Clone,
        /// Waits until the runtime has moved init into its cgroups.
        Wait,
        /// Unblocks signals, and restores the default actions of those that the caller ignored.
        Signals,
        /// A session of its own (setsid(2)).
        Session,
        /// `process.oomScoreAdj`.
        OomScore,
        /// `process.ioPriority` of an exec process. The runtime sets that of init.
        IoPriority,
        /// An exec process enters the container's cgroups. Item: the hierarchy of version 1.
        JoinCgroup,
        /// Enters the namespaces that the configuration names by path.
        /// Item: `linux.namespaces[item]`.
        JoinNamespace,
        /// An exec process enters the container's namespaces, and its root.
        JoinContainer,
        /// A new time namespace with `linux.timeOffsets`.
        TimeNamespace,
        /// Opens `root.path`. The runtime takes this step and the next five before the clone, if
        /// it has the privileges; otherwise init takes them.
        OpenRoot,
        /// Opens the source of a mount on the host. Item: `mounts[item]`.
        OpenSource,
        /// Maps the ids of an opened source (idmapped mounts). Item: `mounts[item]`.
        MapIds,
        /// Opens a default device of the host, for a bind mount. Item: the index into the table of
        /// default devices.
        OpenDefaultDevice,
        /// Opens a device of the host, for a bind mount. Item: `linux.devices[item]`.
        OpenDevice,
        /// Opens the host's /dev/null, which masks files.
        OpenNull,
        /// Ends the propagation of mount events between the host and the new mount namespace.
        Propagation,
        /// Opens a layer of the root (`rt.rootfs.lower`), or checks that root of the user namespace
        /// may read it. Item: the index in the list.
        Layer,
        /// Opens the upper layer of the root (`rt.rootfs.overlay`).
        UpperLayer,
        /// Mounts an overlay of the layers over the root.
        Overlay,
        /// Attaches the root file system.
        Root,
        /// Leaves the host's mounts (pivot_root(2), or chroot(2)). Comes after the devices if hooks
        /// or a user namespace need the host's mounts until then.
        Pivot,
        /// Becomes root of its user namespace.
        NamespaceRoot,
        /// A session keyring of its own (keyrings(7)).
        Keyring,
        /// Creates the namespaces that depend on the process's cgroup or need root in its user
        /// namespace (unshare(2)).
        Unshare,
        /// Brings up the loopback device of a new network namespace.
        Loopback,
        /// `hostname`.
        Hostname,
        /// `domainname`.
        Domainname,
        /// A directory of the root by which CRIU changes to it.
        PutOld,
        /// Opens or creates a mount point. Item: `mounts[item]`.
        MountPoint,
        /// Creates and attaches a mount. Item: `mounts[item]`.
        Mount,
        /// Copies the content of the mount point into a tmpfs, before the tmpfs is attached
        /// (`tmpcopyup`). Item: `mounts[item]`.
        CopyUp,
        /// Opens or creates the directory for the default devices.
        DeviceDirectory,
        /// A default device node. Item: the index into the table of default devices.
        DefaultDevice,
        /// A device node of the configuration. Item: `linux.devices[item]`.
        Device,
        /// A symbolic link in /dev. Item: the index into the table of links.
        DeviceLink,
        /// Waits while the runtime calls prestart and createRuntime hooks.
        RuntimeHooks,
        /// `hooks.createContainer[item]`.
        ContainerHook,
        /// `process.terminal`: a pseudoterminal of the container's own devpts.
        Terminal,
        /// The terminal as /dev/console.
        Console,
        /// `process.consoleSize`.
        TerminalSize,
        /// Sends the master end of the terminal.
        ConsoleSocket,
        /// Makes the terminal the controlling terminal and the standard streams.
        ControllingTerminal,
        /// `linux.sysctl`, in the order of the keys.
        Sysctl,
        /// `linux.readonlyPaths[item]`.
        ReadonlyPath,
        /// `linux.maskedPaths[item]`.
        MaskedPath,
        /// `root.readonly`.
        ReadonlyRoot,
        /// `linux.rootfsPropagation`.
        RootPropagation,
        /// Checks that the mounts at /proc and /sys are those that init has made.
        /// Item: `mounts[item]`.
        MountInPlace,
        /// `process.execCPUAffinity.final`, or else resets the CPU affinity inherited from the
        /// caller.
        Affinity,
        /// `linux.memoryPolicy`.
        MemoryPolicy,
        /// `linux.personality`.
        Personality,
        /// `process.cwd`: creates it if missing, enters it, and checks that it is inside the root.
        WorkingDirectory,
        /// The process's user becomes the owner of standard input, output and error.
        /// Item: the descriptor.
        StandardIo,
        /// `process.capabilities.bounding`.
        BoundingSet,
        /// `process.user.additionalGids`.
        Groups,
        /// `process.user.gid`.
        Gid,
        /// `process.user.uid`.
        Uid,
        /// The other four sets of `process.capabilities`.
        Capabilities,
        /// `process.selinuxLabel`, from execve(2) on.
        SelinuxLabel,
        /// `process.apparmorProfile`, from execve(2) on.
        AppArmor,
        /// `process.noNewPrivileges`.
        NoNewPrivileges,
        /// HOME, from the container's own /etc/passwd.
        Home,
        /// Looks up `process.args[0]` in the container.
        Executable,
        /// The process's user may execute `rt` (`rt.init`).
        InitProgram,
        /// Ready: waits until the runtime says to start.
        Start,
        /// `hooks.startContainer[item]`.
        StartHook,
        /// Clones the process, and executes `rt` as PID 1 (`rt.init`). Item: which of the two.
        InitProcess,
        /// Closes every descriptor of the runtime, before a path in the image is resolved.
        Descriptors,
        /// `process.rlimits[item]`. Comes late, because a tiny limit would make other steps fail.
        Limit,
        /// Lets the passed descriptors survive execve(2). Comes after the hooks, which do not get
        /// them.
        PassedDescriptors,
        /// `linux.seccomp`. Comes after every system call that the filter may forbid.
        Seccomp,
        /// execve(2).
        Exec,
    }
}

impl Step {
    /// The steps that come after init is told to start.
    pub(crate) fn after_start() -> impl Iterator<Item = Step> {
        Step::ALL.iter().copied().skip(Step::Start as usize + 1)
    }
}
