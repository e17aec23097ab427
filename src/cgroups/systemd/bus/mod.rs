//! A client of D-Bus (<https://dbus.freedesktop.org/doc/dbus-specification.html>) for the few
//! calls that the driver makes.
//!
//! It is written here because no crate fits: those that are small and synchronous bring an old
//! copy of `nix`, and none has a deadline for connecting, authentication and calls together.

pub(super) mod address;
pub(super) mod connection;
mod message;
pub(super) mod value;
