//! The step that a process has reached, and reports of it for `--debug`.

use std::cell::{Cell, RefCell};

use super::{Cause, Failure, Step};

/// The current step and item. Shared by reference, and only ever moved forward.
pub(crate) struct Progress {
    step: Cell<Step>,
    item: Cell<u16>,
    reporter: RefCell<Option<Reporter>>,
}

/// Called for each position (`--debug`).
pub(crate) type Reporter = Box<dyn Fn(Position)>;

/// A step, and the index of the item that it handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) step: Step,
    pub(crate) item: u16,
}

impl Position {
    /// Length of an encoded position, in bytes.
    pub(crate) const LENGTH: usize = 3;

    pub(crate) fn encode(self) -> [u8; Self::LENGTH] {
        let [low, high] = self.item.to_le_bytes();
        [self.step as u8, low, high]
    }

    /// `None` for bytes that are no position.
    pub(crate) fn decode([step, low, high]: [u8; Self::LENGTH]) -> Option<Position> {
        Some(Position {
            step: Step::decode(step)?,
            item: u16::from_le_bytes([low, high]),
        })
    }
}

impl Progress {
    pub(crate) fn new() -> Progress {
        Progress {
            step: Cell::new(Step::Wait),
            item: Cell::new(0),
            reporter: RefCell::new(None),
        }
    }

    /// Calls `reporter` for each position from the next one on. `None` ends the reports.
    pub(crate) fn report_to(&self, reporter: Option<Reporter>) {
        *self.reporter.borrow_mut() = reporter;
    }

    /// Begins a step.
    pub(crate) fn enter(&self, step: Step) {
        self.at(step, 0);
    }

    /// Begins a step for one item of its list.
    pub(crate) fn at(&self, step: Step, item: usize) {
        let item = u16::try_from(item).unwrap_or(u16::MAX);
        self.step.set(step);
        self.item.set(item);
        if let Some(report) = self.reporter.borrow().as_ref() {
            report(Position { step, item });
        }
    }

    /// The failure of the current step.
    pub(crate) fn failed(&self, cause: Cause) -> Failure {
        Failure {
            step: self.step.get(),
            item: self.item.get(),
            cause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_decoded_as_it_was_encoded() {
        for &step in Step::ALL {
            let position = Position { step, item: 511 };
            assert_eq!(Position::decode(position.encode()), Some(position));
        }
        assert_eq!(Position::decode([255, 0, 0]), None);
    }

    #[test]
    fn positions_are_reported_until_the_reporter_is_removed() {
        let reported = std::rc::Rc::new(RefCell::new(Vec::new()));
        let at = Progress::new();
        at.enter(Step::Signals);
        let sink = reported.clone();
        at.report_to(Some(Box::new(move |position| {
            sink.borrow_mut().push(position)
        })));
        at.at(Step::Mount, 7);
        at.report_to(None);
        at.enter(Step::Exec);
        let (step, item) = (Step::Mount, 7);
        assert_eq!(*reported.borrow(), [Position { step, item }]);
    }
}
