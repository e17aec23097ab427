//! What the manual says beside the definition of the command line, page by page.

/// Of one page. In all texts a word between two `*` is bold.
pub(crate) struct Words {
    /// Paragraphs, with an empty line between two.
    pub(crate) description: &'static str,
    pub(crate) statuses: &'static [(&'static str, &'static str)],
    pub(crate) files: &'static [(&'static str, &'static str)],
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// What it does, and the lines that do it.
    pub(crate) examples: &'static [(&'static str, &'static str)],
    /// Other pages; of section 1 where none is named.
    pub(crate) others: &'static [&'static str],
}

const NONE: Words = Words {
    description: "",
    statuses: &[
        ("0", "It is done."),
        (
            "1",
            "It could not be done. One line on standard error says why.",
        ),
    ],
    files: &[],
    environment: &[],
    examples: &[],
    others: &[],
};

const CONFIG: (&str, &str) = (
    "*config.json*",
    "In the bundle: what the container is to be, as the OCI runtime specification describes it.",
);
const STATE: (&str, &str) = (
    "*/run/rt/*ID*/state.json*",
    "What is remembered of a container. *--root* says where else.",
);
const OTHERS_STATUS: (&str, &str) = ("128+*n*", "Its process was ended by signal *n*.");

/// What a service manager gives to whoever makes a container.
const LISTEN: (&str, &str) = (
    "*LISTEN_FDS*, *LISTEN_PID*",
    "Sockets of socket activation (*sd_listen_fds*(3)). If they are for this process, the
     container's gets them, and the numbers of *--preserve-fds* follow theirs.",
);
const NOTIFY: (&str, &str) = (
    "*NOTIFY_SOCKET*",
    "Where the service manager listens (*sd_notify*(3)). The container gets a socket of its own;
     when it says there that it is ready, the manager is told so, with its process id.",
);

/// The words of the page with this title.
pub(crate) fn words(title: &str) -> Option<Words> {
    let all = [
        ("rt", RT),
        ("rt-run", RUN),
        ("rt-create", CREATE),
        ("rt-exec", EXEC),
        ("rt-start", START),
        ("rt-state", SHOW),
        ("rt-kill", KILL),
        ("rt-delete", DELETE),
        ("rt-list", LIST),
        ("rt-ps", PS),
        ("rt-pause", PAUSE),
        ("rt-resume", RESUME),
        ("rt-update", UPDATE),
        ("rt-spec", SPEC),
        ("rt-features", FEATURES),
    ];
    let mut all = all.into_iter();
    all.find(|(name, _)| *name == title).map(|(_, words)| words)
}

const RT: Words = Words {
    description: "
*rt* makes containers out of bundles and looks after them, as the OCI runtime specification
describes it. A bundle is a directory with a *config.json* and, mostly, a root file system. Its
command line is that of runc, so Docker, containerd, Podman and Buildah can use it in the place
of runc; by hand it serves to try a bundle.

Flags may be written with one dash or two, with *=* or as two words, and after the container's
id as well as before it, except that *exec* and *ps* hand on whatever follows the id. A flag
without a value can be given one: *--keep=false*.

An error is one line on standard error; where it is the command line that is wrong, its help
follows on standard output. The line names the command, the container, the place in *config.json* and the
reason, and nothing of a container that could not be made is left behind.

*--rootless* says what becomes of a container whose cgroups the caller may not make. With
*false* that is an error. With *true* it stays in the caller's, unless it has a limit to keep;
if root is the caller, rules for devices that are lost so are a warning. The default, *auto*,
is *true* for a user and *false* for root of the machine.

*--cgroup-manager disabled* makes no cgroups at all, and refuses every limit. *cgroupfs*, the
default, makes them directly.

Called by a link whose name is *runc*, *rt --version* names the version of runc that it is
compatible with.",
    statuses: &[
        ("0", "It is done."),
        (
            "1",
            "It could not be done. One line on standard error says why.",
        ),
        ("3", "There is no such command."),
        ("255", "*rt exec* could not run the process."),
        (
            "others",
            "Of the process that *rt run* or *rt exec* has run; 128+*n* when signal *n* ended it.",
        ),
    ],
    files: &[
        ("*/run/rt*", "Containers of root, a directory each."),
        ("*$XDG_RUNTIME_DIR/rt*", "Those of a user."),
        STATE,
        CONFIG,
        (
            "*/etc/subuid*, */etc/subgid*",
            "Ids that are lent to a user, for *newuidmap*(1) to map.",
        ),
    ],
    environment: &[
        (
            "*XDG_RUNTIME_DIR*",
            "Where the containers of a user are, in *rt* below it. Root of a user namespace is a
             user, too.",
        ),
        (
            "*USER*",
            "If it is *root*, root of a user namespace has its containers in */run/rt*.",
        ),
    ],
    examples: &[
        (
            "A container with a shell of this machine's busybox:",
            "mkdir -p web/rootfs/bin
cp /bin/busybox web/rootfs/bin/sh
cd web
rt spec
rt run web",
        ),
        (
            "Docker with *rt* in the place of runc:",
            "dockerd --add-runtime=rt=/usr/bin/rt --default-runtime=rt \\
    --exec-opt native.cgroupdriver=cgroupfs",
        ),
        (
            "Podman:",
            "podman --runtime /usr/bin/rt --cgroup-manager cgroupfs run --rm IMAGE",
        ),
    ],
    others: &["user_namespaces(7)", "cgroups(7)", "capabilities(7)"],
};

