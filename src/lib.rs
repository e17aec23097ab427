//! `rt` is an OCI container runtime. It turns a bundle (a directory with config.json and a root
//! file system) into a running container.
//!
//! # How it works
//!
//! A container is made by two processes: the *runtime*, which the user has called, and *init*,
//! which the runtime clones and which becomes the container's first process.
//!
//! ```text
//! config.json ─ bundle ─▶ Spec ─┐
//!                               ├─ plan ─▶ Plan      immutable; both processes hold it
//! /proc, /sys ── host ──▶ Host ─┘           │
//!        runtime   container/create.rs      │                 init   container/init.rs
//!        ───────────────────────────────────┼───────────────────────────────────────────
//!        opens on the host: namespaces,     │
//!        bind sources, the root             │
//!        creates cgroups, clones init ──────┼──▶ (waits)
//!        writes id maps, moves init into    │
//!        its cgroups                    Go ─┼──▶ namespaces, root, mounts, devices, masks,
//!                                           │    user, capabilities; looks up the executable
//!        saves the state             ◀─ Ready
//!        `rt run`, or `rt start`        Go ─┼──▶ startContainer hooks, execve(2)
//!        "running", poststart hooks  ◀─ end of file, by close-on-exec
//! ```
//!
//! `rt exec` works the same way, with a process that joins an existing container:
//! `container/exec.rs` is the runtime's side, `container/exec_process.rs` the other.
//!
//! # Glossary
//!
//! - **bundle**: the directory with config.json and the root file system (OCI specification).
//! - **host**: the system outside of the container, with its namespaces, mounts and cgroups.
//! - **caller**: the user and the process that called `rt`.
//! - **runtime**: the `rt` process that carries out a command.
//! - **init**: the process that the runtime clones, and that becomes the container's first process.
//! - **exec process**: a process that `rt exec` adds to a container.
//! - **intermediate process**: a short-lived process that enters namespaces and clones another.
//! - **plan**: everything that was decided about a container, as one immutable value.
//! - **step**: one numbered action of init; its *item* is an index into a list of config.json.
//! - **wire**: the runtime's part of the plan, such as creating cgroups.
//! - **apply**: init's part of the plan, such as mounting.
//! - **rollback**: the removal of everything that a failed command has made.
//! - **state**: what `state.json` in the container's directory says about the container.
//! - **hook**: a program that config.json names for a moment in the container's life.
//! - **sealed**: protected from writes through /proc/PID/exe, as the `rt` binary is (CVE-2019-5736).
//!
//! # Design
//!
//! Five decisions keep it small.
//!
//! *Everything is decided before anything is changed.* [`plan`] turns the configuration and the
//! facts about the host into one plain value. What is not supported is refused there, by its
//! place in config.json, when there is nothing to undo.
//!
//! *Init carries out the plan and decides nothing.* After the clone, no process reads a
//! configuration, an environment variable or a user database of the host. What is needed from
//! the host was opened before the clone, so no descriptor has to be sent, and the two processes
//! exchange only single bytes and failures. There are three exceptions. A terminal belongs to
//! the container's own devpts, so only init can open it; the master goes over a socket of its
//! own. When there are more mounts than descriptors may be open, the rest are parked in a
//! socket that init inherits. A bind source inside the container's root can be the result of an
//! earlier mount, so init opens it when its turn comes.
//!
//! *A failure is a position.* Init keeps a [`step::Progress`] and returns plain errors. When a
//! step fails, it reports step, item and cause in eight bytes. The runtime holds the same plan
//! and writes the error message.
//!
//! *The order of steps is in two files.* Each feature is one directory that does not depend on
//! the others. `container/create.rs` and `container/init.rs` (for `rt exec`,
//! `container/exec.rs` and `container/exec_process.rs`) hold the order of the steps; `rt create` and
//! `rt restore` have in common what is in `container/create/claims.rs`. There is no registry and no
//! trait: every step is called once, by name.
//!
//! *Everything is a descriptor.* Only one module (`rootfs/root.rs`) opens paths below a root,
//! and paths are never joined as strings. Mounts are created detached, get their attributes,
//! and are attached once. /proc is opened once and checked ([`trusted_proc`]).
//!
//! The root is entered before anything is mounted, so that a wrong path can only affect the
//! container. Mounts come before that in two cases only (`rootfs::SwitchOrder`): when hooks have to
//! run before pivot_root(2), and in a user namespace, where the kernel allows a mount of /proc
//! or /sys only while another one is visible.
//!
//! Other designs were considered. A list of operations that the child interprets (bubblewrap)
//! needs variables as soon as one operation opens what a later one uses, and spreads each
//! feature over three files. A type for every stage (`Cloned → Mapped → …`) multiplies the
//! types when half of the stages are optional. Three processes (runc) or four sockets (youki)
//! need a longer protocol; in Rust, one clone is enough.
//!
//! # User namespaces
//!
//! Privileges depend on the user namespace of a process, so in a container with a user
//! namespace some steps are taken by another process:
//!
//! - Init waits in its new user namespace until the runtime has written the id maps, directly or
//!   with newuidmap(1). It keeps the caller's ids until it has opened what it needs from the
//!   host, and then becomes root of the namespace.
//! - If such a container also joins a namespace by path, an intermediate process
//!   (`namespaces/clone.rs`) enters the joined namespaces and clones init as its sibling.
//! - An unprivileged caller may not copy the host's mounts (open_tree(2)). Then init opens the
//!   bind sources, in its own mount namespace.
//! - A user namespace has no right to create devices, so the host's devices are bind-mounted.
//! - An unprivileged caller can use cgroups only where some are delegated to it. Without them,
//!   and without a limit to enforce, the container stays in the caller's cgroup.
//!
//! # Cgroups made by systemd
//!
//! With `--systemd-cgroup` systemd makes the container's cgroup, that of a scope, and a scope needs a process when it
//! starts. Init cannot be that process: mounts can show the cgroup, and are opened before init is cloned. So the runtime
//! clones a process that does nothing, and ends it once init is in the cgroup (`cgroups/systemd/`). All other steps are the
//! same with both drivers. state.json names the unit before it is started, and where systemd was reached.
//!
//! # Exec processes
//!
//! What all processes of a container share (`plan/exec.rs`), including the compiled seccomp
//! filter, is saved in state.json when the container is created. `rt exec` does not read the
//! bundle again. The exec process is cloned into the container's pid namespace and, on cgroup
//! v2, into its cgroup; it moves itself into cgroups of version 1. One setns(2) on a pidfd of
//! init enters the namespaces.
//!
//! If the container shares the host's user namespace, its processes could inspect an exec
//! process that holds descriptors of the host. Then an intermediate process, which is invisible
//! in the container, enters the namespaces first and closes these descriptors before it clones
//! the exec process.
//!
//! The rest is the same as for init: user, capabilities, limits, executable, filter. The exec
//! process sends *Ready* before execve(2), and its socket closes on execve(2), so the runtime
//! knows whether the program runs. The pid file is written only then.
//!
//! # An init as PID 1
//!
//! With the annotation `rt.init`, init clones the process right before execve(2) (`process/pid_1.rs`). It then takes
//! the limits and the filter of the process, and executes `rt` again from a descriptor that the runtime has
//! opened. The code for this (`sys/init.rs`) runs before the C library starts and makes system calls only, so that PID 1
//! has neither the memory nor a descriptor of the runtime. The child waits for that, and goes on as init does otherwise.
//!
//! # Hooks
//!
//! config.json names six lists of programs for six moments (runtime.md, "Lifecycle"):
//!
//! | hooks | called by | when |
//! |---|---|---|
//! | prestart, createRuntime | runtime | after init has mounted everything and sent *Mounted* |
//! | createContainer | init | then, before it leaves the host's mounts |
//! | startContainer | init | after the start, right before execve(2) |
//! | poststart | runtime | right after execve(2) |
//! | poststop | runtime | after the container is deleted |
//!
//! Once init has sent *Mounted* or *Ready*, hooks may know of the container. It is then removed
//! like any other container, with poststop hooks, even if a later step fails. The poststart and
//! poststop hooks are saved in state.json for later commands. Every hook is a child of the
//! process that calls it, and reads the state from an anonymous file.
//!
//! # Layers
//!
//! With `rt.rootfs.*` the root is an overlay (`rootfs/overlay/`). The runtime checks the layers and makes
//! the directories of an upper layer that is kept; init mounts the overlay, in its own mount namespace. What the
//! runtime has made on the host for a container, volumes too, is in `rootfs/directories.rs`: a failure
//! removes it, and state.json names it until the container is made.
//!
//! # Checks
//!
//! `rt check` (`container/check.rs`) takes the steps of `container/create.rs` that only read, by the same
//! functions, and reports every failure that it can find. Steps that would make something have counterparts in
//! the `check.rs` of their modules: these look at what the step needs, and return its error.
//!
//! # The modules
//!
//! ```text
//! cli ▸ commands ▸ container ▸ plan ▸ { namespaces · cgroups · criu · resctrl · network · rootfs · process } ▸ { annotations · bundle · host · layer } ▸ { pathname · seal · selinux · trusted_proc } ▸ { decisions · log · nearest · step · sys }
//! ```
//!
//! A module uses only modules to its right. The seven feature modules never use each other:
//! [`plan`] passes on what one must know of another. A test checks this. Only [`sys`] contains
//! `unsafe`: it has one function for each system call that nix lacks, and what runs before the C library. In every feature module
//! the same four verbs mean the same: `plan` decides, `wire` acts in the runtime, `apply` acts
//! in init, `undo` reverses `wire`. `decisions` is what was planned, as text.
//!
//! | module | content |
//! |---|---|
//! | [`cli`], [`commands`] | the command line, with one file for each verb |
//! | [`container`] | the life of a container: the order of steps, and state.json |
//! | [`plan`] | configuration and host, composed into a plan |
//! | [`namespaces`] | namespaces, id maps, clocks, host name, sysctls |
//! | [`cgroups`] | resource limits, device rules and figures, cgroup v1 and v2 |
//! | [`criu`] | the program that writes processes to files and makes them again, and its messages |
//! | [`resctrl`] | groups that divide caches and the bandwidth of the memory (`linux.intelRdt`) |
//! | [`network`] | bridge, links, addresses, routes, NAT and published ports; devices of the host |
//! | [`rootfs`] | the root, mounts, devices, masked and read-only paths |
//! | [`process`] | user, capabilities, limits, seccomp, terminal, executable; hooks |
//! | [`annotations`], [`bundle`], [`host`] | the inputs: `rt.*` annotations, config.json, facts about the host |
//! | [`layer`] | what a container has changed, as a list and as a layer of an image |
//! | [`pathname`] | what on a path makes the kernel refuse it, for error messages |
//! | [`seal`] | the protection of the `rt` binary against containers |
//! | [`selinux`] | labels of config.json, for the process and for mounts |
//! | [`trusted_proc`] | a checked /proc |
//! | [`decisions`] | the text of a plan, for people |
//! | [`log`], [`nearest`], [`step`], [`sys`] | messages, nearest names, steps and failures, system calls |
//!
//! # Kernels
//!
//! `rt` runs on Linux 5.10 and later, and uses newer system calls where they exist
//! (docs/kernels.md has the view of a user):
//!
//! | feature | since | otherwise |
//! |---|---|---|
//! | mount_setattr(2) | 5.12 | mount(2) on the descriptor, right after attaching. Recursive options (`rro`) and idmapped mounts are refused. Probed once, by `Kernel::probe` |
//! | cgroup.kill | 5.14 | freeze, kill each process, thaw |
//! | BPF programs outside RLIMIT_MEMLOCK | 5.11 | the limit is raised for the load |
//! | `userxattr` of overlay | 5.11 | the kernel refuses `rt.rootfs.overlay` in a user namespace |
//! | `lowerdir+` of overlay | 6.7 | a list of layers that is too long for fsconfig(2) goes to mount(2), called by a process in a mount namespace of its own |
//! | `MFD_NOEXEC_SEAL` of memfd_create(2) | 6.3 | memfd_create(2) without the flag |
//!
//! Always used: clone3(2) with `CLONE_INTO_CGROUP` (5.7), openat2(2) (5.6), fsopen(2) and the
//! rest of the new mount API (5.2), pidfds (5.3), setns(2) on a pidfd (5.8), mount ids of
//! statx(2) (5.8), close_range(2) (5.9).

mod annotations;
mod bundle;
mod cgroups;
mod cli;
mod commands;
mod container;
mod criu;
mod decisions;
mod host;
mod layer;
mod log;
mod namespaces;
mod nearest;
mod network;
mod pathname;
mod plan;
mod process;
mod resctrl;
mod rootfs;
mod seal;
mod selinux;
mod step;
mod sys;
mod trusted_proc;

#[doc(hidden)]
pub use sys::before_c_library;

/// Runs the command line of this process and returns its exit status.
pub fn run() -> u8 {
    cli::run()
}

/// The definition of the command line with all verbs, from which the manual pages and the
/// completions are generated (`examples/pages`).
pub fn command_line() -> clap::Command {
    cli::program()
}
