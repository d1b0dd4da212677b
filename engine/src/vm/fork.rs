//! Parallel and Map: strands begun, joined, and their outputs gathered in order.

use super::Slot;
use super::failure::Raised;
use super::observe::{EventKind, Observer, Told};
use super::strand::{Frame, Life, NO_FRAME, Strand};
use crate::document::Kind;
use crate::program::Program;
use crate::program::op::{ForkId, MapId, NodeId, OpId};
use crate::program::pool::ConcurrencyCode;
use crate::value::{Quota, Value, number};

fn narrow(count: usize) -> u32 {
    u32::try_from(count).expect("counts are bounded by the slot's memory limit")
}

impl Slot {
    /// A Parallel: a strand for each branch on the same input.
    pub(super) fn fork<O: Observer>(&mut self, program: &Program, id: u32, fork: ForkId, cur: Value, observer: &mut O) -> Result<(), Raised> {
        self.within_limit(program, id, cur)?;
        self.memory.share();
        let branches = &program.pools.forks[fork.index()].branches;
        let total = narrow(branches.len());
        self.event(program, observer, id, EventKind::BranchesStarted, Told::Nothing);
        let frame = self.open_frame(id, total, Value::NULL, cur, None)?;
        for (index, &branch) in (0..).zip(branches.iter()) {
            self.spawn(frame, index, branch, cur, id)?;
        }
        Ok(())
    }

    /// A Map: iterations up to the concurrency limit; an empty array ends at once.
    pub(super) fn map<O: Observer>(&mut self, program: &Program, id: u32, map: MapId, cur: Value, observer: &mut O) -> Result<Option<Value>, Raised> {
        self.memory.share();
        let code = &program.pools.maps[map.index()];
        let (items, path_text) = match code.items {
            Some(path) => (self.data_path(program, id, path, cur)?, &*program.path(path).text),
            None => (cur, "$"),
        };
        if items.kind() != Kind::Array {
            return Err(self.raise_runtime(program, id, format_args!("Reference path \"{path_text}\" must point to array.")));
        }
        let limit = self.concurrency(program, id, code.concurrency, cur)?;
        let total = self.view(program).len(items);
        self.event(program, observer, id, EventKind::BranchesStarted, Told::Length(narrow(total)));
        let items = self.spread(program, items, total).map_err(|quota| self.raise_quota(quota))?;
        if total == 0 {
            self.event(program, observer, id, EventKind::BranchesSucceeded, Told::Nothing);
            return Ok(Some(items));
        }
        let frame = self.open_frame(id, narrow(total), items, cur, Some(map))?;
        for _ in 0..limit.min(narrow(total)) {
            self.iterate(program, frame, None, observer)?;
        }
        Ok(None)
    }

    /// MaxConcurrency, or what its path says of the effective input.
    fn concurrency(&mut self, program: &Program, id: u32, code: ConcurrencyCode, cur: Value) -> Result<u32, Raised> {
        let asked = match code {
            ConcurrencyCode::Literal(limit) => limit,
            ConcurrencyCode::Path(path) => {
                let value = self.data_path(program, id, path, cur)?;
                let mut buffer = [0; 20];
                // Recorded for the like fields of a distributed Map: a string that holds an integer will do.
                let limit = match self.view(program).number_text(value, &mut buffer) {
                    Some(text) => number::to_integer(text),
                    None => self.plain(program, value).parse().ok(),
                };
                let text = &program.path(path).text;
                match limit {
                    Some(limit) if limit < 0 => return Err(self.raise_runtime(program, id, format_args!("MaxConcurrency cannot be negative."))),
                    Some(limit) => u32::try_from(limit).unwrap_or(u32::MAX),
                    None => {
                        let shown = self.plain(program, value);
                        return Err(self.raise_runtime(
                            program,
                            id,
                            format_args!("The MaxConcurrencyPath field refers to value \"{shown}\" which is not a valid integer: {text}"),
                        ));
                    }
                }
            }
        };
        let ceiling = self.limits.map_concurrency_max;
        Ok(if asked == 0 { ceiling } else { asked.min(ceiling) })
    }

    /// An array as one of cells, so that its elements are found by number.
    fn spread(&mut self, program: &Program, items: Value, total: usize) -> Result<Value, Quota> {
        let start = self.memory.reserve(total)?;
        self.spread_into(program, items, start, narrow(total));
        Ok(self.memory.finish_array(start, narrow(total)))
    }

    /// Writes the `total` elements of an array to the cells from `start`.
    pub(super) fn spread_into(&mut self, program: &Program, items: Value, start: u32, total: u32) {
        if items.tag() == crate::value::Tag::TokenArray {
            self.memory.spread_tokens(items, start, &program.constants);
        } else {
            for index in 0..total {
                let value = self.view(program).element(items, index as usize).unwrap_or(Value::NULL);
                self.memory.set(start + index, value);
            }
        }
    }