const RUN: Words = Words {
    description: "
*rt run* makes a container from a bundle, starts its process and waits until it ends; then the
container is deleted. It is *create*, *start* and *delete* in one.

The container is called *container-id*, and the bundle is the working directory or what
*--bundle* names. Where neither has a *config.json*, or when the word has a slash in it, it is
taken for the directory of a bundle, and the container is called like it.

In the foreground, signals are handed on to the process. If *process.terminal* is set it gets a
terminal of its own that follows the caller's. With *--detach* the command returns as soon as
the process runs, which has the caller's standard input and output, or a terminal whose other
end goes to *--console-socket*.",
    statuses: &[
        ("*n*", "That of the container's process; 0 with *--detach*."),
        OTHERS_STATUS,
        ("1", "The container could not be made, or not be started."),
    ],
    files: &[CONFIG, STATE],
    environment: &[LISTEN, NOTIFY],
    examples: &[
        ("The bundle in the working directory:", "rt run web"),
        (
            "By its directory, whose name is the id:",
            "rt run ./bundles/web",
        ),
        (
            "In the background, with its process id in a file:",
            "rt run --detach --pid-file web.pid -b bundles/web web",
        ),
    ],
    others: &["rt-create", "rt-start", "rt-delete", "rt-spec"],
};

const CREATE: Words = Words {
    description: "
*rt create* makes a container with all that its configuration asks for: namespaces, cgroups,
mounts, devices. Its process waits, right before the program is executed, for *rt start*.

A container that could not be made leaves nothing behind. One whose *rt create* was killed half
way is *stopped*; *rt delete* clears it away.",
    files: &[CONFIG, STATE],
    environment: &[LISTEN, NOTIFY],
    examples: &[(
        "A life in steps, without a terminal:",
        "rt create -b bundles/web web
rt start web
rt kill web KILL
rt delete web",
    )],
    others: &["rt-start", "rt-run", "rt-delete"],
    ..NONE
};

const EXEC: Words = Words {
    description: "
*rt exec* runs another process in a container whose process runs, in its namespaces and
cgroups, with the user, the environment, the capabilities and the limits that the
configuration gives to its own. Flags change that; *--process* takes all of it from a file.

Whatever follows the id belongs to the process: flags of *rt* come before it.

In the foreground, signals are handed on, and with *--tty* the process has a terminal. With
*--detach* the command returns as soon as it runs. A process id is written by *--pid-file*
only if the program was really executed.",
    statuses: &[
        ("*n*", "That of the process; 0 with *--detach*."),
        OTHERS_STATUS,
        (
            "255",
            "The process could not be run, or there is none. One line on standard error says why.",
        ),
        ("1", "There is no such flag."),
    ],
    examples: &[
        ("A shell:", "rt exec --tty web /bin/sh"),
        (
            "As another user, somewhere else:",
            "rt exec --user 33:33 --cwd /srv web ls -l",
        ),
    ],
    others: &["rt-ps"],
    ..NONE
};

const START: Words = Words {
    description: "
*rt start* lets the process of a container that *rt create* has made execute its program, and
calls the hooks that belong there. It works once.",
    environment: &[NOTIFY],
    examples: &[("", "rt start web")],
    others: &["rt-create", "rt-run"],
    ..NONE
};

