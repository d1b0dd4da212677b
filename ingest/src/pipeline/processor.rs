//! What a shard does with a record: the engine, or a stand-in of known cost.
//!
//! The shard's loop is generic over [`Processor`], so that the bench's floor runs the very same loop, calls, settings, acknowledgements and marks, with the interpreter replaced by [`Splice`].

use std::collections::BTreeMap;
use std::sync::Arc;

use expressway_engine::document::{Counts, Fault};
use expressway_engine::hir::StateId;
use expressway_engine::{Budget, EffectId, Effects, Failure, Program, Reply, ResourceId, Resumed, Shapes, Silent, Slot, Start, Step, Timestamp};

use super::event_log::Listener;

/// Memory that an idle slot keeps, in bytes: some typical executions' worth. What one large record needed beyond that is given back.
const SLOT_KEEP_BYTES: usize = 256 << 10;
/// The same where many executions have waited at once, so that there are many slots: an execution's worth. A record that ends in the call that begins it uses one slot again and again.
const SLOT_KEEP_BYTES_MANY: usize = 8 << 10;
/// From how many slots on.
const SLOTS_MANY: usize = 64;

/// Runs executions in numbered slots. Belongs to one shard.
pub trait Processor: Send + 'static {
    /// Begins an execution in an idle slot and runs it as far as it goes. When it succeeds, its output has been appended to `output`.
    ///
    /// # Errors
    /// The [`Fault`] that makes `input` unfit. The slot is then idle.
    fn begin(&mut self, slot: u32, input: &[u8], start: &Start<'_>, effects: &mut Effects, output: &mut Vec<u8>) -> Result<Step, Fault>;

    /// Goes on with an execution that yielded or whose effect was answered. When it succeeds, its output has been appended to `output`.
    fn proceed(&mut self, slot: u32, now: Timestamp, effects: &mut Effects, output: &mut Vec<u8>) -> Step;

    /// Takes the answer to an effect.
    fn resume(&mut self, id: EffectId, reply: Reply<'_>) -> Resumed;

    /// Error and cause of an execution that failed or timed out.
    fn failure(&self, slot: u32) -> Failure<'_>;

    /// Appends the execution's name to `out`; only asked where it cannot be put together from the record's position.
    fn write_name(&self, slot: u32, out: &mut Vec<u8>);

    /// The slot's execution has ended and its output was read. Returns how many states it entered.
    fn finish(&mut self, slot: u32) -> u64;

    /// Memory of a slot.
    fn bytes(&self, slot: u32) -> usize {
        let _ = slot;
        0
    }

    /// Ends the slot's execution wherever it is.
    fn abandon(&mut self, slot: u32);

    /// Throws a slot away after a panic inside it. Its number is never used again.
    fn discard(&mut self, slot: u32);

    /// The shard's turn is over.
    fn end_turn(&mut self) {}

    /// The text of a resource of the slot's program.
    fn resource(&self, slot: u32, resource: ResourceId) -> Arc<str>;

    /// The name of a state of the slot's program.
    fn state(&self, slot: u32, state: StateId) -> Arc<str>;

    /// From now on executions begin under `program`; those in the slots of `open` end under the one they began with. Who runs no program has nothing to do.
    fn replace(&mut self, program: &Arc<Program>, open: &[u32]) {
        let _ = (program, open);
    }

    /// How many messages were read by learned shapes, and how many not.
    fn shape_counts(&self) -> Counts {
        Counts::default()
    }
}

/// A program and the texts of its resources.
#[derive(Debug, Clone)]
struct Loaded {
    program: Arc<Program>,
    resources: Arc<[Arc<str>]>,
}

impl Loaded {
    fn new(program: &Arc<Program>) -> Self {
        let resources = program.resources().iter().map(|resource| Arc::from(resource.arn.as_str())).collect();
        Self { program: Arc::clone(program), resources }
    }
}

/// The engine: one program for all executions that begin, a slot per open execution. With the default listener, which hears nothing, no event is ever made.
#[derive(Debug)]
pub struct Engine<L = Silent> {
    current: Loaded,
    /// The programs of open executions that began before the current one came, by slot.
    earlier: BTreeMap<u32, Loaded>,
    slots: Vec<Option<Slot>>,
    /// What all slots have learned of their messages.
    shapes: Shapes,
    budget: Budget,
    listener: L,
}

impl Engine {
    /// An engine that runs `program`.
    #[must_use]
    pub fn new(program: &Arc<Program>) -> Self {
        Self::with_listener(program, Silent)
    }
}

impl<L: Listener> Engine<L> {
    /// An engine that runs `program` and tells `listener` of every event.
    #[must_use]
    pub fn with_listener(program: &Arc<Program>, listener: L) -> Self {
        Self { current: Loaded::new(program), earlier: BTreeMap::new(), slots: Vec::new(), shapes: Shapes::new(), budget: Budget::default(), listener }
    }

    /// The same, learning the shapes of messages or not; it does unless told otherwise.
    #[must_use]
    pub fn with_learned_shapes(mut self, is_on: bool) -> Self {
        self.shapes = if is_on { Shapes::new() } else { Shapes::off() };
        self
    }

    fn loaded(&self, slot: u32) -> &Loaded {
        loaded_of(&self.current, &self.earlier, slot)
    }

    /// What an idle slot keeps.
    fn keep_bytes(&self) -> usize {
        if self.slots.len() < SLOTS_MANY { SLOT_KEEP_BYTES } else { SLOT_KEEP_BYTES_MANY }
    }

    fn used(&self, index: u32) -> &Slot {
        let place = usize::try_from(index).expect("a slot number fits into memory");
        self.slots[place].as_ref().expect("the slot has run an execution")
    }
}

/// The slot of that number, made when it is first asked for. (No method, so that the program can be borrowed beside it.)
fn slot_of(slots: &mut Vec<Option<Slot>>, index: u32) -> &mut Slot {
    let place = usize::try_from(index).expect("a slot number fits into memory");
    while slots.len() <= place {
        let number = u32::try_from(slots.len()).expect("slots are bounded by executions_open_max");
        slots.push(Some(Slot::new(number)));
    }
    slots[place].as_mut().expect("a discarded slot is never used again")
}

/// The program under which the slot's execution began.
fn loaded_of<'e>(current: &'e Loaded, earlier: &'e BTreeMap<u32, Loaded>, slot: u32) -> &'e Loaded {
    if earlier.is_empty() { current } else { earlier.get(&slot).unwrap_or(current) }
}

impl<L: Listener> Processor for Engine<L> {
    fn begin(&mut self, slot: u32, input: &[u8], start: &Start<'_>, effects: &mut Effects, output: &mut Vec<u8>) -> Result<Step, Fault> {
        debug_assert!(!self.earlier.contains_key(&slot), "an execution that ended leaves no program behind");
        let (program, slot) = (&self.current.program, slot_of(&mut self.slots, slot));
        slot.start_with(program, input, start, &mut self.shapes)?;
        let step = slot.run(program, start.now, self.budget, effects, &mut self.listener);
        if step == Step::Succeeded {
            slot.write_output(program, output);
        }
        Ok(step)
    }

    fn proceed(&mut self, slot: u32, now: Timestamp, effects: &mut Effects, output: &mut Vec<u8>) -> Step {
        let program = &loaded_of(&self.current, &self.earlier, slot).program;
        let slot = slot_of(&mut self.slots, slot);
        let step = slot.run(program, now, self.budget, effects, &mut self.listener);
        if step == Step::Succeeded {
            slot.write_output(program, output);
        }
        step
    }

    fn resume(&mut self, id: EffectId, reply: Reply<'_>) -> Resumed {
        let place = usize::try_from(id.slot).expect("a slot number fits into memory");
        let program = &loaded_of(&self.current, &self.earlier, id.slot).program;
        match self.slots.get_mut(place) {
            Some(Some(slot)) => slot.resume(program, id, reply),
            _ => Resumed::Stale,
        }
    }

    fn failure(&self, slot: u32) -> Failure<'_> {
        self.used(slot).failure()
    }

    fn write_name(&self, slot: u32, out: &mut Vec<u8>) {
        self.used(slot).write_name(out);
    }

    fn finish(&mut self, slot: u32) -> u64 {
        if !self.earlier.is_empty() {
            self.earlier.remove(&slot);
        }
        let keep = self.keep_bytes();
        let slot = slot_of(&mut self.slots, slot);
        let transitions = slot.transitions();
        // The next start forgets everything anyway.
        if slot.capacity_bytes() > keep {
            slot.reset(keep);
        }
        transitions
    }

    fn bytes(&self, slot: u32) -> usize {
        self.used(slot).capacity_bytes()
    }

    fn abandon(&mut self, slot: u32) {
        self.earlier.remove(&slot);
        let keep = self.keep_bytes();
        slot_of(&mut self.slots, slot).reset(keep);
    }

    fn discard(&mut self, slot: u32) {
        self.earlier.remove(&slot);
        let place = usize::try_from(slot).expect("a slot number fits into memory");
        if let Some(slot) = self.slots.get_mut(place) {
            *slot = None;
        }
        // The panic may have met them while one was being learned.
        self.shapes = self.shapes.anew();
    }

    fn end_turn(&mut self) {
        self.listener.end_turn();
    }

    fn resource(&self, slot: u32, resource: ResourceId) -> Arc<str> {
        let place = usize::try_from(resource.0).expect("a resource number fits into memory");
        Arc::clone(&self.loaded(slot).resources[place])
    }

    fn state(&self, slot: u32, state: StateId) -> Arc<str> {
        Arc::from(self.loaded(slot).program.state_name(state))
    }

    fn replace(&mut self, program: &Arc<Program>, open: &[u32]) {
        for slot in open {
            self.earlier.entry(*slot).or_insert_with(|| self.current.clone());
        }
        self.current = Loaded::new(program);
    }

    fn shape_counts(&self) -> Counts {
        self.shapes.counts()
    }
}

