//! Nodes whose state is kept on disks, under the eyes of the oracle: commits, crashes, disks that fail, backups. Not
//! responsible for when: runs and stories say so.
//!
//! What is demanded beside what `world` demands of any node:
//!
//! - nobody else ever knows a write that is not durable where it was made, and no node says of itself what is not
//!   durable there (the gate);
//! - a disk gives back exactly what the node showed when the last commit on it began, and so does a commit that failed;
//! - a write that was lost, and a dot that a client was told of, name no other write: they are void.

use crate::dice::Dice;
use crate::disk::{Disk, Mark};
use crate::oracle::{Names, Shown, ShownKey};
use crate::world::{World, id, names};
use bytes::Bytes;
use tidings::Dot;
use tidings::proto::codec;
use tidings::proto::config::NodeConfig;
use tidings::proto::durable::{Batch, Identity, Kept, Loader};
use tidings::proto::message::{Changes, Message, Pull, Told};
use tidings::proto::node::Node;
use tidings::proto::time::Now;

/// What a node whose state is kept has beside the node.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) disk: Disk,
    commit: Option<Commit>,
    /// Commits are durable as soon as they begin, but for those that fail.
    prompt: bool,
    /// What the node has been told is durable.
    durable: Mark,
    /// The last of its dots that a client was told of.
    told: u64,
}

/// A commit on its way.
#[derive(Debug)]
struct Commit {
    stage: Stage,
    mark: Mark,
    mends: bool,
}

#[derive(Debug)]
enum Stage {
    Begun(Batch),
    Written,
    Synced,
}

/// What was durable once.
#[derive(Clone, Debug)]
pub(crate) struct Backup(Disk);

impl Storage {
    fn empty() -> Self {
        Self { disk: Disk::default(), commit: None, prompt: true, durable: Mark::default(), told: 0 }
    }
}

impl World {
    /// A node with the next replica id, and with an empty disk.
    pub(crate) fn add_kept(&mut self, now: Now, config: impl FnOnce(&mut NodeConfig)) -> usize {
        self.add_with(now, Some(Storage::empty()), config, |config, now| {
            let identity = Identity { replica: config.replica, cluster: config.cluster };
            let kept = Kept::nothing(identity, config.drift_ms);
            Node::kept(config, kept, now)
        })
    }

    /// A backup under the next replica id, on a disk of its own.
    pub(crate) fn restore(&mut self, backup: &Backup, now: Now, config: impl FnOnce(&mut NodeConfig)) -> usize {
        let disk = backup.0.restored(id(self.members.len()));
        let storage = Storage { durable: disk.mark().clone(), disk: disk.clone(), ..Storage::empty() };
        self.add_with(now, Some(storage), config, |config, now| {
            let kept = disk.load(Loader::new(config.drift_ms));
            Node::kept(config, kept.unwrap_or_else(|damage| panic!("what was restored is damaged: {damage}")), now)
        })
    }

    /// What is durable now, to be restored some day.
    pub(crate) fn back_up(&mut self, who: usize) -> Backup {
        let backup = Backup(self.disk(who).copy());
        self.backed_up.join(&backup.0.mark().shown.known());
        backup
    }

    pub(crate) fn storage(&self, who: usize) -> Option<&Storage> {
        self.members[who].storage.as_ref()
    }

    fn storage_mut(&mut self, who: usize) -> &mut Storage {
        self.members[who].storage.as_mut().expect("its state is kept")
    }

    pub(crate) fn is_kept(&self, who: usize) -> bool {
        self.storage(who).is_some()
    }

    pub(crate) fn is_committing(&self, who: usize) -> bool {
        self.storage(who).is_some_and(|storage| storage.commit.is_some())
    }

    pub(crate) fn disk(&mut self, who: usize) -> &mut Disk {
        &mut self.storage_mut(who).disk
    }

    /// From now on its commits are durable as soon as they begin, or take as long as they take.
    pub(crate) fn set_prompt(&mut self, who: usize, prompt: bool) {
        self.storage_mut(who).prompt = prompt;
    }

