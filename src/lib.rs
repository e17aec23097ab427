//! `rt` is an OCI container runtime: config.json in, a container out, in one
//! process that clones once.
//!
//! # How it works
//!
//! ```text
//! config.json ─ bundle ─▶ Spec ─┐
//!                               ├─ plan ─▶ Plan      immutable; both sides of the clone hold it
//! /proc, /sys ── host ──▶ Host ─┘           │
//!        runtime   container/create.rs      │                 init   container/init.rs
//!        ───────────────────────────────────┼───────────────────────────────────────────
//!        opens what belongs to the machine: │
//!        namespaces, bind sources, the root │
//!        makes cgroups, clones ─────────────┼──▶ (waits)
//!        writes id maps, moves it into      │
//!        its cgroups                    Go ─┼──▶ namespaces, root, mounts, devices, masks,
//!                                           │    user, capabilities; finds the executable
//!        saves the state             ◀─ Ready
//!        `rt run`, or `rt start`        Go ─┼──▶ startContainer hooks, execve
//!        "running", poststart hooks  ◀─ end of file, by close-on-exec
//! ```
//!
//! `rt exec` is the same with a process that joins: `container/exec.rs` makes it,
//! `container/exec_process.rs` is what it does.
//!
//! Five decisions make it small.
//!
//! *Everything is decided before anything is touched.* [`plan`] turns the
//! configuration and the facts about this machine into one plain value. What
//! can be refused is refused there, by its place in config.json, with nothing
//! to undo.
//!
//! *Init performs; it does not decide.* After the clone nobody looks at a
//! configuration, an environment or a user database. What belongs to the
//! machine was opened before, so no descriptor has to be sent, and the two
//! processes exchange nothing but single bytes and failures. (A terminal is of
//! the container's own devpts, which only init can open: its other end goes to
//! whoever is to serve it, on a socket of its own. More mounts than there may be
//! descriptors wait in a socket that init is born with.) A bind mount whose source
//! lies in the container's root shows earlier mounts, so init opens it in its turn.
//!
//! *A failure is a position.* Init keeps a [`step::Progress`], returns plain
//! errors, and in the end reports step, item and cause in eight bytes. The
//! runtime holds the same plan and writes the sentence.
//!
//! *Order is on two pages.* Each feature is one directory that knows nothing of
//! the others; `container/create.rs` and `container/init.rs`, for one that joins
//! `container/exec.rs` and `container/exec_process.rs`, say what comes after what, and
//! nothing else does. There is no registry and no trait: every
//! step is called once, by name, in sight.
//!
//! *Everything is a descriptor.* Paths in a root are opened below it by one
//! module (`rootfs/root.rs`) and never joined; mounts are built detached, get
//! their attributes, and are attached once; /proc is opened once and checked
//! ([`trusted_proc`]).
//!
//! Alternatives were weighed. A list of operations interpreted by the child
//! (bubblewrap) needs registers as soon as one operation opens what a later one
//! uses, and scatters each feature over three files. Types for every stage
//! (`Cloned → Mapped → …`) multiply where half of the stages are optional. Three
//! processes (runc) or four sockets (youki) are protocol without need: Rust can
//! clone.
//!
//! The root is entered before anything is mounted, so a mistaken path can only
//! hit the container. There are two reasons to mount first, and no other
//! (`rootfs::Turn`): hooks that the specification runs before pivot_root(2), and
//! a user namespace, in which the kernel mounts /proc and /sys only for those
//! who have one in sight.
//!
//! # User namespaces
//!
//! Rights are a matter of the namespace that one is in, so with a user namespace
//! the order of things is a matter of who does them.
//!
//! - Born into a new one, init waits for the runtime to write its maps, directly
//!   or by newuidmap(1). Until it has opened what belongs to the machine, it
//!   keeps the caller's id; then it becomes root of its namespace.
//! - A container that has a user namespace and joins anything by path needs a
//!   third process for a moment: the intermediate process (`namespaces/clone.rs`), which
//!   enters what is joined and clones init as its own sibling.
//! - Who may not copy the machine's mounts (a user without privileges) leaves the
//!   opening of bind sources to init, which may, in its own mount namespace.
//! - Nobody in there makes a device: the machine's are bound.
//! - Who does not rule the machine has cgroups where somebody has handed some
//!   over; without, and without a limit to keep, the container stays in the
//!   caller's.
//!
//! # Processes that join
//!
//! What the processes of a container have in common (`plan/exec.rs`), the compiled
//! filter included, is kept in state.json when it is made; the bundle is not
//! looked at again. A guest is born in the container's pid namespace and, on cgroup
//! v2, in its cgroup; into those of version 1 it moves itself. One setns(2) on
//! a pidfd of the first process enters the namespaces. Without a user namespace of
//! the container's own an intermediate process does that before, which nobody inside sees, and
//! closes what is the machine's: the guest is born inside with nothing worth
//! stealing. From there on it does what init does: user, capabilities, limits, executable, filter. It says
//! *Ready* before execve(2) and ends its socket with it, so whoever called knows
//! whether it runs; only then there is a pid file.
//!
//! # Hooks
//!
//! Six lists of programs, at six moments (runtime.md, "Lifecycle"). Where some
//! are to look at the finished root from the machine's side, init says *Mounted*
//! before it leaves the machine, and waits: the runtime calls prestart and
//! createRuntime hooks, then init its createContainer hooks. Right before
//! execve(2) init calls startContainer hooks, right after it the runtime calls
//! poststart hooks. A container that has come as far as *Mounted* or *Ready* goes
//! as any other does, with poststop hooks when nothing is left. The last two
//! kinds live in state.json, for the commands that come later. All are children
//! of whoever calls them, and read the state from an anonymous file.
//!
//! # The modules
//!
//! ```text
//! cli ▸ commands ▸ container ▸ plan ▸ { namespaces · cgroups · rootfs · process } ▸ { annotations · bundle · host } ▸ { seal · trusted_proc } ▸ { log · step · sys }
//! ```
//!
//! A module names only what stands right of it; the four in braces never name
//! each other, and [`plan`] hands one what it must know of another. A test holds
//! this. Only [`sys`] contains `unsafe`: one function for each system call that
//! nix lacks. The four verbs are the same everywhere: `plan` decides, `wire`
//! acts from outside, `apply` performs inside, `undo` reverses.
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`], [`commands`] | the command line, one verb a file |
//! | [`container`] | a container's life; the two pages; state.json |
//! | [`plan`] | the configuration and the machine, composed |
//! | [`namespaces`] | what is private, with ids, clocks, host name and sysctls |
//! | [`cgroups`] | limits and devices, version 1 and 2 |
//! | [`rootfs`] | root, mounts, devices, masks |
//! | [`process`] | what PID 1 becomes; hooks |
//! | [`annotations`], [`bundle`], [`host`] | what is read: `rt.*`, config.json, this machine |
//! | [`seal`], [`trusted_proc`], [`log`], [`step`], [`sys`] | the ground |
//!
//! # Kernels
//!
//! Linux 5.10 and later. Where a newer call serves better, it is used:
//!
//! | call | since | before, or where it is refused |
//! |---|---|---|
//! | mount_setattr(2) | 5.12 | mount(2) on the descriptor, right after attaching; recursive options (`rro`) and idmapped mounts are refused. Asked once, by `Kernel::probe` |
//! | cgroup.kill | 5.14 | freeze, kill each process, thaw |
//! | BPF programs outside RLIMIT_MEMLOCK | 5.11 | the limit is raised for the load |
//! | `userxattr` of overlay | 5.11 | `rt.rootfs.overlay` in a user namespace is refused by the kernel |
//! | `lowerdir+` of overlay | 6.7 | a list of layers that is too long for fsconfig(2) goes to mount(2), called by a child in a mount namespace of its own |
//! | `MFD_NOEXEC_SEAL` of memfd_create(2) | 6.3 | without it |
//!
//! Always used: clone3(2) with `CLONE_INTO_CGROUP` (5.7), openat2(2) (5.6),
//! fsopen(2) and its kin (5.2), pidfds (5.3), setns(2) on one (5.8), mount numbers of
//! statx(2) (5.8), close_range(2) (5.9).

mod annotations;
mod bundle;
mod cgroups;
mod cli;
mod commands;
mod container;
mod host;
mod log;
mod namespaces;
mod plan;
mod process;
mod rootfs;
mod seal;
mod step;
mod sys;
mod trusted_proc;

#[doc(hidden)]
pub use sys::execute_read_only;

/// Runs the command line of this process and returns its exit status.
pub fn run() -> u8 {
    cli::run()
}

/// The command line as it is defined, with all verbs: what the manual pages and
/// the completions are made of (`examples/pages`). Hidden flags are refused.
pub fn command_line() -> clap::Command {
    cli::program()
}
