//! The program of Docker's network hook. Started as `libnetwork-setkey`, the probe records how it was called.

use std::fs;
use std::io::Read;

use serde_json::{Value, json};

use crate::proc;

pub(crate) const NAME: &str = "libnetwork-setkey";

/// Writes `setkey.json` to the directory given by `-exec-root=DIRECTORY`: arguments, environment, the state on stdin,
/// the hook's namespaces, and the network namespace of the state's pid.
pub(crate) fn record(exec_root: &str) -> i32 {
    let Some(directory) = exec_root.strip_prefix("-exec-root=") else {
        return 2;
    };
    let mut state = String::new();
    let read = std::io::stdin().read_to_string(&mut state);
    let state: Value = serde_json::from_str(&state).unwrap_or(Value::Null);
    let network = fs::read_link(format!("/proc/{}/ns/net", state["pid"]));
    let record = json!({
        "argv": std::env::args().collect::<Vec<_>>(),
        "env": std::env::vars().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>(),
        "end_of_stdin": read.is_ok(),
        "state": state,
        "namespaces": proc::namespaces(),
        "network": network.ok().map(|link| link.to_string_lossy().into_owned()),
    });
    let written = fs::write(format!("{directory}/setkey.json"), record.to_string());
    i32::from(written.is_err())
}