    /// A client hears the name of its write as soon as that can be no other's.
    pub(crate) fn tell_client(&mut self, who: usize, dot: Dot) {
        let is_reserved = self.members[who].node.is_reserved(dot);
        if let Some(storage) = self.members[who].storage.as_mut().filter(|_| is_reserved) {
            storage.told = dot.counter;
        }
    }

    // --- Commits

    /// What a driver does after each input: a commit begins, if there is something to be kept.
    pub(crate) fn keep_up(&mut self, who: usize) {
        self.begin_commit(who);
        while self.storage(who).is_some_and(|storage| storage.prompt && storage.commit.is_some()) {
            self.go_on(who);
        }
    }

    fn begin_commit(&mut self, who: usize) {
        if !self.is_kept(who) {
            return;
        }
        if let Some(batch) = self.members[who].node.begin_commit() {
            self.start(who, batch, false);
        }
    }

    /// A disk that has failed is asked whether it takes something again.
    pub(crate) fn begin_mend(&mut self, who: usize) {
        if let Some(batch) = self.members[who].node.begin_mend() {
            self.start(who, batch, true);
        }
    }

    fn start(&mut self, who: usize, batch: Batch, mends: bool) {
        let mut shown = self.look(who);
        let last_write = self.history.last_within(who, shown.context.0[who]);
        if mends {
            shown.context.0[who] = self.history.void_of(who);
        }
        let mark = Mark { last_write, shown };
        let storage = self.storage_mut(who);
        assert!(storage.commit.is_none(), "one commit at a time");
        storage.commit = Some(Commit { stage: Stage::Begun(batch), mark, mends });
    }

    /// The commit under way gets one step further: it is written, synced, the node is told. Or it fails.
    pub(crate) fn go_on(&mut self, who: usize) {
        let Some(storage) = &mut self.members[who].storage else { return };
        let Some(Commit { stage, mark, mends }) = storage.commit.take() else { return };
        let went = match stage {
            Stage::Begun(batch) => storage.disk.write(batch, mark.clone()).map(|()| Some(Stage::Written)),
            Stage::Written => storage.disk.sync().map(|()| Some(Stage::Synced)),
            Stage::Synced => Ok(None),
        };
        match went {
            Ok(Some(stage)) => storage.commit = Some(Commit { stage, mark, mends }),
            Ok(None) => self.tell_durable(who, mark, mends),
            Err(_) => self.tell_failed(who),
        }
        self.begin_commit(who);
    }

    fn tell_durable(&mut self, who: usize, mark: Mark, mends: bool) {
        if mends {
            // What the commit that failed had held is taken back for good, wherever it was.
            self.check_read(who, mark.last_write);
            self.history.forget_after(who, mark.last_write);
        }
        self.stand_ins_are_durable(who, mark.shown.context.0[who]);
        self.storage_mut(who).durable = mark;
        self.act(who, Node::end_commit);
        if mends {
            self.forget_unknown();
        }
    }

    fn tell_failed(&mut self, who: usize) {
        let issued = self.own_counter(who).max(self.history.void_of(who));
        self.history.make_void(who, issued);
        self.forget_stand_ins(who);
        self.act(who, Node::fail_commit);
        assert!(!self.members[who].node.is_writable(), "it takes writes that it cannot keep");
        let (was, is) = (self.storage_mut(who).durable.clone(), self.look(who));
        same(who, &was, &is).unwrap_or_else(|what| panic!("node {who} was rolled back: {what}"));
        self.forget_unknown();
    }

    // --- Crashes