const SHOW: Words = Words {
    description: "
*rt state* writes the state of a container as JSON: *ociVersion*, *id*, *pid* (0 when it has
stopped), *status*, *bundle*, *rootfs*, when it was *created*, the *annotations* of its
configuration, and *owner*.

The status is *creating*, *created* (made and not yet started), *running*, *paused* or
*stopped*.",
    examples: &[("", "rt state web")],
    others: &["rt-list"],
    ..NONE
};

const KILL: Words = Words {
    description: "
*rt kill* sends a signal to the first process of a container: *SIGTERM*, if none is named. Names
go with and without *SIG*, in capitals or not; numbers up to 64, and *RTMIN+*n, go as well.

*SIGKILL* reaches all processes of the container, also where they share their pid namespace
with others, if the container has a cgroup of its own. A paused container dies of it. Other
signals reach all of them with *--all*.",
    examples: &[("", "rt kill web\nrt kill web HUP\nrt kill --all web 9")],
    others: &["rt-delete", "signal(7)"],
    ..NONE
};

const DELETE: Words = Words {
    description: "
*rt delete* clears away what is left of a container: processes that have outlived the first
one, cgroups, the directory with its state. Then it calls the poststop hooks. A container that
is created and not started is ended first; one that runs only with *--force*, for which a
container that does not exist is no error either.",
    examples: &[("", "rt delete web\nrt delete --force web")],
    others: &["rt-kill"],
    ..NONE
};

const LIST: Words = Words {
    description: "
*rt list* shows the containers below *--root*, by name: as a table, as ids alone, or as JSON with
what *rt state* says of each and the name of the user who made it.",
    examples: &[
        ("", "rt list"),
        (
            "Delete all that have stopped:",
            "rt list --format json | jq -r '.[] | select(.status == \"stopped\") | .id' |
    xargs -n 1 rt delete",
        ),
    ],
    others: &["rt-state"],
    ..NONE
};

const PS: Words = Words {
    description: "
*rt ps* shows the processes of a container with the numbers that they have outside. It calls the
machine's *ps*(1) and leaves out all other lines; what follows the id are options for that, *-ef*
if there are none, and they must keep the column *PID*. With *--format json* it writes the
numbers as an array.

The processes are those in the container's cgroups. Without cgroups they are those of its pid
namespace.",
    examples: &[("", "rt ps web\nrt ps web -o pid,rss,comm")],
    others: &["ps", "rt-exec"],
    ..NONE
};

const PAUSE: Words = Words {
    description: "
*rt pause* holds all processes of a container still, by the freezer of its cgroup, until *rt
resume*.",
    examples: &[("", "rt pause web")],
    others: &["rt-resume", "cgroups(7)"],
    ..NONE
};

const RESUME: Words = Words {
    description: "*rt resume* lets the processes of a paused container go on.",
    examples: &[("", "rt resume web")],
    others: &["rt-pause"],
    ..NONE
};

const UPDATE: Words = Words {
    description: "
*rt update* changes the limits of a container that exists, in its cgroups. What is not named
stays. Limits are named by flags, or in a file with *--resources*, whose contents are as
*linux.resources* of a *config.json*; *-* stands for standard input.",
    examples: &[
        ("", "rt update --memory 512m --pids-limit 100 web"),
        (
            "",
            "echo '{\"cpu\": {\"shares\": 512}}' | rt update --resources - web",
        ),
    ],
    others: &["cgroups(7)"],
    ..NONE
};

const SPEC: Words = Words {
    description: "
*rt spec* writes a *config.json* to start from: a shell in a terminal, with new namespaces, few
capabilities and a root file system in *rootfs* that it cannot write to. With *--rootless* it
is one that a user can run without privileges, who is root in it. A file that is there already
is not touched.",
    files: &[CONFIG],
    examples: &[
        ("", "rt spec"),
        ("Without privileges:", "rt spec --rootless\nrt run web"),
    ],
    others: &["rt-run"],
    ..NONE
};

const FEATURES: Words = Words {
    description: "
*rt features* writes what a configuration may ask of this version as JSON, in the form of the
OCI runtime specification: mount options, namespaces, capabilities, seccomp's actions and
architectures, and so on. Of these, what it does not name is refused, but for capabilities, which
are left out with a warning, and for mount options of a file system's own.",
    examples: &[(
        "Whether a mount can be read-only with all that is below it:",
        "rt features | jq '.mountOptions | index(\"rro\") != null'",
    )],
    others: &[],
    ..NONE
};
