//! The text of the manual pages that the definition of the command line does not contain.

/// The text of one page. In every field, text between two `*` is bold.
pub(crate) struct PageText {
    /// Paragraphs, separated by empty lines.
    pub(crate) description: &'static str,
    pub(crate) exit_statuses: &'static [(&'static str, &'static str)],
    pub(crate) files: &'static [(&'static str, &'static str)],
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// A description and the lines of the command. The example in the help comes before them.
    pub(crate) examples: &'static [(&'static str, &'static str)],
    /// Related pages, such as `cgroups(7)`. The default section is 1.
    pub(crate) see_also: &'static [&'static str],
}

const DEFAULT: PageText = PageText {
    description: "",
    exit_statuses: &[
        ("0", "Success."),
        ("1", "Failure. One line on standard error gives the reason."),
    ],
    files: &[],
    environment: &[],
    examples: &[],
    see_also: &[],
};

const CONFIG: (&str, &str) = (
    "*config.json*",
    "The configuration of the container in the bundle, in the format of the OCI runtime specification.",
);
const STATE_FILE: (&str, &str) = (
    "*/run/rt/*ID*/state.json*",
    "The state of a container. *--root* changes the directory.",
);
const SIGNAL_STATUS: (&str, &str) = ("128+*n*", "Signal *n* killed the process.");

/// Environment variables that a service manager sets.
const LISTEN: (&str, &str) = (
    "*LISTEN_FDS*, *LISTEN_PID*",
    "Sockets of socket activation (*sd_listen_fds*(3)). If *LISTEN_PID* is the pid of *rt*, the
     sockets are passed to the container's process. The descriptors of *--preserve-fds* follow them.",
);
const NOTIFY: (&str, &str) = (
    "*NOTIFY_SOCKET*",
    "Socket of the service manager (*sd_notify*(3)). The container gets a socket of its own. When it
     sends *READY=1* there, *rt* notifies the service manager, with the pid of the container's process.",
);

/// The text of the page with this title.
pub(crate) fn page_text(title: &str) -> Option<PageText> {
    let all = [
        ("rt", RT),
        ("rt-run", RUN),
        ("rt-create", CREATE),
        ("rt-exec", EXEC),
        ("rt-start", START),
        ("rt-state", STATE_VERB),
        ("rt-kill", KILL),
        ("rt-delete", DELETE),
        ("rt-list", LIST),
        ("rt-ps", PS),
        ("rt-stats", STATS),
        ("rt-events", EVENTS),
        ("rt-network", NETWORK),
        ("rt-pause", PAUSE),
        ("rt-resume", RESUME),
        ("rt-checkpoint", CHECKPOINT),
        ("rt-restore", RESTORE),
        ("rt-update", UPDATE),
        ("rt-diff", DIFF),
        ("rt-spec", SPEC),
        ("rt-features", FEATURES),
        ("rt-check", CHECK),
        ("rt-info", INFO),
    ];
    let mut all = all.into_iter();
    all.find(|(name, _)| *name == title).map(|(_, text)| text)
}

