//! I/O priority and execution domain, of init and of processes that exec adds.

use std::fs;

use serde_json::{Value, json};

use crate::exec::{probe, probe_described, running};
use crate::harness::{Bundle, only_rt, trials};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        io_priority_is_applied,
        exec_applies_the_io_priority_of_its_process,
        an_io_priority_beyond_the_levels_is_refused,
        personality_is_applied,
        the_personality_of_the_caller_does_not_reach_the_container,
        exec_applies_the_personality,
        exec_works_with_a_state_that_has_no_personality,
        a_flag_of_the_personality_is_refused,
    ]
}

/// IOPRIO_CLASS_IDLE 4, in the form of ioprio_get(2).
const IDLE_4: u64 = 3 << 13 | 4;

fn idle() -> Value {
    json!({"class": "IOPRIO_CLASS_IDLE", "priority": 4})
}

fn io_priority_is_applied() {
    only_rt("Debian's old one lacks process.ioPriority");
    let seen = Bundle::new().set("/process/ioPriority", idle()).probe();
    assert_eq!(seen["io_priority"], IDLE_4);
    for (class, number) in [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2)] {
        let priority = json!({"class": class, "priority": 7});
        let bundle = Bundle::new().set("/process/ioPriority", priority);
        let seen = bundle.user(1000, 1000).probe();
        assert_eq!(seen["io_priority"], number << 13 | 7);
    }
}

fn exec_applies_the_io_priority_of_its_process() {
    only_rt("Debian's old one lacks process.ioPriority");
    let (bundle, _container) = running(Bundle::new().set("/process/ioPriority", idle()));
    assert_eq!(probe(&bundle, &[])["io_priority"], IDLE_4);
    let real_time = json!({"class": "IOPRIO_CLASS_RT", "priority": 0});
    let seen = probe_described(&bundle, &[("/ioPriority", real_time)]);
    assert_eq!(seen["io_priority"], 1 << 13);
}

fn an_io_priority_beyond_the_levels_is_refused() {
    only_rt("Debian's old one lacks process.ioPriority");
    let level = json!({"class": "IOPRIO_CLASS_BE", "priority": 8});
    let bundle = Bundle::new().set("/process/ioPriority", level);
    bundle.assert_refused(&["process.ioPriority.priority: 8 "]);
    let class = json!({"class": "IOPRIO_CLASS_NONE", "priority": 0});
    let bundle = Bundle::new().set("/process/ioPriority", class);
    bundle.assert_refused(&["process.ioPriority.class: ", "IOPRIO_CLASS_NONE"]);
}

/// The architecture of a 32-bit program on this machine.
const MACHINE_32: &str = if cfg!(target_arch = "x86_64") {
    "i686"
} else {
    "armv8l"
};

/// PER_LINUX32 in /proc/PID/personality.
const LINUX32: &str = "00000008";

fn personality_is_applied() {
    only_rt("Debian's old one lacks linux.personality");
    let domain = json!({"domain": "LINUX32"});
    let seen = Bundle::new().set("/linux/personality", domain).probe();
    assert_eq!(seen["personality"], LINUX32);
    assert_eq!(seen["machine"], MACHINE_32);
}

fn the_personality_of_the_caller_does_not_reach_the_container() {
    only_rt("Debian's old one lacks linux.personality");
    let domain = json!({"domain": "LINUX", "flags": []});
    let bundle = Bundle::new().set("/linux/personality", domain);
    let call = bundle.probe_call(&["setarch", "--addr-no-randomize"], &[]);
    assert_eq!(call.assert_report()["personality"], "00000000");
}

fn exec_applies_the_personality() {
    only_rt("Debian's old one lacks linux.personality");
    let domain = json!({"domain": "LINUX32"});
    let (bundle, _container) = running(Bundle::new().set("/linux/personality", domain));
    assert_eq!(probe(&bundle, &[])["personality"], LINUX32);
}

fn exec_works_with_a_state_that_has_no_personality() {
    only_rt("the format of state.json is rt's");
    let (bundle, _container) = running(Bundle::new());
    let state = bundle.runtime().root().join(bundle.id()).join("state.json");
    let text = fs::read_to_string(&state).unwrap();
    let older = text.replacen(",\"personality\":null", "", 1);
    assert_ne!(older, text, "{text}");
    fs::write(&state, older).unwrap();
    assert_eq!(probe(&bundle, &[])["personality"], "00000000");
}

fn a_flag_of_the_personality_is_refused() {
    only_rt("Debian's old one lacks linux.personality");
    let personality = json!({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]});
    let bundle = Bundle::new().set("/linux/personality", personality);
    bundle.assert_refused(&["linux.personality.flags[0]: unknown value \"ADDR_NO_RANDOMIZE\""]);
}