/// The bench's floor: copies the input and splices constant bytes in before its last byte, so that every execution costs two copies and produces an output of the workflow's mean size.
#[derive(Debug, Clone)]
pub struct Splice {
    insert: Vec<u8>,
}

impl Splice {
    /// Splices in `insert_bytes` bytes.
    #[must_use]
    pub fn new(insert_bytes: usize) -> Self {
        Self { insert: vec![b' '; insert_bytes] }
    }
}

impl Processor for Splice {
    fn begin(&mut self, _: u32, input: &[u8], _: &Start<'_>, _: &mut Effects, output: &mut Vec<u8>) -> Result<Step, Fault> {
        let (head, tail) = input.split_at(input.len().saturating_sub(1));
        output.extend_from_slice(head);
        output.extend_from_slice(&self.insert);
        output.extend_from_slice(tail);
        Ok(Step::Succeeded)
    }

    fn proceed(&mut self, _: u32, _: Timestamp, _: &mut Effects, _: &mut Vec<u8>) -> Step {
        Step::Succeeded
    }

    fn resume(&mut self, _: EffectId, _: Reply<'_>) -> Resumed {
        Resumed::Stale
    }

    fn failure(&self, _: u32) -> Failure<'_> {
        Failure { error: None, cause: None }
    }

    fn write_name(&self, _: u32, _: &mut Vec<u8>) {}

    fn finish(&mut self, _: u32) -> u64 {
        0
    }

    fn abandon(&mut self, _: u32) {}

    fn discard(&mut self, _: u32) {}

    fn resource(&self, _: u32, _: ResourceId) -> Arc<str> {
        Arc::from("")
    }

    fn state(&self, _: u32, _: StateId) -> Arc<str> {
        Arc::from("")
    }
}
