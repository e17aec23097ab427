//! System calls, by their numbers.
#![allow(unsafe_code, reason = "nix lacks most of these system calls")]

use std::ffi::{CStr, c_long};

use nix::errno::Errno;

/// An argument of a system call.
#[derive(Clone, Copy)]
pub(super) enum Argument<'a> {
    Number(i64),
    Text(&'a CStr),
    Bytes(&'a [u8]),
}

/// A null pointer.
pub(super) const NOTHING: Argument = Argument::Number(0);

impl From<i32> for Argument<'_> {
    fn from(number: i32) -> Self {
        Argument::Number(number.into())
    }
}

impl From<u32> for Argument<'_> {
    fn from(number: u32) -> Self {
        Argument::Number(number.into())
    }
}

impl<'a> From<&'a CStr> for Argument<'a> {
    fn from(text: &'a CStr) -> Self {
        Argument::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Argument<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Argument::Bytes(bytes)
    }
}

/// Calls the kernel. The rest of the six arguments is zero.
pub(super) fn call<const N: usize>(number: c_long, arguments: [Argument; N]) -> nix::Result<i32> {
    let mut words = [0_usize; 6];
    for (word, argument) in words.iter_mut().zip(arguments) {
        *word = match argument {
            Argument::Number(number) => number as usize,
            Argument::Text(text) => text.as_ptr() as usize,
            Argument::Bytes(bytes) => bytes.as_ptr() as usize,
        };
    }
    let [a, b, c, d, e, f] = words;
    // SAFETY: each pointer comes from a reference that outlives the call. The callers pass enough
    // bytes, and call nothing that writes through its pointers. After clone3(2), which is called
    // without a stack, the child continues on a copy of this one, and the process has one thread.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    Errno::result(result).map(|result| result as i32)
}

/// The bytes of a structure whose members are all of one size.
pub(super) fn bytes_of<const N: usize>(members: [u64; N]) -> Vec<u8> {
    members.map(u64::to_ne_bytes).concat()
}
