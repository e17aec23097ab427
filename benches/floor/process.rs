//! The container's process.

use std::ffi::CString;

use libc::{
    IFF_RUNNING, IFF_UP, PR_CAPBSET_DROP, RLIMIT_NOFILE, SIOCSIFFLAGS, SYS_capset, SYS_ioctl,
    SYS_keyctl, SYS_prctl, SYS_prlimit64, SYS_setgroups, SYS_socket,
};
use nix::errno::Errno;
use nix::sys::prctl::set_no_new_privs;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, execve, sethostname, setresgid, setresuid, setsid};

use super::calls::{NOTHING, bytes_of, call};
use super::root::{self, Sources};

/// `CAP_KILL`, `CAP_NET_BIND_SERVICE` and `CAP_AUDIT_WRITE`.
const CAPABILITIES: [i32; 3] = [5, 10, 29];
/// `_LINUX_CAPABILITY_VERSION_3`.
const CAPABILITY_VERSION: u32 = 0x2008_0522;
const KEYCTL_JOIN_SESSION_KEYRING: i32 = 1;
const KEYCTL_SETPERM: i32 = 5;
/// All rights for the possessor; to view, read, search and link for the user.
const KEYRING_RIGHTS: u32 = 0x3f1b_0000;
const ENVIRONMENT: [&str; 3] = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "TERM=xterm",
    "HOME=/",
];

/// Makes everything that belongs to the container's namespaces and executes the program.
pub(super) fn become_container(sources: &Sources, network: bool, program: &[String]) -> ! {
    let inherited = umask(Mode::empty());
    setsid().unwrap();
    join_keyring();
    raise_loopback();
    sethostname("rt").unwrap();
    root::make(sources, network);
    drop_privileges();
    umask(inherited);
    let limits = bytes_of([1024, 1024]);
    let limits = limits.as_slice().into();
    let limit = [NOTHING, (RLIMIT_NOFILE as i32).into(), limits, NOTHING];
    call(SYS_prlimit64, limit).unwrap();
    let text = |word: &str| CString::new(word).unwrap();
    let program: Vec<CString> = program.iter().map(|word| text(word)).collect();
    let Err(errno) = execve(&program[0], &program, &ENVIRONMENT.map(text));
    panic!("{program:?}: {errno}");
}

fn join_keyring() {
    let join = KEYCTL_JOIN_SESSION_KEYRING.into();
    let keyring = call(SYS_keyctl, [join, c"_ses.floor".into()]).unwrap();
    let rights = [KEYCTL_SETPERM.into(), keyring.into(), KEYRING_RIGHTS.into()];
    call(SYS_keyctl, rights).unwrap();
}

fn raise_loopback() {
    let datagram = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    let socket = call(SYS_socket, [libc::AF_INET.into(), datagram.into()]).unwrap();
    // `struct ifreq`: the name, then the flags.
    let mut request = [0; 40];
    request[..2].copy_from_slice(b"lo");
    request[16..20].copy_from_slice(&(IFF_UP | IFF_RUNNING).to_ne_bytes());
    let raise = SIOCSIFFLAGS as i32;
    call(
        SYS_ioctl,
        [socket.into(), raise.into(), request.as_slice().into()],
    )
    .unwrap();
}

fn drop_privileges() {
    for capability in 0.. {
        let drop = [PR_CAPBSET_DROP.into(), capability.into()];
        if CAPABILITIES.contains(&capability) {
            continue;
        }
        match call(SYS_prctl, drop) {
            Err(Errno::EINVAL) => break, // The kernel knows no more.
            dropped => dropped.unwrap(),
        };
    }
    call(SYS_setgroups, [NOTHING, NOTHING]).unwrap();
    let (root, group) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(group, group, group).unwrap();
    setresuid(root, root, root).unwrap();
    let kept: u32 = CAPABILITIES.iter().map(|capability| 1 << capability).sum();
    // `struct __user_cap_header_struct`; two `struct __user_cap_data_struct`.
    let header = [CAPABILITY_VERSION, 0].map(u32::to_ne_bytes).concat();
    let data = [kept, kept, 0, 0, 0, 0].map(u32::to_ne_bytes).concat();
    let (header, data) = (header.as_slice(), data.as_slice());
    call(SYS_capset, [header.into(), data.into()]).unwrap();
    set_no_new_privs().unwrap();
}
