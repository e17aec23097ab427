//! How mount options are parsed.

use super::*;

fn parsed(options: &[&str]) -> Options {
    parse(&options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>()).unwrap()
}

#[test]
fn the_last_option_wins() {
    assert!(!parsed(&["ro", "rw"]).attributes.readonly());
    assert!(parsed(&["rw", "ro"]).attributes.readonly());
    let atime = parsed(&["noatime", "strictatime"]).attributes;
    assert_eq!(atime.set, MOUNT_ATTR_STRICTATIME);
    assert_eq!(atime.clear, MOUNT_ATTR__ATIME);
}

#[test]
fn cancelled_access_time_options_keep_those_of_the_source() {
    for options in [
        &["atime"][..],
        &["norelatime"],
        &["noatime", "atime"],
        &["strictatime", "nostrictatime"],
    ] {
        assert!(parsed(options).attributes.is_empty(), "{options:?}");
    }
    let atime = parsed(&["noatime", "norelatime"]).attributes;
    assert_eq!(atime.set, MOUNT_ATTR_NOATIME);
    let tree = parsed(&["ratime"]).recursive;
    assert_eq!(tree.clear, MOUNT_ATTR__ATIME);
}

#[test]
fn rbind_stays_recursive_in_any_order() {
    assert_eq!(parsed(&["rbind", "ro", "bind"]).bind, Some(Recursive));
    assert_eq!(parsed(&["bind", "rbind"]).bind, Some(Recursive));
    assert_eq!(parsed(&["bind"]).bind, Some(MountOnly));
}

#[test]
fn an_entry_is_split_at_commas_outside_of_values() {
    let options = parsed(&[r#"ro,size=64k,context="a:s0:c1,c2",lowerdir=/a\,b:/c,mpol=bind:0,1"#]);
    assert!(options.attributes.readonly());
    let values = options.data.iter().map(ToString::to_string);
    let expected = [
        "size=64k",
        "context=a:s0:c1,c2",
        r"lowerdir=/a\,b:/c",
        "mpol=bind:0,1",
    ];
    assert_eq!(values.collect::<Vec<_>>(), expected);
}

#[test]
fn a_recursive_option_applies_to_the_tree() {
    let options = parsed(&["rbind", "rro", "rnosuid"]);
    assert_eq!(options.bind, Some(Recursive));
    assert!(options.attributes.is_empty());
    assert_eq!(options.recursive.set, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID);
}

#[test]
fn unknown_options_are_passed_to_the_file_system() {
    let options = parsed(&["nosuid", "newinstance", "mode=0620", "rbox"]);
    assert_eq!(
        options.data,
        [
            Parameter::Flag(c"newinstance".into()),
            Parameter::Value(c"mode".into(), c"0620".into()),
            Parameter::Flag(c"rbox".into()),
        ]
    );
}
