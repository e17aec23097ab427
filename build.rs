//! Lets `rt` come before the C library's own start (`src/sys/start.rs`).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bin=rt=-Wl,--wrap=__libc_start_main");
}
