//! The decisions about the groups of resctrl, as text.

use super::plan::{Control, Group};
use crate::decisions::{Decisions, word};

impl Group {
    /// Adds the groups, with what is written to them in turn.
    pub(crate) fn decisions(&self, to: &mut Decisions) {
        let has_settings = self.settings().next().is_some();
        to.line(match (&self.control, has_settings) {
            (Control::Own(name), _) => {
                format!("make the control group {name}, and remove it with the container")
            }
            (Control::Shared(name), true) => {
                format!(
                    "control group {}, which is made if it is missing, and kept",
                    word(name)
                )
            }
            (Control::Shared(name), false) => {
                format!("control group {}, which has to exist", word(name))
            }
            (Control::Default, _) => "the default control group".to_owned(),
        });
        let may_exist = !matches!(self.control, Control::Own(_));
        for setting in self.settings() {
            let text = word(&setting.text);
            to.line(if may_exist {
                format!("schemata = {text}; refused if the group exists and differs")
            } else {
                format!("schemata = {text}")
            });
        }
        if let Some(name) = &self.monitoring {
            to.line(format!(
                "make the monitoring group {name}, and remove it with the container"
            ));
        }
        to.line("init is moved here");
    }
}
