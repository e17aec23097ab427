//! `buildah bud`: builds from a Containerfile.

use std::fs;

use super::{Store, Test};

pub(super) const TESTS: &[Test] = &[
    ("bud", bud),
    ("bud_stages", bud_stages),
    ("bud_fails", bud_fails),
    ("bud_cache_mount", bud_cache_mount),
    ("bud_secret", bud_secret),
    ("bud_limits", bud_limits),
    ("bud_user_namespace", bud_user_namespace),
    ("bud_concurrently", bud_concurrently),
];

fn bud(s: &Store) {
    let text = "FROM IMAGE\nARG WORD=none\nENV KEPT=$WORD\nWORKDIR /made\nRUN echo $WORD $KEPT $(pwd) >/first\n\
        USER user\nRUN id -u >/tmp/second && echo $HOME >>/tmp/second\nSHELL [\"/bin/sh\", \"-ec\"]\nRUN true; false || echo third >/tmp/third\n";
    s.bud("bud", &["--build-arg", "WORD=given"], text).ok();
    assert_eq!(s.file("bud", "/first"), "given given /made");
    assert_eq!(s.file("bud", "/tmp/second"), "1000\n/home/user");
    assert_eq!(s.file("bud", "/tmp/third"), "third");
}

fn bud_stages(s: &Store) {
    let text = "FROM IMAGE AS one\nRUN echo from one >/file\nFROM IMAGE AS two\nCOPY --from=one /file /copied\n\
        RUN echo and two >>/copied\nFROM scratch\nCOPY --from=two /bin /bin\nCOPY --from=two /copied /file\nRUN [\"/bin/sh\", \"-c\", \"/bin/echo three >>/file\"]\n";
    s.bud("bud_stages", &["--layers"], text).ok();
    assert_eq!(s.file("bud_stages", "/file"), "from one\nand two\nthree");
}

fn bud_fails(s: &Store) {
    let output = s.bud("bud_fails", &[], "FROM IMAGE\nRUN exit 7\nRUN echo never\n");
    assert_ne!(output.status, 0);
    assert!(output.stderr.contains("exit status 7"), "{output:?}");
    assert!(!output.stdout.contains("never\nnever"), "{output:?}");
    let output = s.bud("bud_fails_1", &[], "FROM IMAGE\nRUN [\"absent\"]\n");
    assert!(
        output.status != 0 && output.stderr.contains("absent"),
        "{output:?}"
    );
}

fn bud_cache_mount(s: &Store) {
    let text = "FROM IMAGE\nRUN --mount=type=cache,target=/cache echo line >>/cache/file; wc -l </cache/file >/count\n";
    s.bud("bud_cache", &["--no-cache"], text).ok();
    assert_eq!(s.file("bud_cache", "/count"), "1");
    s.bud("bud_cache_1", &["--no-cache"], text).ok();
    assert_eq!(s.file("bud_cache_1", "/count"), "2");
}

fn bud_secret(s: &Store) {
    let files = s.0.files("secret_source");
    let source = files.join("word");
    fs::write(&source, "the word").unwrap();
    s.0.chown(&source);
    let secret = format!("id=word,src={}", source.display());
    let text = "FROM IMAGE\nRUN --mount=type=secret,id=word wc -c </run/secrets/word >/length\nRUN test ! -s /run/secrets/word\n";
    s.bud("bud_secret", &["--secret", &secret], text).ok();
    assert_eq!(s.file("bud_secret", "/length"), "8");
}

fn bud_limits(s: &Store) {
    let text = "FROM IMAGE\nRUN df -k /dev/shm | tail -n 1 >/shm; ulimit -n >/files; cat /etc/hosts >/hosts\n";
    // Buildah writes no /etc/hosts without a network.
    let options = [
        "--network",
        "host",
        "--shm-size",
        "4m",
        "--ulimit",
        "nofile=99:99",
        "--add-host",
        "other:10.1.2.3",
    ];
    s.bud("bud_limits", &options, text).ok();
    assert!(s.file("bud_limits", "/shm").contains(" 4096 "));
    assert_eq!(s.file("bud_limits", "/files"), "99");
}

fn bud_user_namespace(s: &Store) {
    let text = "FROM IMAGE\nRUN cat /proc/self/uid_map >/map; touch /mine; stat -c %u /mine /etc >/owners\n";
    let map = [
        "--userns-uid-map",
        "0:7000:2000",
        "--userns-gid-map",
        "0:7000:2000",
    ];
    s.bud("bud_userns", &map, text).ok();
    let output = s.file("bud_userns", "/map");
    assert_eq!(
        output.split_whitespace().collect::<Vec<_>>()[1..],
        ["7000", "2000"]
    );
    assert_eq!(s.file("bud_userns", "/owners"), "0\n0");
}

fn bud_concurrently(s: &Store) {
    std::thread::scope(|scope| {
        let each = |number: usize| {
            let text = format!("FROM IMAGE\nRUN echo {number} >/number\n");
            s.bud(&format!("bud_at_once_{number}"), &[], &text).ok();
            s.file(&format!("bud_at_once_{number}"), "/number")
        };
        let calls: Vec<_> = (0..4)
            .map(|number| scope.spawn(move || each(number)))
            .collect();
        for (number, call) in calls.into_iter().enumerate() {
            assert_eq!(call.join().unwrap(), number.to_string());
        }
    });
}
