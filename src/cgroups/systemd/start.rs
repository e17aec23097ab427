//! Starts the scope of a container.

use anyhow::Result;
use nix::unistd::Pid;

use super::bus::connection::{Answer, Connection};
use super::bus::value::{Value, property};
use super::placeholder::Placeholder;
use super::record::UnitRecord;
use super::scope::Scope;
use crate::log;

const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// A scope that was started, and holds a [`Placeholder`] until a process of the container is in it.
pub(in crate::cgroups) struct StartedScope {
    record: UnitRecord,
    placeholder: Placeholder,
}

impl Scope {
    /// Starts the scope, and returns when it has its cgroup.
    ///
    /// # Errors
    /// When systemd is not reached, does not answer, refuses, or has a running unit of this name.
    /// Nothing is left then.
    pub(in crate::cgroups) fn start(&self) -> Result<StartedScope> {
        let (record, manager) = (&self.record, &self.record.manager);
        let connected = manager.connect();
        let mut connection = manager.failed(connected, "start", &record.name)?;
        let placeholder = Placeholder::new()?;
        match self.start_with(placeholder.pid, &mut connection) {
            Ok(()) => Ok(StartedScope {
                record: record.clone(),
                placeholder,
            }),
            Err(error) => {
                // systemd releases a scope without processes.
                placeholder.end();
                Err(error.context("linux.cgroupsPath"))
            }
        }
    }

    fn start_with(&self, process: Pid, connection: &mut Connection) -> Result<()> {
        const CALL: &str = "StartTransientUnit";
        let (record, manager) = (&self.record, &self.record.manager);
        let mut properties = self.properties.clone();
        let pids = vec![process.as_raw().cast_unsigned()];
        properties.push(property("PIDs", Value::Numbers(pids)));
        let arguments = [
            Value::text(&record.name),
            Value::text("replace"),
            Value::Properties(properties),
            Value::NoUnits,
        ];
        let mut answer = record.call(connection, CALL, &arguments)?;
        if matches!(&answer, Answer::Refused { name, .. } if name == UNIT_EXISTS) {
            // It may be the failed unit of an earlier container, which keeps the name.
            record.reset_failed(connection)?;
            answer = record.call(connection, CALL, &arguments)?;
        }
        let job = match answer {
            Answer::Done(job) => job,
            Answer::Refused { text, .. } => {
                return Err(manager.error(CALL, &record.name, &text));
            }
        };
        let waited = connection.wait_for_job(&job);
        let result = manager.failed(waited, CALL, &record.name)?;
        if result == "done" {
            return Ok(());
        }
        record.reset_failed(connection)?;
        let reason = format!("the job has ended with {result:?}");
        Err(manager.error(CALL, &record.name, &reason))
    }
}

impl StartedScope {
    /// Ends the placeholder: a process of the container is in the scope.
    pub(in crate::cgroups) fn entered(&self) {
        self.placeholder.end();
    }

    /// Asks systemd to move a process into the scope.
    ///
    /// # Errors
    /// As [`UnitRecord::attach`].
    pub(in crate::cgroups) fn attach(&self, pid: Pid) -> Result<()> {
        self.record.attach(pid)
    }

    pub(in crate::cgroups) fn record(&self) -> &UnitRecord {
        &self.record
    }

    /// Stops the scope, after a failure. The processes of the container have ended.
    pub(in crate::cgroups) fn undo(&self) {
        self.entered();
        if let Err(error) = self.record.stop() {
            log::warn(&format!("left behind: {}", log::format_error(&error)));
        }
    }
}