const RT: PageText = PageText {
    description: "
*rt* creates and runs containers according to the OCI runtime specification. A container is
created from a bundle, which is a directory with a *config.json* and usually a root file system.
The command line is compatible with that of runc, so Docker, containerd, Podman and Buildah can use
*rt* in place of runc.

Flags may be written with one dash or two. A value follows *=* or is the next argument. Flags may
come before or after the container's id, except for *exec* and *ps*, which pass on all arguments
after the id. A flag without a value accepts a boolean: *--keep=false*.

An error is one line on standard error. The line has the command, the container, the field of
*config.json* and the reason. If a command, a flag or a value is mistyped, it also has the nearest one.
A container that cannot be created leaves no files, cgroups or processes.

*--rootless* determines what happens if the caller has no permission to create the container's
cgroups. With *false* this is an error. With *true* the container stays in the caller's cgroups,
unless it has a resource limit, which is an error. If the caller is root, device rules that cannot
be applied cause a warning. The default, *auto*, means *false* for root on the host and *true* for
other users.

*--cgroup-manager disabled* creates no cgroups and refuses every resource limit. *cgroupfs*, the
default, creates cgroups directly in the cgroup file system.

If *rt* is called through a link with the name *runc*, *rt --version* prints the version of runc
that it is compatible with.",
    exit_statuses: &[
        ("0", "Success."),
        ("1", "Failure. One line on standard error gives the reason."),
        ("3", "Unknown command."),
        ("255", "*rt exec* could not run the process."),
        (
            "others",
            "Exit status of the process of *rt run* or *rt exec*; 128+*n* if signal *n* killed it.",
        ),
    ],
    files: &[
        (
            "*/run/rt*",
            "State of root's containers, one directory for each.",
        ),
        (
            "*$XDG_RUNTIME_DIR/rt*",
            "State of another user's containers.",
        ),
        STATE_FILE,
        CONFIG,
        (
            "*/etc/subuid*, */etc/subgid*",
            "Subordinate ids of a user, for *newuidmap*(1) and *newgidmap*(1).",
        ),
    ],
    environment: &[
        (
            "*XDG_RUNTIME_DIR*",
            "Directory for the state of the containers of a user other than root, in its
             subdirectory *rt*. Root in a user namespace is such a user, too.",
        ),
        (
            "*USER*",
            "If the value is *root*, the state of the containers of root in a user namespace is in */run/rt*.",
        ),
    ],
    examples: &[
        (
            "A container with the host's busybox as its shell:",
            "mkdir -p web/rootfs/bin
cp /bin/busybox web/rootfs/bin/sh
cd web
rt spec
rt run web",
        ),
        (
            "Docker with *rt* in place of runc:",
            "dockerd --add-runtime=rt=/usr/bin/rt --default-runtime=rt \\
    --exec-opt native.cgroupdriver=cgroupfs",
        ),
        (
            "Podman:",
            "podman --runtime /usr/bin/rt --cgroup-manager cgroupfs run --rm IMAGE",
        ),
    ],
    see_also: &["user_namespaces(7)", "cgroups(7)", "capabilities(7)"],
};

const RUN: PageText = PageText {
    description: "
*rt run* creates a container from a bundle, starts it and waits until its process exits. Then it
deletes the container.

The bundle is the directory given by *--bundle*, or the working directory. If *--bundle* is not
given, *container-id* may also be the directory of a bundle, whose name becomes the id of the
container. It is taken for a directory if it contains a slash, or if the working directory has no
*config.json*.

In the foreground, *rt* forwards signals to the process. If *process.terminal* is set, the process
gets a terminal of its own, whose size follows the size of the caller's. With *--detach* the command
returns as soon as the process runs. The process then has the caller's standard input and output, or
a terminal whose master is sent to *--console-socket*.",
    exit_statuses: &[
        (
            "*n*",
            "Exit status of the container's process; 0 with *--detach*.",
        ),
        SIGNAL_STATUS,
        ("1", "The container could not be created or started."),
    ],
    files: &[CONFIG, STATE_FILE],
    environment: &[LISTEN, NOTIFY],
    examples: &[
        ("The bundle in the working directory:", "rt run web"),
        (
            "A bundle by its directory, whose name becomes the id:",
            "rt run ./bundles/web",
        ),
        (
            "In the background, with the pid in a file:",
            "rt run --detach --pid-file web.pid -b bundles/web web",
        ),
    ],
    see_also: &["rt-create", "rt-start", "rt-delete", "rt-spec"],
};

const CREATE: PageText = PageText {
    description: "
*rt create* creates a container with the namespaces, cgroups, mounts and devices of its
configuration. The container's process then waits for *rt start* before it executes its program.

A container that cannot be created leaves no files, cgroups or processes. If *rt create* is killed
before it has finished, the container is *stopped*, and *rt delete* removes it.",
    files: &[CONFIG, STATE_FILE],
    environment: &[LISTEN, NOTIFY],
    examples: &[(
        "The lifecycle of a container without a terminal:",
        "rt create -b bundles/web web
rt start web
rt kill web KILL
rt delete web",
    )],
    see_also: &["rt-start", "rt-run", "rt-delete"],
    ..DEFAULT
};

const EXEC: PageText = PageText {
    description: "
*rt exec* runs another process in a running container. The process has the container's namespaces
and cgroups, and the user, environment, capabilities and limits of *process* in the container's
configuration. Flags change these. *--process* reads all of them from a file instead.

All arguments after the id belong to the process. Flags of *rt* come before the id.

In the foreground, *rt* forwards signals to the process, and with *--tty* the process has a
terminal. With *--detach* the command returns as soon as the process runs. *--pid-file* is written
only if the program was executed.",
    exit_statuses: &[
        ("*n*", "Exit status of the process; 0 with *--detach*."),
        SIGNAL_STATUS,
        (
            "255",
            "The process could not be run, or the container does not run. One line on standard error gives
             the reason.",
        ),
        ("1", "Unknown flag."),
    ],
    examples: &[
        (
            "As another user, in another directory:",
            "rt exec --user 33:33 --cwd /srv web ls -l",
        ),
    ],
    see_also: &["rt-ps"],
    ..DEFAULT
};

