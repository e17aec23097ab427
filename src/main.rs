//! The `rt` program: the library, entered from C (`sys/entry.rs`).
#![no_main]

rt::entry!();
