//! Strings of the C library, before it can be used (`start.rs`).

use std::ffi::c_char;

/// Whether a NUL-terminated string is equal to `expected`, which has no NUL.
///
/// # Safety
/// `string` must point to a NUL-terminated string.
pub(super) unsafe fn equals(string: *const c_char, expected: &str) -> bool {
    let mut position = string.cast::<u8>();
    for byte in expected.bytes() {
        // SAFETY: all bytes before were equal, so none was the NUL. The read is volatile to
        // prevent the compiler from making this loop a call of strcmp(3).
        if unsafe { position.read_volatile() } != byte {
            return false;
        }
        // SAFETY: this byte was not the NUL, so there is another one after it.
        position = unsafe { position.add(1) };
    }
    // SAFETY: as above.
    unsafe { position.read_volatile() == 0 }
}