    fn open_frame(&mut self, owner: u32, total: u32, items: Value, input: Value, map: Option<MapId>) -> Result<u32, Raised> {
        if self.frames.len() - self.frames_free.len() >= self.limits.frames_max as usize {
            return Err(self.raise_too_many("Parallel and Map states open at once", self.limits.frames_max));
        }
        let start = match self.memory.reserve(total as usize) {
            Ok(start) => start,
            Err(quota) => return Err(self.raise_quota(quota)),
        };
        let results = self.memory.finish_array(start, total);
        let frame = Frame { owner, items, input, results, total, next: 0, live: 0, map };
        let index = match self.frames_free.pop() {
            Some(free) => {
                self.frames[free as usize] = frame;
                free
            }
            None => {
                self.frames.push(frame);
                narrow(self.frames.len()) - 1
            }
        };
        self.strands[owner as usize].life = Life::Joining(index);
        Ok(index)
    }

    #[cold]
    fn raise_too_many(&mut self, what: &str, limit: u32) -> Raised {
        self.failure.set(crate::error::DATA_LIMIT_EXCEEDED, Some(format_args!("The execution has more than {limit} {what}.")));
        Raised
    }

    pub(super) fn release_frame(&mut self, frame: u32) {
        let frame_data = &mut self.frames[frame as usize];
        frame_data.owner = NO_FRAME;
        frame_data.items = Value::NULL;
        frame_data.input = Value::NULL;
        frame_data.results = Value::NULL;
        self.frames_free.push(frame);
    }

    /// Begins a strand of a frame.
    #[inline]
    fn spawn(&mut self, frame: u32, index: u32, entry: OpId, input: Value, parent: u32) -> Result<u32, Raised> {
        let id = match self.strands_free.pop() {
            Some(free) => free,
            None => self.add_strand()?,
        };
        let last_event = self.strand(parent).last_event;
        self.strand_mut(id).begin(entry, input, frame, index, last_event);
        let frame = &mut self.frames[frame as usize];
        frame.live += 1;
        frame.next = index + 1;
        self.queue.push_back(id);
        Ok(id)
    }

    #[inline(never)]
    fn add_strand(&mut self) -> Result<u32, Raised> {
        if self.strands.len() >= self.limits.strands_max as usize {
            return Err(self.raise_too_many("branches and iterations alive at once", self.limits.strands_max));
        }
        self.strands.push(Strand::new());
        Ok(narrow(self.strands.len()) - 1)
    }

    /// Begins the next iteration of a Map, after `previous` where that has just ended.
    #[inline]
    fn iterate<O: Observer>(&mut self, program: &Program, frame: u32, previous: Option<u32>, observer: &mut O) -> Result<(), Raised> {
        let Frame { owner, items, input, next, map, .. } = self.frames[frame as usize];
        let Some(map) = map else { return Ok(()) };
        let code = &program.pools.maps[map.index()];
        let item = self.memory.cell_of(items, next);
        let value = match code.selector {
            None => item,
            Some(selector) => self.select_item(program, owner, selector, input, (next, item))?,
        };
        let id = self.spawn(frame, next, code.start, value, previous.unwrap_or(owner))?;
        self.event(program, observer, id, EventKind::IterationStarted, Told::Nothing);
        Ok(())
    }

    /// An iteration's ItemSelector, filled in over the Map's input.
    #[inline(never)]
    fn select_item(&mut self, program: &Program, owner: u32, selector: NodeId, input: Value, item: (u32, Value)) -> Result<Value, Raised> {
        self.selecting = Some(item);
        let built = self.build_root(program, owner, selector, input);
        self.selecting = None;
        built
    }

    /// Takes the output of a strand that has ended; the last one lets the owner go on.
    #[inline(never)]
    pub(super) fn join<O: Observer>(&mut self, program: &Program, id: u32, output: Value, observer: &mut O) {
        self.memory.share();
        let strand = self.strand_mut(id);
        strand.life = Life::Free;
        let (frame, index, has_variables) = (strand.frame, strand.index, !strand.variables.is_empty());
        if has_variables {
            self.release_variables(id);
        }
        self.strands_free.push(id);
        let frame_data = &mut self.frames[frame as usize];
        frame_data.live -= 1;
        let Frame { owner, total, next, live, results, map, .. } = *frame_data;
        self.memory.set_element(results, index, output);
        if map.is_some() {
            self.event(program, observer, id, EventKind::IterationSucceeded, Told::Nothing);
            if next < total {
                if self.iterate(program, frame, Some(id), observer).is_err() {
                    // An ItemSelector failed: the Map itself fails, from its owner.
                    self.fail_owner(frame);
                }
                return;
            }
        }
        if live > 0 {
            return;
        }
        if O::LISTENS {
            // A Map goes on from the success of its last iteration, though the iterations follow each other from their last states.
            let last = if map.is_some() { self.events } else { self.strands[id as usize].last_event };
            self.strands[owner as usize].last_event = last;
        }
        self.event(program, observer, owner, EventKind::BranchesSucceeded, Told::Nothing);
        self.release_frame(frame);
        let result = self.memory.finish_elements(results, total);
        let strand = &mut self.strands[owner as usize];
        strand.life = Life::Ready;
        strand.cur = result;
        self.queue.push_back(owner);
    }

    /// Makes the owner of a frame raise the error that is already in the slot, when it next runs.
    #[cold]
    fn fail_owner(&mut self, frame: u32) {
        let owner = self.frames[frame as usize].owner;
        self.pending_failure = Some(owner);
        self.queue.push_front(owner);
    }
}