    /// The power fails, and the node starts again with what is on its disk.
    pub(crate) fn crash(&mut self, who: usize, dice: &mut Dice) {
        let mut config = self.config(who).clone();
        config.boot += 1_000;
        let now = self.members[who].now;
        let storage = self.storage_mut(who);
        storage.commit = None;
        self.forget_stand_ins(who);
        let storage = self.storage_mut(who);
        storage.disk.crash(dice);
        storage.durable = storage.disk.mark().clone();
        let (mark, told, torn) = (storage.durable.clone(), storage.told, storage.disk.tear.is_some());
        let loaded = storage.disk.load(Loader::new(config.drift_ms));
        let kept = loaded.unwrap_or_else(|damage| panic!("the disk of node {who} is damaged: {damage}"));
        if !torn {
            let is = self.look_at(kept.map(), now.wall_ms);
            same(who, &mark, &is).unwrap_or_else(|what| panic!("node {who} has read from its disk: {what}"));
        }
        let void_to = kept.map().context().get(id(who));
        assert!(
            void_to >= told,
            "node {who}: a client was told of write {told}, and {void_to} is the last that counts"
        );
        self.check_read(who, mark.last_write);
        self.history.forget_after(who, mark.last_write);
        self.history.make_void(who, void_to);
        self.members[who].node = Node::kept(config, kept, now);
        self.forget_unknown();
        self.look_after(who, void_to);
        self.alive().into_iter().for_each(|other| self.check_gate(other));
    }

    /// A write that nobody knows, and that no disk will bring back, was never made.
    pub(crate) fn forget_unknown(&mut self) {
        let mut known = self.backed_up;
        for who in self.alive() {
            known.join(&self.look(who).known());
            if let Some(storage) = self.storage(who) {
                storage.disk.marks().for_each(|mark| known.join(&mark.shown.known()));
            }
        }
        self.history.forget_beyond(&known);
    }

    /// THE GATE: the node knows no write of another that is not durable there.
    pub(crate) fn check_gate(&self, who: usize) {
        let known = self.known_by(who);
        for (writer, storage) in
            self.members.iter().zip(0..).filter_map(|(m, writer)| Some((writer, m.storage.as_ref()?)))
        {
            let durable = storage.disk.mark().shown.context.0[writer];
            let may_be_known = durable >= known.0[writer] || writer == who;
            assert!(may_be_known, "node {who} knows write {} of {writer}, where {durable} is durable", known.0[writer]);
        }
    }
}

impl Storage {
    /// The gate again, of what a frame says of the node itself: others build on it, and so it must be durable. Of a chunk
    /// that cannot be said: it can only be read with the beginning of its pull, which was looked at.
    pub(crate) fn check_frame(&self, frame: &Bytes) {
        let durable = &self.disk.mark().shown;
        let bounds = durable.keys.iter().fold(Names::default(), |mut all, key| {
            all.join(&key.bound);
            all
        });
        let (said, bound) = match codec::decode(frame, None) {
            Ok(Message::Push(delta)) => (names(delta.snapshot()), Names::default()),
            Ok(Message::Context { context, .. }) => (names(&context), Names::default()),
            // Of what a pull and its beginning say only this names replicas; the rest is told by what differs.
            Ok(
                Message::Pull(Pull { told: Told::Whole { context, bound }, .. }) | Message::Contexts { context, bound },
            ) => (names(&context), names(&bound)),
            Ok(Message::Begin(said)) => {
                let all = |changes: &Changes| names(&changes.new.iter().copied().collect());
                (all(&said.snapshot), all(&said.bound))
            }
            _ => return,
        };
        assert!(
            durable.context.includes(&said),
            "the node says that it knows {said:?}, and {:?} is durable",
            durable.context
        );
        assert!(bounds.includes(&bound), "the node says that it has truncated {bound:?}, and {bounds:?} is durable");
    }
}

/// The node shows what it showed then. Of its own dots there may be more or fewer that are void.
fn same(who: usize, was: &Mark, is: &Shown) -> Result<(), String> {
    let others = |mut names: Names| {
        names.0[who] = 0;
        names
    };
    if others(was.shown.context) != others(is.context) || is.context.0[who] < was.last_write {
        return Err(format!("the context was {:?}, and is {:?}", was.shown.context, is.context));
    }
    for (key, (was, is)) in was.shown.keys.iter().zip(&is.keys).enumerate() {
        let shown = |entry: &ShownKey| (others(entry.context), entry.bound, entry.live.clone());
        if shown(was) != shown(is) {
            return Err(format!("key {key} was {was:?}, and is {is:?}"));
        }
    }
    Ok(())
}