const START: PageText = PageText {
    description: "
*rt start* makes the process of a created container execute its program, and runs the
*startContainer* and *poststart* hooks. A container can be started once.",
    environment: &[NOTIFY],
    see_also: &["rt-create", "rt-run"],
    ..DEFAULT
};

const STATE_VERB: PageText = PageText {
    description: "
*rt state* prints the state of a container as JSON: *ociVersion*, *id*, *pid* (0 if the container
is stopped), *status*, *bundle*, *rootfs*, *created* (the time of creation), the *annotations* of its
configuration, and *owner*.

The status is *creating*, *created* (not started yet), *running*, *paused* or *stopped*.",
    see_also: &["rt-list"],
    ..DEFAULT
};

const KILL: PageText = PageText {
    description: "
*rt kill* sends a signal to the first process of a container. The default is *SIGTERM*. A signal is
a name with or without *SIG*, in upper or lower case, a number up to 64, or a real-time signal such as
*RTMIN+1*.

*SIGKILL* kills all processes of the container, even if the container is paused. If the container
shares its pid namespace with other processes, this requires that it has a cgroup of its own. Other
signals are sent to all processes only with *--all*.",
    examples: &[
        ("Ask the process to end:", "rt kill web"),
        ("All processes, by number:", "rt kill --all web 9"),
    ],
    see_also: &["rt-delete", "signal(7)"],
    ..DEFAULT
};

const DELETE: PageText = PageText {
    description: "
*rt delete* removes the remaining processes of a container, its cgroups and the directory with its
state. Then it runs the *poststop* hooks. A container that has not been started is killed first. A
running container is killed and deleted only with *--force*. With *--force* a container that does not
exist is not an error.",
    examples: &[("Even if it is running:", "rt delete --force web")],
    see_also: &["rt-kill"],
    ..DEFAULT
};

const LIST: PageText = PageText {
    description: "
*rt list* prints the containers below *--root*, sorted by id: as a table, as a list of ids, or as
JSON with the state of each container and the name of the user who created it. If a listed container has a
network of *rt*, the table has a column with the addresses. With *--stats* it also prints the CPU time, the memory and the
number of processes of each container, as *rt-stats*(1) counts them.",
    examples: &[(
        "Delete all stopped containers:",
        "rt list --format json | jq -r '.[] | select(.status == \"stopped\") | .id' |
    xargs -r -n 1 rt delete",
    )],
    see_also: &["rt-state"],
    ..DEFAULT
};

const NETWORK: PageText = PageText {
    description: "
*rt network* prints the bridges with containers that have a network of *rt* (annotation *rt.network.bridge*). Below each
bridge is a line for each container: its id and status, its interface, addresses and published ports, and the bytes
that it has received and sent. The containers of all roots are listed.

The status *gone* means that the container was removed without *rt*. The next container of the bridge reclaims its
addresses.

With *--format json* it prints an array of bridges, with the keys *bridge*, *madeByRt*, *subnets* and *containers*. Each
container has *id*, *root*, *status*, *interface*, *hostInterface*, *mac*, *addresses*, *gateways*, *masquerade*, *ports*,
and, if it has a link, *received* and *sent*.",
    examples: &[(
        "The addresses of all containers:",
        "rt network --format json | jq -r '.[].containers[] | .id, .addresses[]'",
    )],
    see_also: &["rt-list", "rt-state"],
    ..DEFAULT
};

