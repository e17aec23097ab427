"""Compiles seccomp profiles with libseccomp, in the same way as runc.

Each line of standard input is a profile, `linux.seccomp` of config.json. The answer is a line of JSON, followed by as
many bytes of the program (an array of `struct sock_filter`) as it says. The first line of all says that libseccomp can
be used.
"""

import json
import os
import signal
import sys

try:
    import seccomp
except ImportError:
    sys.exit()

# Seconds of processor time for one profile. libseccomp does not end for some, and needs a few milliseconds otherwise.
LIMIT = 2

ACTIONS = {
    "SCMP_ACT_KILL": seccomp.KILL,
    "SCMP_ACT_KILL_PROCESS": seccomp.KILL_PROCESS,
    "SCMP_ACT_KILL_THREAD": seccomp.KILL,
    "SCMP_ACT_LOG": seccomp.LOG,
    "SCMP_ACT_TRAP": seccomp.TRAP,
    "SCMP_ACT_ALLOW": seccomp.ALLOW,
}
ACTIONS_WITH_DATA = {"SCMP_ACT_ERRNO": seccomp.ERRNO, "SCMP_ACT_TRACE": seccomp.TRACE}
OPERATORS = {
    "SCMP_CMP_NE": seccomp.NE,
    "SCMP_CMP_LT": seccomp.LT,
    "SCMP_CMP_LE": seccomp.LE,
    "SCMP_CMP_EQ": seccomp.EQ,
    "SCMP_CMP_GE": seccomp.GE,
    "SCMP_CMP_GT": seccomp.GT,
    "SCMP_CMP_MASKED_EQ": seccomp.MASKED_EQ,
}
# The host's own is always part of a filter. No system call of any other reaches a kernel of x86-64.
ARCHITECTURES = {"SCMP_ARCH_X86": seccomp.Arch.X86, "SCMP_ARCH_X32": seccomp.Arch.X32}


def action(name, errno):
    if name in ACTIONS:
        return ACTIONS[name]
    return ACTIONS_WITH_DATA[name](1 if errno is None else errno)


def alternatives(args):
    """The conditions of an entry, as one rule, or as a rule each if two are on the same argument."""
    conditions = [
        seccomp.Arg(arg["index"], OPERATORS[arg["op"]], arg["value"], arg.get("valueTwo") or 0)
        for arg in args
    ]
    if len({arg["index"] for arg in args}) == len(args):
        return [conditions]
    return [[condition] for condition in conditions]


def is_known(name):
    try:
        return seccomp.resolve_syscall(seccomp.Arch.NATIVE, name) != -1
    except ValueError:
        return False


def program(profile, known):
    default = action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    syscall_filter = seccomp.SyscallFilter(default)
    for name in profile.get("architectures") or []:
        if name in ARCHITECTURES:
            syscall_filter.add_arch(ARCHITECTURES[name])
    for entry in profile.get("syscalls") or []:
        value = action(entry["action"], entry.get("errnoRet"))
        # An entry with the default action adds nothing, and libseccomp refuses it.
        if value == default:
            continue
        for name in filter(known.__contains__, entry["names"]):
            for conditions in alternatives(entry.get("args") or []):
                syscall_filter.add_rule(value, name, *conditions)
    with os.fdopen(os.memfd_create("program"), "w+b") as file:
        syscall_filter.export_bpf(file)
        file.seek(0)
        return file.read()


def answer(profile):
    names = {name for entry in profile.get("syscalls") or [] for name in entry["names"]}
    known = set(filter(is_known, names))
    compiled, refusal = b"", None
    try:
        compiled = program(profile, known)
    except RuntimeError as error:
        refusal = str(error)
    said = {"length": len(compiled), "refusal": refusal, "unknown": sorted(names - known)}
    sys.stdout.buffer.write(json.dumps(said).encode() + b"\n" + compiled)
    sys.stdout.buffer.flush()


# All actions, also those that this kernel lacks.
seccomp.set_api(3)
sys.stdout.buffer.write(b"ready\n")
sys.stdout.buffer.flush()
for line in sys.stdin.buffer:
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    answer(json.loads(line))
