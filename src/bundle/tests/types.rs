//! Values of the wrong type, and numbers out of range.

use std::collections::BTreeSet;

use super::*;

#[test]
fn an_error_about_a_type_names_the_field() {
    let mount = json!([{"destination": "/a", "options": "ro"}]);
    let cases = [
        ("/process", json!(3), "process"),
        ("/process/args", json!("sh"), "process.args"),
        ("/process/args", json!(["sh", 1]), "process.args[1]"),
        ("/root/readonly", json!("yes"), "root.readonly"),
        ("/mounts", mount, "mounts[0].options"),
        (
            "/linux/netDevices/eth0/name",
            json!(23),
            "linux.netDevices.eth0.name",
        ),
        ("/linux/sysctl", json!({"a.b": 1}), "linux.sysctl.a.b"),
        ("/annotations", json!({"a": 1}), "annotations.a"),
    ];
    for (pointer, value, path) in cases {
        let text = refused(&with(pointer, value).to_string());
        assert!(
            text.starts_with(&format!("{path}: a")) && text.contains("; want "),
            "{text}"
        );
    }
}

/// Every value in config.json that a version of the specification gives a type, as the
/// configuration of the golden plans has them.
#[test]
fn a_value_of_any_wrong_type_is_refused_with_an_example_that_is_accepted() {
    let path = format!("{}/tests/plans/full.json", env!("CARGO_MANIFEST_DIR"));
    let full: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut examples = 0;
    let mut places = BTreeSet::new();
    for pointer in pointers(&full) {
        // Fields of all items of a list have the same types.
        if !places.insert(pointer.replace(|c: char| c.is_ascii_digit(), "")) {
            continue;
        }
        for wrong in [
            json!("x"),
            json!(7),
            json!(1.5),
            json!(true),
            json!([[]]),
            json!({"x": 1}),
        ] {
            let mut config = full.clone();
            *config.pointer_mut(&pointer).unwrap() = wrong;
            let Err(error) = parse(config.to_string().as_bytes()) else {
                continue;
            };
            let text = log::format_error(&error);
            for word in [
                "expected", "invalid", "sequence", "map,", "integer", "struct",
            ] {
                assert!(!text.contains(word), "{text}");
            }
            let Some((_, wanted)) = text.split_once("; want ") else {
                continue;
            };
            let example = wanted
                .split_once(": ")
                .map_or("true", |(_, example)| example);
            let example: Value = serde_json::from_str(example).expect(&text);
            let place = text.split_once(": ").unwrap().0;
            let place = place.replace('[', ".").replace(']', "").replace('.', "/");
            // The names of a sysctl hold dots.
            let Some(at) = config.pointer_mut(&format!("/{place}")) else {
                continue;
            };
            *at = example;
            examples += 1;
            if let Err(error) = parse(config.to_string().as_bytes()) {
                let again = log::format_error(&error);
                assert!(!again.contains("; want "), "{text}\n{again}");
            }
        }
    }
    assert!(examples > 200, "{examples}");
}

/// The JSON pointers of all values in `config` but the whole.
fn pointers(config: &Value) -> Vec<String> {
    let members: Vec<(String, &Value)> = match config {
        Value::Object(members) => {
            let members = members.iter();
            members.map(|(name, value)| (name.clone(), value)).collect()
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.map(|(at, item)| (at.to_string(), item)).collect()
        }
        _ => Vec::new(),
    };
    let of_member = |(name, member): (String, &Value)| {
        let name = name.replace('~', "~0").replace('/', "~1");
        let below = pointers(member).into_iter();
        let below: Vec<String> = below.map(|rest| format!("/{name}{rest}")).collect();
        [vec![format!("/{name}")], below].concat()
    };
    members.into_iter().flat_map(of_member).collect()
}

#[test]
fn an_error_about_a_type_has_an_example() {
    let cases = [
        (
            "/process/args",
            json!("sh"),
            r#"process.args: a string; want a list of strings: ["sh", "-c", "true"]"#,
        ),
        (
            "/process/env",
            json!([1]),
            r#"process.env[0]: a number; want a string: "PATH=/bin""#,
        ),
        (
            "/process/env",
            json!({"PATH": "/bin"}),
            r#"process.env: an object; want a list of strings: ["PATH=/bin"]"#,
        ),
        (
            "/root/readonly",
            json!("yes"),
            "root.readonly: a string; want true or false",
        ),
        (
            "/linux/resources/pids/limit",
            json!("100"),
            "linux.resources.pids.limit: a string; want a whole number: 100",
        ),
        (
            "/linux/resources/memory/limit",
            json!(1.5),
            "linux.resources.memory.limit: 1.5; want a whole number: 268435456",
        ),
    ];
    for (pointer, value, text) in cases {
        assert_refused(pointer, value, text);
    }
}

#[test]
fn a_list_is_no_object_and_an_object_no_name() {
    let cases = [
        (
            "/linux/namespaces",
            json!([{"type": {"pid": 1}}]),
            r#"linux.namespaces[0].type: an object; want a string: "mount""#,
        ),
        (
            "/linux",
            json!([]),
            r#"linux: a list; want an object: {"namespaces": [{"type": "mount"}]}"#,
        ),
        (
            "/mounts",
            json!([["/tmp"]]),
            r#"mounts[0]: a list; want an object: {"destination": "/tmp", "type": "tmpfs"}"#,
        ),
        (
            "/process/args",
            json!([null]),
            r#"process.args[0]: null; want a string: "sh""#,
        ),
        (
            "/process/execCPUAffinity",
            json!({"initial": "a"}),
            r#"process.execCPUAffinity.initial: not a valid value, such as "0-3""#,
        ),
        (
            "/ociVersion",
            json!(1.3),
            r#"ociVersion: a number; want a string: "1.3.0""#,
        ),
        (
            "/linux/sysctl",
            json!({"net.ipv4.ip_forward": 1}),
            r#"linux.sysctl.net.ipv4.ip_forward: a number; want a string: "1""#,
        ),
    ];
    for (pointer, value, text) in cases {
        assert_refused(pointer, value, text);
    }
}

#[test]
fn an_error_about_a_number_out_of_range_names_the_field() {
    let memory = "/linux/resources/memory/limit";
    let cases = [
        (
            "/process/user/uid",
            json!(-1),
            "process.user.uid: -1 is not between 0 and 4294967295",
        ),
        (
            "/process/user/gid",
            json!(1_u64 << 32),
            "process.user.gid: 4294967296 is not between 0 and 4294967295",
        ),
        (
            "/process/oomScoreAdj",
            json!(1_u64 << 31),
            "process.oomScoreAdj: 2147483648 is not between -1000 and 1000",
        ),
        (
            memory,
            json!(u64::MAX),
            "linux.resources.memory.limit: 18446744073709551615 is not between -9223372036854775808 and 9223372036854775807",
        ),
        (
            "/linux/resources/cpu/shares",
            json!(-1),
            "linux.resources.cpu.shares: -1 is not between 0 and 18446744073709551615",
        ),
    ];
    for (pointer, value, text) in cases {
        assert_refused(pointer, value, text);
    }
}