const DIFF: PageText = PageText {
    description: "
*rt diff* lists what a container has changed in the layers below it, one path a line, sorted: *A* for added, *C* for
changed, *D* for deleted. A directory is changed when an entry of it is. Mounts are left out, but the mount points that
*rt* has made are listed. Control characters in a path are escaped. With *--format json* it prints one object with the arrays
*changed*, *added* and *deleted*.

With *--tar* it writes the changes as a layer of an image: a tar archive in which an empty file *.wh.NAME* marks a deleted
entry. Owners are ids of the container. *FILE* appears when it is complete. Sockets are left out. A name that begins with
*.wh.* cannot be in a layer and is an error.

The container has to be on an overlay, which the annotation *rt.rootfs.overlay* in *config.json* gives it. If the changes
end with the container, it has to be created, running or paused. Files that change meanwhile do not damage the archive;
pause the container for the state of one moment.",
    examples: &[
        ("What has changed:", "rt diff web"),
        ("As a compressed layer:", "rt diff --tar - web | gzip > layer.tar.gz"),
    ],
    see_also: &["rt-run", "rt-pause", "tar"],
    ..DEFAULT
};

const PS: PageText = PageText {
    description: "
*rt ps* prints the processes of a container with their pids on the host. It runs the host's *ps*(1)
and prints only the lines of the container's processes. The arguments after the id are the options
for *ps*; the default is *-ef*. They must keep the column *PID*. With *--format json* it prints the
pids as an array.

The processes of a container are those in its cgroups, or, if it has no cgroups, those in its pid
namespace.",
    see_also: &["ps", "rt-exec"],
    ..DEFAULT
};

const STATS: PageText = PageText {
    description: "
*rt stats* shows what running containers use: CPU time since the measurement before in percent of one CPU, memory and its
limit, processes and threads, the bytes that were read from and written to block devices, the bytes that its network
interfaces have received and sent, and the pressure: the share of the last ten seconds in which a process waited for CPU,
memory or I/O. A figure that is not known is *-*, such as the network of a container that shares the host's.

On a terminal the table is replaced after each interval; elsewhere a new one is printed. Without ids, all running and
paused containers below *--root* are shown. With ids, the command ends with the last of them. A container that ends is
left out.

Memory is without the page cache that the kernel can drop at once. The limit is that of the container, or the memory of
the host if that is less.

With *--format json* it prints an array on one line each interval. An object has the keys *id*, *cpuPercent*,
*memoryPercent*, *cpuTime* (nanoseconds), *memory*, *memoryLimit*, *pids*, *blockRead*, *blockWritten*, *pressure* (an object
with *cpu*, *memory* and *io*), *networkReceived* and *networkSent*; what is not known is *null*.

A duration is a number with *ms*, *s*, *m* or *h*, or several of these, such as *1m30s*.",
    examples: &[(
        "The memory of each container, in bytes:",
        "rt stats --no-stream --interval 100ms --format json | jq '.[] | .id, .memory'",
    )],
    see_also: &["rt-list", "rt-events", "rt-ps", "cgroups(7)"],
    ..DEFAULT
};

const EVENTS: PageText = PageText {
    description: "
*rt events* prints JSON, one object a line, as *runc events* does: after each interval one with the type *stats* and all
figures of the container's cgroups, and one with the type *oom* when the container has run out of memory. It ends with the
container. With *--stats* it prints the figures once.

A duration is a number with *ms*, *s*, *m* or *h*, or several of these, such as *1m30s*.",
    examples: &[(
        "The CPU time in nanoseconds:",
        "rt events --stats web | jq .data.cpu.usage.total",
    )],
    see_also: &["rt-stats", "cgroups(7)"],
    ..DEFAULT
};

const PAUSE: PageText = PageText {
    description:
        "
*rt pause* suspends all processes of a container with the freezer of its cgroup, until *rt resume*.",
    see_also: &["rt-resume", "cgroups(7)"],
    ..DEFAULT
};

const RESUME: PageText = PageText {
    description: "*rt resume* resumes all processes of a paused container.",
    see_also: &["rt-pause"],
    ..DEFAULT
};

const CHECKPOINT: PageText = PageText {
    description: "
*rt checkpoint* writes the processes of a container to files, and removes the container unless it
is to run on. The program *criu* does it, which has to be in PATH. What comes from the bundle, such
as the root file system and bind mounts, is not written.

If CRIU fails, the container runs on. The error has the cause, and the path of CRIU's log.",
    examples: &[(
        "The memory first, while the container runs, and then what has changed:",
        "rt checkpoint --pre-dump --image-path /var/tmp/first web\n\
         rt checkpoint --parent-path ../first --image-path /var/tmp/web web",
    )],
    see_also: &["rt-restore", "criu(8)"],
    ..DEFAULT
};

