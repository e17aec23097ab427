//! The unit of a container that exists, as state.json records it, and what is asked of systemd
//! about it.

use anyhow::Result;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::bus::connection::{Answer, Connection};
use super::bus::value::Value;
use super::manager::Manager;
use super::properties::of_settings;
use crate::cgroups::plan::setting::Setting;
use crate::log;

/// A unit, and the systemd that has made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnitRecord {
    pub(super) name: String,
    pub(super) manager: Manager,
}

/// The error about a unit that is not loaded: systemd has released it already.
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

impl UnitRecord {
    /// Stops the unit, waits until it is stopped, and makes systemd forget a failure of it. A unit
    /// that does not exist is no error.
    ///
    /// # Errors
    /// When systemd is not reached, does not answer, or refuses.
    pub(in crate::cgroups) fn stop(&self) -> Result<()> {
        let mut connection = self.connect()?;
        let arguments = [Value::text(&self.name), Value::text("replace")];
        match self.call(&mut connection, "StopUnit", &arguments) {
            Ok(Answer::Done(job)) => {
                let result = connection.wait_for_job(&job);
                let result = self.manager.failed(result, "stop", &self.name)?;
                log::debug(&format!("{}: stop: {result}", self.name));
            }
            Ok(Answer::Refused { name, .. }) if name == NO_SUCH_UNIT => {}
            Ok(Answer::Refused { text, .. }) => {
                return Err(self.manager.error("StopUnit", &self.name, &text));
            }
            Err(error) => return Err(error),
        }
        // Refused when the unit is gone, which it is unless it has failed.
        self.reset_failed(&mut connection)
    }

    /// Makes systemd forget that the unit has failed. A failed unit would remain, with its name.
    pub(super) fn reset_failed(&self, connection: &mut Connection) -> Result<()> {
        let arguments = [Value::text(&self.name)];
        self.call(connection, "ResetFailedUnit", &arguments)
            .map(drop)
    }

    /// Sets the properties for `settings`, and waits until systemd has written to the cgroup. They
    /// last as long as the unit.
    ///
    /// # Errors
    /// When systemd is not reached, does not answer, or refuses.
    pub(in crate::cgroups) fn set(&self, settings: &[Setting]) -> Result<()> {
        let mut connection = self.connect()?;
        let version = connection.property("Version");
        let version = self.manager.failed(version, "update", &self.name)?;
        let properties = of_settings(settings, super::manager::parse_version(&version));
        if properties.is_empty() {
            return Ok(());
        }
        let name = Value::text(&self.name);
        let arguments = [name, Value::Bool(true), Value::Properties(properties)];
        let answer = self.call(&mut connection, "SetUnitProperties", &arguments)?;
        if let Answer::Refused { text, .. } = answer {
            return Err(self.manager.error("SetUnitProperties", &self.name, &text));
        }
        let settled = connection.settle();
        self.manager.failed(settled, "update", &self.name)
    }

    /// Asks systemd to move a process into the unit's cgroup, for a user whom the kernel does not
    /// let do so.
    ///
    /// # Errors
    /// When systemd is not reached, does not answer, or refuses.
    pub(crate) fn attach(&self, pid: Pid) -> Result<()> {
        let mut connection = self.connect()?;
        let arguments = [
            Value::text(&self.name),
            Value::text("/"),
            Value::Numbers(vec![pid.as_raw().cast_unsigned()]),
        ];
        match self.call(&mut connection, "AttachProcessesToUnit", &arguments)? {
            Answer::Done(_) => Ok(()),
            Answer::Refused { text, .. } => {
                Err((self.manager).error("AttachProcessesToUnit", &self.name, &text))
            }
        }
    }

    fn connect(&self) -> Result<Connection> {
        (self.manager).failed(self.manager.connect(), "unit", &self.name)
    }

    pub(super) fn call(
        &self,
        connection: &mut Connection,
        member: &str,
        arguments: &[Value],
    ) -> Result<Answer> {
        let answer = connection.call(member, arguments);
        self.manager.failed(answer, member, &self.name)
    }
}
