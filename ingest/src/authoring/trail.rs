//! What an execution did, heard while it ran: which states it entered, and which ways it took.

use expressway_engine::hir::StateId;
use expressway_engine::{Decision, Event, EventKind, Observer};

/// States entered whose order is kept; an endless loop enters far more.
const PATH_MAX: usize = 100_000;

/// How often each way was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateHits {
    /// Entered.
    pub entered: u64,
    /// Left by Next or End.
    pub goes_on: u64,
    /// By rule; the one behind the last rule is Default.
    pub chooses: Vec<u64>,
    /// By retrier.
    pub retries: Vec<u64>,
    /// By catcher.
    pub catches: Vec<u64>,
}

/// The hits of all states, by their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hits {
    by_state: Vec<StateHits>,
}

/// The observer of one execution.
#[derive(Debug, Clone, Default)]
pub struct Trail {
    /// The states in the order in which they were entered, branches and iterations mixed as they ran.
    pub path: Vec<StateId>,
    /// How often each way was taken.
    pub hits: Hits,
}

impl Hits {
    /// Those of one state.
    #[must_use]
    pub fn of(&self, state: StateId) -> Option<&StateHits> {
        self.by_state.get(state.0 as usize)
    }

    fn at(&mut self, state: StateId) -> &mut StateHits {
        let index = state.0 as usize;
        if self.by_state.len() <= index {
            self.by_state.resize_with(index + 1, StateHits::default);
        }
        &mut self.by_state[index]
    }

    /// Adds those of another execution of the same definition.
    pub fn add(&mut self, other: &Self) {
        for (state, hits) in (0..).map(StateId).zip(&other.by_state) {
            let sum = self.at(state);
            sum.entered += hits.entered;
            sum.goes_on += hits.goes_on;
            for (counts, more) in [(&mut sum.chooses, &hits.chooses), (&mut sum.retries, &hits.retries), (&mut sum.catches, &hits.catches)] {
                counts.resize(counts.len().max(more.len()), 0);
                for (count, more) in counts.iter_mut().zip(more) {
                    *count += more;
                }
            }
        }
    }
}

fn count(counts: &mut Vec<u64>, number: u32) {
    let index = number as usize;
    counts.resize(counts.len().max(index + 1), 0);
    counts[index] += 1;
}

impl Observer for Trail {
    const LISTENS: bool = true;

    fn event(&mut self, event: &Event<'_>) {
        if let (EventKind::StateEntered(_), Some(state)) = (event.kind, event.state) {
            self.hits.at(state).entered += 1;
            if self.path.len() < PATH_MAX {
                self.path.push(state);
            }
        }
    }

    fn decision(&mut self, state: StateId, decision: Decision) {
        let hits = self.hits.at(state);
        match decision {
            Decision::GoesOn => hits.goes_on += 1,
            Decision::Chooses(rule) => count(&mut hits.chooses, rule),
            Decision::Retries(retrier) => count(&mut hits.retries, retrier),
            Decision::Catches(catcher) => count(&mut hits.catches, catcher),
            _ => {}
        }
    }
}
