//! Makes the linker redirect the start function of the C library to `rt`, which runs
//! `src/sys/start.rs` before it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bin=rt=-Wl,--wrap=__libc_start_main");
}
