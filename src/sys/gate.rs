//! Gates: places at which a thread waits without a system call (userfaultfd(2)).

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;
use nix::unistd::{SysconfVar, sysconf};

use super::check;

/// Gates of one thread, in the order in which it comes to them. Each is a page of memory that is
/// not there: who reads it waits in the page fault until another thread supplies the page.
///
/// The content of the page says that the gate is open. If the kernel supplies another page, because
/// the descriptor was closed, the gate stays shut.
pub(super) struct Gates {
    faults: OwnedFd,
    pages: *mut u8,
    /// Size of a page, in bytes.
    page: usize,
}

/// The first byte of the page of an open gate.
const OPEN: u8 = 1;

/// `UFFD_USER_MODE_ONLY` (Linux 5.11), which needs no privileges, `UFFD_API`,
/// `UFFDIO_REGISTER_MODE_MISSING` and `UFFD_EVENT_PAGEFAULT` of linux/userfaultfd.h.
const USER_MODE_ONLY: libc::c_int = 1;
const API: u64 = 0xaa;
const MODE_MISSING: u64 = 1;
const PAGE_FAULT: u8 = 0x12;

/// `struct uffdio_api`.
#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_register`.
#[repr(C)]
struct Register {
    start: u64,
    length: u64,
    mode: u64,
    ioctls: u64,
}

/// `struct uffdio_copy`.
#[repr(C)]
struct Copy {
    to: u64,
    from: u64,
    length: u64,
    mode: u64,
    copied: i64,
}

/// `struct uffd_msg` for a page fault.
#[repr(C)]
#[derive(Default)]
struct Fault {
    event: u8,
    reserved: [u8; 7],
    flags: u64,
    address: u64,
    thread: u64,
}

/// `_IOWR` of linux/ioctl.h, for a structure `T`.
const fn request<T>(number: u64) -> u64 {
    3 << 30 | (size_of::<T>() as u64) << 16 | API << 8 | number
}

const UFFDIO_API: u64 = request::<Api>(0x3f);
const UFFDIO_REGISTER: u64 = request::<Register>(0);
const UFFDIO_COPY: u64 = request::<Copy>(3);

impl Gates {
    /// # Errors
    /// `ENOSYS` when the kernel has no userfaultfd(2), `EPERM` when it is for privileged users only.
    pub(super) fn new(count: usize) -> nix::Result<Gates> {
        let faults = match open(USER_MODE_ONLY) {
            Err(Errno::EINVAL) => open(0)?,
            opened => opened?,
        };
        let page = sysconf(SysconfVar::PAGE_SIZE)?.ok_or(Errno::EINVAL)?;
        let page = usize::try_from(page).map_err(|_| Errno::EINVAL)?;
        let mut api = Api {
            api: API,
            features: 0,
            ioctls: 0,
        };
        change(&faults, UFFDIO_API, &mut api)?;
        let length = count * page;
        // SAFETY: the kernel chooses the address of a new mapping, so no memory in use changes.
        let pages = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(ptr::null_mut(), length, libc::PROT_READ, flags, -1, 0)
        };
        if pages == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let mut register = Register {
            start: pages as u64,
            length: length as u64,
            mode: MODE_MISSING,
            ioctls: 0,
        };
        change(&faults, UFFDIO_REGISTER, &mut register)?;
        Ok(Gates {
            faults,
            pages: pages.cast(),
            page,
        })
    }

    fn page(&self, gate: usize) -> *mut u8 {
        self.pages.wrapping_add(gate * self.page)
    }

    /// Waits at a gate until it is open. False if it will never be.
    pub(super) fn pass(&self, gate: usize) -> bool {
        // SAFETY: the gate is one of those of `Gates::new`, whose pages stay mapped as long as this
        // process has its memory. No reference to them exists.
        unsafe { self.page(gate).read_volatile() == OPEN }
    }

    /// Waits until another thread waits at a gate.
    pub(super) fn wait_for(&self, gate: usize) -> nix::Result<()> {
        loop {
            let mut fault = Fault::default();
            let size = size_of::<Fault>();
            // SAFETY: the kernel writes at most `size` bytes to `fault`, for which all values are valid.
            let read =
                unsafe { libc::read(self.faults.as_raw_fd(), (&raw mut fault).cast(), size) };
            match check(read as libc::c_long) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
                // A thread that was stopped and continued comes to its gate once more.
                Ok(_) if fault.event != PAGE_FAULT || fault.address != self.page(gate) as u64 => {}
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Opens a gate for good.
    pub(super) fn open(&self, gate: usize) -> nix::Result<()> {
        let content = vec![OPEN; self.page];
        let mut copy = Copy {
            to: self.page(gate) as u64,
            from: content.as_ptr() as u64,
            length: content.len() as u64,
            mode: 0,
            copied: 0,
        };
        change(&self.faults, UFFDIO_COPY, &mut copy)
    }
}

/// Makes one of the three requests above, with the structure for which its number was made.
fn change<T>(faults: &OwnedFd, number: u64, argument: &mut T) -> nix::Result<()> {
    let argument = std::ptr::from_mut(argument);
    // SAFETY: the kernel reads and writes one structure, which outlives the call. The memory that it
    // names are the pages of the gates, which nothing has used yet, and the content of an open one.
    check(unsafe { libc::ioctl(faults.as_raw_fd(), number, argument) }.into())?;
    Ok(())
}

fn open(flags: libc::c_int) -> nix::Result<OwnedFd> {
    let flags = flags | libc::O_CLOEXEC;
    // SAFETY: the call takes one number and accesses no memory of this process.
    let fd = check(unsafe { libc::syscall(libc::SYS_userfaultfd, flags) })?;
    // SAFETY: the kernel returned a new descriptor, and no other value owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Gates are shared between the threads of a test by their address.
    struct Shared(Gates);
    // SAFETY: all methods take `&self`, and the kernel synchronizes what they do.
    unsafe impl Sync for Shared {}

    impl Shared {
        fn gates(&self) -> &Gates {
            &self.0
        }
    }

    #[test]
    fn a_thread_waits_at_each_gate() {
        let shared = Shared(Gates::new(2).unwrap());
        let passed = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for gate in 0..2 {
                    assert!(shared.gates().pass(gate));
                    passed.store(gate + 1, Ordering::SeqCst);
                }
            });
            for gate in 0..2 {
                shared.gates().wait_for(gate).unwrap();
                assert_eq!(passed.load(Ordering::SeqCst), gate);
                shared.gates().open(gate).unwrap();
            }
        });
        assert_eq!(passed.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_gate_without_its_descriptor_stays_shut() {
        let Gates { faults, pages, .. } = Gates::new(1).unwrap();
        let address = pages as usize;
        std::thread::scope(|scope| {
            let waiting = scope.spawn(move || {
                // SAFETY: the page stays mapped.
                unsafe { (address as *const u8).read_volatile() }
            });
            drop(faults);
            assert_ne!(waiting.join().unwrap(), OPEN);
        });
    }
}
