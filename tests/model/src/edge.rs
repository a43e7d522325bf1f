//! The edge: a shipper, the edge's journal, isolates that lag behind it, and origin processes that
//! lag behind the origin's journal.
//!
//! Verdicts come from `shared_keys::Applied`. The model watches one response of one page, and every
//! write changes that page. A write through the SDK has a record in the origin's journal, which is
//! shipped in any order and any number of times. A *foreign* write purges the edge directly.

use shared_keys::{Applied, Mode, Position, Record, Scope, Seq, Stamp, Verdict};
use stateright::{Model, Property};

/// A rule of the edge. A run without it shows that G7 depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeRule {
    /// Origin positions are compared where both the record and the response have one.
    OriginPositions,
    /// A response takes the edge sequence number that its isolate had applied when the fetch began.
    SeqBeforeFetch,
    /// A response takes the origin position that its process had applied when the request began.
    PositionBeforeRequest,
}

/// The bounds of a run of the model.
#[derive(Debug, Clone)]
pub struct EdgeBounds {
    /// The most writes in a run.
    pub writes: usize,
    /// The number of origin processes, and of isolates.
    pub each: usize,
    /// The most records that the edge receives, repetitions included.
    pub shipped: usize,
    /// The rule that is left out.
    pub broken: Option<EdgeRule>,
}

/// A state of the whole system.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct EdgeState {
    /// For each write its position in the origin's journal; `None` for a foreign write.
    writes: Vec<Option<u8>>,
    /// The number of records in the origin's journal.
    records: u8,
    /// For each origin process the number of records that it has applied.
    applied: Vec<u8>,
    /// The edge's journal: for each record the index of its write.
    log: Vec<usize>,
    /// For each isolate the number of records that it has applied.
    isolates: Vec<u8>,
    /// The response that is watched.
    response: Option<Response>,
}

/// A response in transit, or stored where every isolate can read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Response {
    /// The isolate that fetches.
    isolate: usize,
    /// The origin process that answers.
    process: usize,
    /// The writes that the response shows, a bit for each.
    shows: u8,
    /// The origin position of the response.
    position: u8,
    /// The edge sequence number of the response.
    seq: u8,
    is_stored: bool,
}

/// An action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeAction {
    /// A write occurs. `true` stands for a foreign write.
    Write(bool),
    /// An origin process applies the next record.
    Apply(usize),
    /// The record of a write reaches the edge.
    Ship(usize),
    /// An isolate fetches the edge's journal.
    Refresh(usize),
    /// An isolate sends a request to an origin process.
    Fetch(usize, usize),
    /// The response is stored.
    Store,
}

impl Model for EdgeBounds {
    type State = EdgeState;
    type Action = EdgeAction;

    fn init_states(&self) -> Vec<EdgeState> {
        vec![EdgeState { applied: vec![0; self.each], isolates: vec![0; self.each], ..EdgeState::default() }]
    }

    fn actions(&self, state: &EdgeState, actions: &mut Vec<EdgeAction>) {
        if state.writes.len() < self.writes {
            actions.extend([false, true].map(EdgeAction::Write));
        }
        actions.extend((0..self.each).map(EdgeAction::Apply));
        if state.log.len() < self.shipped {
            actions.extend((0..state.writes.len()).map(EdgeAction::Ship));
        }
        actions.extend((0..self.each).map(EdgeAction::Refresh));
        match &state.response {
            None => {
                let each =
                    move |isolate| (0..self.each).map(move |process| EdgeAction::Fetch(isolate, process));
                actions.extend((0..self.each).flat_map(each));
            }
            Some(response) if !response.is_stored => actions.push(EdgeAction::Store),
            Some(_) => {}
        }
    }

    fn next_state(&self, last: &EdgeState, action: EdgeAction) -> Option<EdgeState> {
        let mut state = last.clone();
        match action {
            EdgeAction::Write(is_foreign) => {
                state.records += u8::from(!is_foreign);
                state.writes.push((!is_foreign).then_some(state.records));
            }
            EdgeAction::Apply(process) => {
                state.applied[process] = state.records.min(state.applied[process] + 1);
            }
            EdgeAction::Ship(write) => state.log.push(write),
            EdgeAction::Refresh(isolate) => state.isolates[isolate] = state.log.len() as u8,
            EdgeAction::Fetch(isolate, process) => {
                let position = state.applied[process];
                let seq = state.isolates[isolate];
                let shows = state.shown_at(position);
                state.response = Some(Response { isolate, process, shows, position, seq, is_stored: false });
            }
            EdgeAction::Store => {
                let response = state.response.as_mut()?;
                response.is_stored = true;
                if self.broken == Some(EdgeRule::SeqBeforeFetch) {
                    response.seq = state.isolates[response.isolate];
                }
                if self.broken == Some(EdgeRule::PositionBeforeRequest) {
                    response.position = state.applied[response.process];
                }
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "G7: an isolate serves no response that a purge it has applied covers",
                |bounds: &Self, state: &EdgeState| {
                    bounds.servings(state).all(|(applied, verdict)| {
                        verdict == Verdict::Removed || state.shows_all(&state.log[..applied])
                    })
                },
            ),
            Property::sometimes(
                "a response from before a purge is stored after it",
                |bounds: &Self, state: &EdgeState| {
                    bounds.servings(state).any(|(applied, verdict)| {
                        verdict == Verdict::Removed && !state.shows_all(&state.log[..applied])
                    })
                },
            ),
            Property::sometimes(
                "a response built at a purge is served after it",
                |bounds: &Self, state: &EdgeState| {
                    bounds.servings(state).any(|(applied, verdict)| {
                        verdict == Verdict::Valid && applied > 1 && state.shows_all(&state.log[..applied])
                    })
                },
            ),
        ]
    }
}

impl EdgeBounds {
    /// Returns for each isolate the number of applied records, and its verdict on the stored
    /// response.
    fn servings<'a>(&'a self, state: &'a EdgeState) -> impl Iterator<Item = (usize, Verdict)> + 'a {
        let stored = state.response.filter(|response| response.is_stored).into_iter();
        stored.flat_map(move |response| {
            let compares_origin = self.broken != Some(EdgeRule::OriginPositions);
            let origin = compares_origin.then(|| Position::new(response.position.into(), 0));
            let loaded_at = Stamp { origin, edge: Some(Seq(response.seq.into())) };
            state.isolates.iter().map(move |isolate| {
                let isolate = usize::from(*isolate);
                let mut applied = Applied::new(100);
                for (seq, write) in (1..).zip(&state.log[..isolate]) {
                    let origin = state.writes[*write].map(|at| Position::new(at.into(), 0));
                    let stamp = Stamp { origin, edge: Some(Seq(seq)) };
                    applied.apply(Record { scope: Scope::All.hash(), mode: Mode::Remove, stamp });
                }
                (isolate, applied.verdict([], loaded_at))
            })
        })
    }
}

impl EdgeState {
    /// Returns the writes that a response shows which an origin process builds at this position.
    ///
    /// The process serves no data that it knows to be old, but may serve data that a later record
    /// covers. The data of a foreign writer is not cached at the origin, so a response shows all of
    /// it.
    fn shown_at(&self, position: u8) -> u8 {
        let is_shown = |at: &Option<u8>| at.is_none_or(|at| at <= position);
        (0..).zip(&self.writes).filter(|(_, at)| is_shown(at)).map(|(write, _)| 1 << write).sum()
    }

    /// Returns whether the response shows all of these writes.
    fn shows_all(&self, writes: &[usize]) -> bool {
        self.response.is_none_or(|response| writes.iter().all(|write| response.shows & (1 << write) != 0))
    }
}