const RESTORE: PageText = PageText {
    description: "
*rt restore* makes a container from a bundle and the images that *rt checkpoint* has written. Its
processes go on where they were. Before they run they are compared with *config.json*: processes
that have more than it allows are killed.",
    examples: &[(
        "With connections that were established:",
        "rt restore --detach --tcp-established --image-path /var/tmp/web web",
    )],
    see_also: &["rt-checkpoint", "criu(8)"],
    ..DEFAULT
};

const UPDATE: PageText = PageText {
    description: "
*rt update* changes the resource limits of an existing container. Limits that are not given keep
their values. They are given by flags, or by *--resources* with a file in the format of
*linux.resources* in *config.json*; *-* is standard input.",
    examples: &[(
        "With limits in JSON:",
        "echo '{\"cpu\": {\"shares\": 512}}' | rt update --resources - web",
    )],
    see_also: &["cgroups(7)"],
    ..DEFAULT
};

const SPEC: PageText = PageText {
    description:
        "
*rt spec* writes a template of *config.json*: a shell in a terminal, with new namespaces, few
capabilities and a read-only root file system in *rootfs*. With *--rootless* the container needs no
privileges and has a user namespace in which the user is root. An existing file is not overwritten.",
    files: &[CONFIG],
    examples: &[("Without privileges:", "rt spec --rootless\nrt run web")],
    see_also: &["rt-run"],
    ..DEFAULT
};

const FEATURES: PageText = PageText {
    description: "
*rt features* prints the features that this version supports as JSON, in the format of the OCI
runtime specification: mount options, namespaces, capabilities, seccomp actions and architectures,
and others. A configuration with a value that is not listed is refused. Exceptions are unknown
capabilities, which are ignored with a warning, and mount options of a file system's own.",
    examples: &[(
        "Check whether a mount can be recursively read-only:",
        "rt features | jq '.mountOptions | index(\"rro\") != null'",
    )],
    see_also: &[],
    ..DEFAULT
};

const CHECK: PageText = PageText {
    description: "
*rt check* says whether *rt create* would make a container from a bundle, and makes nothing: no state, no
cgroup and no file.

Warnings are lines on standard output: properties that the specification does not define, with the nearest known
name, and what *rt create* would log. Refusals are lines on standard error. The first is the error of *rt create*
without the id of the container; others that do not depend on it follow. If nothing is refused, the last line on
standard output is *DIRECTORY/config.json: ok*.

*--root*, *--rootless* and *--cgroup-manager* have the same effect as for *rt create*. The id of the container is not
known: in the path of its cgroup it is *rt-check*.

*rt create* may still fail because of its flags, of files that a mount covers or a hook makes, of permissions inside the
container, of a mount that the kernel refuses, or of a value that the kernel refuses when it is written.",
    exit_statuses: &[
        ("0", "The bundle is accepted."),
        ("1", "Something would be refused, or the bundle cannot be read."),
    ],
    files: &[CONFIG],
    examples: &[(
        "What would be done:",
        "rt check --plan -b bundles/web",
    )],
    see_also: &["rt-create", "rt-info", "rt-features"],
    ..DEFAULT
};

const INFO: PageText = PageText {
    description: "
*rt info* prints what *rt* finds on this host: its version and those of the specification; the release of the kernel and
the newer interfaces that *rt* uses, with what is weaker where one is missing; the cgroup hierarchies, their controllers
and whether new cgroups can be made; the security modules; the ids, rights, subordinate ids and capabilities of the user;
and the directory for the states of containers. Nothing is changed. A fact that cannot be found out is *unknown*, with
the reason.

The table fits 80 columns and 24 lines, and long lists are cut. *--format json* prints everything, with these keys:
*version*, *commit*, *ociVersionMin*, *ociVersionMax*, *kernel* (*release*, *releaseMin*, *interfaces*), *cgroups* (*layout*,
*hierarchies*, *parents*), *security* (*modules*, *apparmor*, *selinux*), *user* (*uid*, *gid*, *initialUserNamespace*,
*mayMount*, *mayMakeUserNamespaces*, *subordinateUids*, *subordinateGids*, *newuidmap*, *newgidmap*, *capabilities*) and
*stateRoot* (*path*, *exists*, *writable*, *reason*). In JSON an unknown fact is an object with the key *unknown*.",
    examples: &[
        ("", "rt info"),
        (
            "What this kernel lacks:",
            "rt info --format json | jq '.kernel.interfaces[] | select(.found == false)'",
        ),
    ],
    see_also: &["rt-check", "rt-features"],
    ..DEFAULT
};
