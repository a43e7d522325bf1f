//! The edge: a shipper, the edge's journal, isolates that lag behind it, and origin processes that lag behind the origin's.
//!
//! It mirrors `edge-worker/src/{journal_object,journal,pipeline}.rs`, and asks `shared_keys::Applied` for verdicts. One
//! response is watched, and one page, which every write changes. Writes through the SDK have a record in the origin's journal,
//! which is shipped in any order and as often as one likes; *foreign* ones purge the edge by themselves.

use shared_keys::{Applied, Mode, Position, Record, Scope, Seq, Stamp, Verdict};
use stateright::{Model, Property};

/// A rule of the edge that can be taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeRule {
    /// Where record and response both have a position of the origin, these are compared.
    OriginPositions,
    /// A response's place in the edge's journal is what its isolate had applied when the fetch began.
    SeqBeforeFetch,
    /// A response's position is what its process had applied when the request began.
    PositionBeforeRequest,
}

/// How far the model goes.
#[derive(Debug, Clone)]
pub struct EdgeBounds {
    /// Writes in total.
    pub writes: usize,
    /// Origin processes, and isolates.
    pub each: usize,
    /// Records that the edge takes in total: some of them twice.
    pub shipped: usize,
    /// The rule that is taken out.
    pub broken: Option<EdgeRule>,
}

/// A state of everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct EdgeState {
    /// The writes so far, each with its position in the origin's journal; `None` for a foreign one.
    writes: Vec<Option<u8>>,
    /// How many records the origin's journal has, and how many of them each process has applied.
    records: u8,
    applied: Vec<u8>,
    /// The edge's journal: which write each record is of.
    log: Vec<usize>,
    /// How many of those each isolate has applied.
    isolates: Vec<u8>,
    /// The response that is watched.
    response: Option<Response>,
}

/// A response, on its way or kept where every isolate can get it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Response {
    /// The isolate that fetches, and the process that answers.
    isolate: usize,
    process: usize,
    /// Which writes it shows, by number.
    shows: u8,
    position: u8,
    seq: u8,
    is_kept: bool,
}

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeAction {
    /// A write; `true` for a foreign one.
    Write(bool),
    /// An origin process applies the next record.
    Apply(usize),
    /// A write's record reaches the edge.
    Ship(usize),
    /// An isolate fetches the edge's journal.
    Refresh(usize),
    /// An isolate asks an origin process.
    Fetch(usize, usize),
    /// The response is kept.
    Keep,
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
                let each = move |isolate| (0..self.each).map(move |process| EdgeAction::Fetch(isolate, process));
                actions.extend((0..self.each).flat_map(each));
            }
            Some(response) if !response.is_kept => actions.push(EdgeAction::Keep),
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
            EdgeAction::Apply(process) => state.applied[process] = state.records.min(state.applied[process] + 1),
            EdgeAction::Ship(write) => state.log.push(write),
            EdgeAction::Refresh(isolate) => state.isolates[isolate] = state.log.len() as u8,
            EdgeAction::Fetch(isolate, process) => {
                let position = state.applied[process];
                // What the process knows to be old it does not serve; what it has not heard of it may. A foreign writer's
                // data is not cached at the origin, so it is as it is now.
                let shown = |at: &Option<u8>| at.is_none_or(|at| at <= position);
                let shows = (0..).zip(&state.writes).filter(|(_, at)| shown(at)).map(|(write, _)| 1 << write).sum();
                let seq = state.isolates[isolate];
                state.response = Some(Response { isolate, process, shows, position, seq, is_kept: false });
            }
            EdgeAction::Keep => {
                let response = state.response.as_mut()?;
                response.is_kept = true;
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
                "G7: an isolate serves nothing that a purge it has applied covers",
                |bounds: &Self, state: &EdgeState| {
                    bounds.servings(state).all(|(isolate, verdict)| {
                        verdict == Verdict::Removed || state.log[..isolate].iter().all(|write| state.shows(*write))
                    })
                },
            ),
            Property::sometimes(
                "a response from before a purge is kept after it",
                |bounds: &Self, state: &EdgeState| {
                    bounds.servings(state).any(|(isolate, verdict)| {
                        verdict == Verdict::Removed && !state.log[..isolate].iter().all(|write| state.shows(*write))
                    })
                },
            ),
            Property::sometimes(
                "a response built at a purge is served after it",
                |bounds: &Self, state: &EdgeState| {
                    let all =
                        |isolate: usize| isolate > 1 && state.log[..isolate].iter().all(|write| state.shows(*write));
                    bounds.servings(state).any(|(isolate, verdict)| verdict == Verdict::Valid && all(isolate))
                },
            ),
        ]
    }
}

impl EdgeBounds {
    /// For each isolate how much of the edge's journal it has applied, and what it says of the response that is kept.
    fn servings<'a>(&'a self, state: &'a EdgeState) -> impl Iterator<Item = (usize, Verdict)> + 'a {
        let kept = state.response.filter(|response| response.is_kept).into_iter();
        kept.flat_map(move |response| {
            let compared = self.broken != Some(EdgeRule::OriginPositions);
            let origin = compared.then(|| Position::new(response.position.into(), 0));
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
    fn shows(&self, write: usize) -> bool {
        self.response.is_none_or(|response| response.shows & (1 << write) != 0)
    }
}
