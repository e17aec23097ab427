//! A container by its id. It ends with its bundle, if the test has not ended it before.

use serde_json::Value;

use super::{Outcome, Runtime, host};

pub(crate) struct Container {
    runtime: Runtime,
    id: String,
    /// What the command that made it said; the container keeps writing there.
    made_by: std::path::PathBuf,
}

impl Container {
    pub(crate) fn new(runtime: &Runtime, id: &str, made_by: std::path::PathBuf) -> Self {
        Self {
            runtime: runtime.clone(),
            id: id.to_owned(),
            made_by,
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// `runtime VERB ID ARGUMENTS..`
    pub(crate) fn call(&self, verb: &str, arguments: &[&str]) -> Outcome {
        let mut args = vec![verb, self.id.as_str()];
        args.extend(arguments);
        self.runtime.call(&args).run()
    }

    pub(crate) fn start(&self) -> Outcome {
        self.call("start", &[])
    }

    pub(crate) fn kill(&self, signal: &str) -> Outcome {
        self.call("kill", &[signal])
    }

    pub(crate) fn delete(&self) -> Outcome {
        self.call("delete", &[])
    }

    pub(crate) fn delete_force(&self) -> Outcome {
        self.runtime.call(&["delete", "--force", &self.id]).run()
    }

    pub(crate) fn state(&self) -> Value {
        let said = self.call("state", &[]).assert_ok().stdout;
        serde_json::from_str(&said).unwrap_or_else(|e| panic!("state is no JSON: {e}: {said}"))
    }

    pub(crate) fn status(&self) -> String {
        self.state()["status"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    pub(crate) fn pid(&self) -> i32 {
        let pid = self.state()["pid"].as_i64().unwrap_or_default();
        i32::try_from(pid).unwrap_or_default()
    }

    /// Everything the container has written to its stdout so far.
    pub(crate) fn stdout(&self) -> String {
        let bytes = std::fs::read(self.made_by.with_extension("out")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The same of its stderr.
    pub(crate) fn stderr(&self) -> String {
        let bytes = std::fs::read(self.made_by.with_extension("err")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) -> String {
        host::wait_until(&format!("{text:?} from the container"), || {
            self.stdout().contains(text)
        });
        self.stdout()
    }

    /// Waits until the runtime says that the container has stopped.
    #[track_caller]
    pub(crate) fn wait_stopped(&self) {
        host::wait_until("the container to stop", || self.status() == "stopped");
    }

    /// Kills the process and deletes what is left; all must succeed.
    #[track_caller]
    pub(crate) fn end(self) {
        host::end_joined(&self.id);
        self.delete_force().assert_ok();
    }
}
