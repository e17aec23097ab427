//! `rt list`: the containers below `--root`, as a table, as ids or as JSON.

use anyhow::{Context, Result};
use clap::{ArgMatches, Command};

use super::report::{Entry, go_json};
use super::table::columns;
use super::{Globals, choices, figures, flag, print};
use crate::cgroups::Usage;
use crate::container::{self, Report, Status};
use crate::host;

pub(super) fn define(command: Command) -> Command {
    command
        .about("List containers")
        .after_help("Example: rt list --format json")
        .arg(choices::format())
        .arg(flag("quiet").short('q').help("Print only the ids"))
        .arg(flag("stats").help("Add CPU time, memory and processes"))
}

/// All containers. None when the default root does not exist, which is made with the first
/// container.
///
/// # Errors
/// When the root cannot be read, or was given and does not exist.
pub(super) fn reports(globals: &Globals) -> Result<Vec<Report>> {
    match container::list(&globals.root) {
        Err(_) if !globals.root_given && !globals.root.exists() => Ok(Vec::new()),
        reports => reports,
    }
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let reports = reports(globals)?;
    if matches.get_flag("quiet") {
        print(
            &reports
                .iter()
                .map(|report| format!("{}\n", report.id))
                .collect::<String>(),
        )?;
        return Ok(0);
    }
    let format = matches.get_one::<String>("format").map(String::as_str);
    let passwd = if reports.is_empty() {
        String::new()
    } else {
        host::read_passwd()
    };
    let mut entries: Vec<Entry> = reports
        .iter()
        .map(|report| Entry::new(report, owner_name(&passwd, report.owner)))
        .collect();
    let with_stats = matches.get_flag("stats");
    let usages = with_stats.then(|| usages(&reports)).transpose()?;
    match format {
        Some("table") => print(&table(&entries, usages.as_deref()))?,
        // Go encodes a nil slice as null, and clients of runc expect that.
        Some("json") if entries.is_empty() => print("null\n")?,
        Some("json") => {
            for (entry, usage) in entries.iter_mut().zip(usages.iter().flatten()) {
                entry.add_stats(usage)?;
            }
            print(&format!("{}\n", go_json(&serde_json::to_string(&entries)?)))?;
        }
        other => return Err(choices::unknown_format(other.unwrap_or_default())),
    }
    Ok(0)
}

/// What each container uses. Nothing is known of one that has stopped.
///
/// # Errors
/// When a figure cannot be read.
fn usages(reports: &[Report]) -> Result<Vec<Usage>> {
    let usage = |report: &Report| match report.status {
        Status::Stopped | Status::Creating => Ok(None),
        Status::Created | Status::Running | Status::Paused => {
            report.cgroups.usage().with_context(|| report.id.clone())
        }
    };
    let usages = reports
        .iter()
        .map(|report| Ok(usage(report)?.unwrap_or_default()));
    usages.collect()
}

/// The name of a user, or `#uid` if there is none.
fn owner_name(passwd: &str, uid: u32) -> String {
    host::user_name(passwd, uid).unwrap_or_else(|| format!("#{uid}"))
}

/// The table of runc, a column with the addresses if a container has a network of `rt`, and what
/// each container uses.
fn table(entries: &[Entry], usages: Option<&[Usage]>) -> String {
    let has_network = entries.iter().any(|entry| entry.addresses().is_some());
    let mut lines = vec![
        ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
            .map(str::to_owned)
            .to_vec(),
    ];
    lines.extend(entries.iter().map(|entry| {
        vec![
            entry.id.to_owned(),
            entry.pid.to_string(),
            entry.status.clone(),
            entry.bundle.to_string(),
            entry.created.to_owned(),
            entry.owner.clone(),
        ]
    }));
    if has_network {
        let cells = entries
            .iter()
            .map(|entry| entry.addresses().unwrap_or_else(|| "-".to_owned()));
        let cells = std::iter::once("ADDRESS".to_owned()).chain(cells);
        lines
            .iter_mut()
            .zip(cells)
            .for_each(|(line, cell)| line.push(cell));
    }
    if let Some(usages) = usages {
        let titles = ["CPU TIME", "MEMORY", "PIDS"].map(str::to_owned);
        let cells = usages.iter().map(|usage| {
            [
                figures::cell(usage.cpu_time, figures::time),
                figures::cell(usage.memory, figures::size),
                figures::cell(usage.pids, |pids| pids.to_string()),
            ]
        });
        let cells = std::iter::once(titles).chain(cells);
        lines
            .iter_mut()
            .zip(cells)
            .for_each(|(line, cells)| line.extend(cells));
    }
    columns(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroups::ExistingCgroups;

    #[test]
    fn the_addresses_are_a_column_if_a_container_has_a_network() {
        let (mut web, other) = (report("web", "/b"), report("other", "/b"));
        let annotations = [
            ("rt.network.bridge", "rt0"),
            ("rt.network.address", "10.88.0.2/16,fd00::2/64"),
        ];
        web.annotations = annotations
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let entries = [&web, &other].map(|report| Entry::new(report, "root".to_owned()));
        let table = table(&entries, None);
        let last: Vec<&str> = table
            .lines()
            .map(|line| line.rsplit(' ').next().unwrap())
            .collect();
        assert_eq!(last, ["ADDRESS", "10.88.0.2,fd00::2", "-"]);
    }

    fn report(id: &str, bundle: &str) -> Report {
        Report {
            oci_version: "1.3.0",
            id: id.to_owned(),
            pid: 7,
            status: Status::Running,
            bundle: bundle.into(),
            rootfs: "/r".into(),
            created: "2026-01-02T03:04:05.678Z".to_owned(),
            annotations: Default::default(),
            owner: 0,
            cgroups: ExistingCgroups::new(Default::default(), Vec::new()),
        }
    }

    #[test]
    fn the_table_has_the_layout_of_runc() {
        assert_eq!(
            table(&[], None),
            "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
        );
        let report = report("a-rather-long-id", "/b");
        let table = table(&[Entry::new(&report, "root".to_owned())], None);
        let expected = "ID                 PID         STATUS      BUNDLE      CREATED                    OWNER\n\
                        a-rather-long-id   7           running     /b          2026-01-02T03:04:05.678Z   root\n";
        assert_eq!(table, expected);
    }

    #[test]
    fn an_owner_without_a_name_is_shown_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nworker:x:1000:1000::/:/bin/sh\n";
        assert_eq!(owner_name(passwd, 0), "root");
        assert_eq!(owner_name(passwd, 1000), "worker");
        assert_eq!(owner_name(passwd, 7), "#7");
        assert_eq!(owner_name("", 0), "#0");
    }

    #[test]
    fn the_json_has_the_keys_of_runc_in_their_order() {
        let mut report = report("a", "/b");
        let text = serde_json::to_string(&Entry::new(&report, String::new())).unwrap();
        let expected = r#"{"ociVersion":"1.3.0","id":"a","pid":7,"status":"running","bundle":"/b","rootfs":"/r","created":"2026-01-02T03:04:05.678Z","owner":""}"#;
        assert_eq!(text, expected);
        report.annotations.insert("k".to_owned(), "v".to_owned());
        let text = serde_json::to_string(&Entry::new(&report, String::new())).unwrap();
        assert!(
            text.contains(r#""annotations":{"k":"v"},"owner""#),
            "{text}"
        );
    }
}
