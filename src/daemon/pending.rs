//! What the core asked for and has not been done yet: bounded, however much one event asks for.

use crate::replica::{Action, Actions};

/// Bytes of frames that wait at most before they are handed to the links, whose own limits then
/// apply.
const BYTES: usize = 1 << 20;
/// The same in actions.
const ACTIONS: usize = 4096;

/// Actions with the weight of their frames.
#[derive(Debug, Default)]
pub(super) struct Pending {
    actions: Actions,
    weighed: usize,
    bytes: usize,
}

impl Pending {
    /// Where the core appends.
    pub(super) fn actions(&mut self) -> &mut Actions {
        &mut self.actions
    }

    /// Whether it is time to act before more is handed to the core.
    pub(super) fn is_heavy(&mut self) -> bool {
        for action in &self.actions[self.weighed.min(self.actions.len())..] {
            if let Action::ToPeer { frame, .. } | Action::ToClient { frame, .. } = action {
                self.bytes = self.bytes.saturating_add(frame.len());
            }
        }
        self.weighed = self.actions.len();
        self.bytes > BYTES || self.actions.len() > ACTIONS
    }

    /// All of it; nothing is left.
    pub(super) fn take(&mut self) -> Actions {
        std::mem::take(self).actions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::LinkId;
    use bytes::Bytes;

    fn answer(bytes: usize) -> Action {
        Action::ToClient { link: LinkId(1), frame: Bytes::from(vec![0; bytes]) }
    }

    #[test]
    fn large_answers_are_handed_over_after_a_few_and_small_ones_together() {
        let mut pending = Pending::default();
        for _ in 0..2 {
            for _ in 0..2 {
                pending.actions().push(answer(BYTES / 2));
                assert!(!pending.is_heavy());
            }
            assert!(!pending.is_heavy(), "each is weighed once");
            pending.actions().push(answer(1));
            assert!(pending.is_heavy());
            assert_eq!(pending.take().len(), 3);
        }
        for _ in 0..ACTIONS {
            pending.actions().push(answer(10));
            assert!(!pending.is_heavy());
        }
        pending.actions().push(answer(10));
        assert!(pending.is_heavy());
    }
}
