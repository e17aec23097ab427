//! Lines of the file `schemata`, such as `L3:0=7f0;1=1f`: a resource, and its value in each domain.
//!
//! The kernel accepts more than one way to write a value, so values are compared as numbers. It pads those that it
//! shows: `    L3:0=07ff;1=07ff` or `    MB:0= 100;1= 100`.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use anyhow::{Context, Result, ensure};

/// The value of a resource in each domain, which is usually a cache, by number.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) resource: String,
    values: BTreeMap<u32, String>,
}

/// A value of the configuration that is written to `schemata` at once.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// In config.json, or the flag.
    pub(super) place: String,
    pub(super) text: String,
    pub(super) lines: Vec<Line>,
}

impl Line {
    /// `None` for a text of another form. A semicolon may be last.
    pub(super) fn parse(text: &str) -> Option<Line> {
        let (resource, domains) = text.split_once(':')?;
        let resource = resource.trim().to_owned();
        let domains = domains.trim();
        let domains = domains.strip_suffix(';').unwrap_or(domains);
        let values = domains.split(';').map(|domain| {
            let (id, value) = domain.split_once('=')?;
            let value = value.trim().to_owned();
            (!value.is_empty()).then_some((id.trim().parse().ok()?, value))
        });
        let values = values.collect::<Option<_>>()?;
        (!resource.is_empty()).then_some(Line { resource, values })
    }
}

impl Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let domains = self
            .values
            .iter()
            .map(|(id, value)| format!("{id}={value}"));
        let domains: Vec<String> = domains.collect();
        write!(f, "{}:{}", self.resource, domains.join(";"))
    }
}

impl Setting {
    /// # Errors
    /// When a line has another form than `L3:0=7f0;1=1f`.
    pub(super) fn plan(place: &str, text: &str) -> Result<Setting> {
        let lines = text.trim_end_matches('\n').split('\n');
        let lines = lines.map(|line| {
            let parsed = Line::parse(line).filter(|_| !line.contains('\0'));
            parsed
                .with_context(|| format!("{place}: {line:?} is not of the form \"L3:0=7f0;1=1f\""))
        });
        Ok(Setting {
            place: place.to_owned(),
            text: text.trim_end_matches('\n').to_owned(),
            lines: lines.collect::<Result<_>>()?,
        })
    }

    /// # Errors
    /// As [`Setting::plan`], and when the text has more than one line.
    pub(super) fn plan_line(place: &str, text: &str) -> Result<Setting> {
        ensure!(!text.contains('\n'), "{place}: {text:?} has a newline");
        Setting::plan(place, text)
    }

    /// # Errors
    /// As [`Setting::plan_line`], and when it is for another resource than the bandwidth of the memory.
    pub(super) fn plan_bandwidth(place: &str, text: &str) -> Result<Setting> {
        ensure!(
            text.starts_with("MB:"),
            "{place}: {text:?} does not start with \"MB:\""
        );
        Setting::plan_line(place, text)
    }
}

/// The lines of a file `schemata`.
pub(super) fn lines(schemata: &str) -> Vec<Line> {
    schemata.lines().filter_map(Line::parse).collect()
}

/// Compares the domains that are asked for with those of `group`. The kernel rounds bandwidth up to a multiple of
/// `bandwidth_step`.
///
/// # Errors
/// When one differs.
pub(super) fn ensure_same<'a>(
    asked: impl Iterator<Item = &'a Setting>,
    present: &[Line],
    bandwidth_step: u64,
    group: impl Display,
) -> Result<()> {
    let mut last = BTreeMap::new();
    for setting in asked {
        for line in &setting.lines {
            for (domain, value) in &line.values {
                // As in the file, a later value replaces an earlier one.
                last.insert((&line.resource, domain), (&setting.place, value));
            }
        }
    }
    for ((resource, domain), (place, value)) in last {
        let line = present.iter().find(|line| line.resource == *resource);
        let found = line.and_then(|line| line.values.get(domain));
        let found =
            found.with_context(|| format!("{place}: {group} has no {resource}:{domain}"))?;
        ensure!(
            is_same(resource, value, found, bandwidth_step),
            "{place}: {group} exists and has {resource}:{domain}={found}, not {resource}:{domain}={value}; \
             set the values that it has, or another closID"
        );
    }
    Ok(())
}

fn is_same(resource: &str, asked: &str, present: &str, bandwidth_step: u64) -> bool {
    // SMBA is the bandwidth of slow memory on AMD.
    let is_bandwidth = matches!(resource, "MB" | "SMBA");
    let number = |text: &str| {
        if is_bandwidth {
            text.parse().ok()
        } else {
            let digits = text.strip_prefix("0x").unwrap_or(text);
            u64::from_str_radix(digits, 16).ok()
        }
    };
    match (number(asked), number(present)) {
        (Some(asked), Some(present)) => {
            let rounded = asked.checked_next_multiple_of(bandwidth_step);
            asked == present || is_bandwidth && rounded == Some(present)
        }
        _ => asked == present,
    }
}
