//! The files of orders to the process that runs a canary, beside its journal.
//!
//! `….request` is the order that waits, whole and with an id: its file is made under another name and linked to this one, so that a second sender
//! finds that one waits. The run renames it to `….request.taking`, reads it, obeys, and renames it to `….request.ID.taken`, which its sender waits for.
//! An order to abort that cannot be noted, as on a full disk, is obeyed all the same, and renamed to `….request.ID.ended` once the canary is over. Any
//! other one that cannot be noted is renamed to `….request.ID.refused`, and the canary goes on as it was.
//!
//! Invariants: an order is acknowledged by its own id and only when what it asks for lasts: it is noted, or the canary is over; one that a killed run had
//! taken and not acknowledged waits still; a run obeys no order to another canary.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ark_model::ids::TraceId;
use serde::{Deserialize, Serialize};

use super::error::CanaryError;

/// The longest time between two looks at whether something is asked of the run.
pub(super) const TICK: Duration = Duration::from_millis(50);
/// How long the sender of an order that waited behind another one is given to place it: several of its looks.
const BEHIND: Duration = Duration::from_millis(200);

/// What another process asks of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CanaryOrder {
    /// Keep the share.
    Pause,
    /// Go on.
    Resume,
    /// Go on to the next share now.
    Promote,
    /// Go back.
    Abort,
}

impl CanaryOrder {
    /// The name, as on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote => "promote",
            Self::Abort => "abort",
        }
    }
}

/// Whether what an order asks for outlives a kill from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrderNote {
    /// It is in the journal.
    Noted,
    /// The journal took no entry, and the order is obeyed: it is acknowledged when the canary is over.
    Unnoted,
    /// The journal took no entry, and the order is not obeyed.
    Refused,
}

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderAnswer {
    /// The run has noted it in its journal, and obeys.
    Noted,
    /// The run could not note it, or it could not be placed; it was obeyed all the same, and the canary has gone back.
    Ended,
    /// No process runs the canary, which is free to be taken up.
    NotRun,
}

/// What the file of an order has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OrderContent {
    id: TraceId,
    /// The canary that it is for.
    pub(super) canary: String,
    pub(super) order: CanaryOrder,
}

/// The path of a file of an order, by what follows the journal's name.
fn order_path(journal: &Path, suffix: &str) -> PathBuf {
    let mut path = journal.as_os_str().to_owned();
    path.push(".request");
    path.push(suffix);
    path.into()
}

fn waiting_path(journal: &Path) -> PathBuf {
    order_path(journal, "")
}

fn taking_path(journal: &Path) -> PathBuf {
    order_path(journal, ".taking")
}

fn taken_path(journal: &Path, id: TraceId) -> PathBuf {
    order_path(journal, &format!(".{id}.taken"))
}

fn ended_path(journal: &Path, id: TraceId) -> PathBuf {
    order_path(journal, &format!(".{id}.ended"))
}

fn refused_path(journal: &Path, id: TraceId) -> PathBuf {
    order_path(journal, &format!(".{id}.refused"))
}

/// What a file has; `None`: there is none, or it is no order.
fn read_order(path: &Path) -> Option<OrderContent> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// An order of this process to the one that runs the canary.
pub(super) struct SentOrder {
    journal: PathBuf,
    pub(super) content: OrderContent,
}

impl SentOrder {
    /// An order that is not placed yet.
    pub(super) fn new(journal: &Path, canary: &str, order: CanaryOrder) -> Self {
        Self {
            journal: journal.to_owned(),
            content: OrderContent {
                id: TraceId::fresh(),
                canary: canary.to_owned(),
                order,
            },
        }
    }

    /// The file under which the order is made, and to which it is withdrawn.
    fn own_path(&self) -> PathBuf {
        order_path(&self.journal, &format!(".{}.new", self.content.id))
    }

    /// Places the order, whole. Returns whether it could: not while another one waits.
    ///
    /// # Errors
    /// The file cannot be made.
    pub(super) fn place_order(&self) -> Result<bool, CanaryError> {
        let (own, waiting) = (self.own_path(), waiting_path(&self.journal));
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).open(&own)?;
            file.write_all(&serde_json::to_vec(&self.content)?)
        };
        let placed = write().and_then(|()| match fs::hard_link(&own, &waiting) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        });
        let _removed = fs::remove_file(&own);
        placed.map_err(|cause| CanaryError::Request {
            path: waiting,
            cause,
        })
    }

    /// Whether the order waits still, or is being obeyed.
    pub(super) fn is_waiting(&self) -> bool {
        // In the order in which the run renames it.
        [waiting_path, taking_path]
            .iter()
            .any(|path| read_order(&path(&self.journal)).as_ref() == Some(&self.content))
    }

    /// How the run has acknowledged this order; `None`: it has not. It is told once.
    pub(super) fn find_answer(&self) -> Option<OrderAnswer> {
        let (journal, id) = (&self.journal, self.content.id);
        if fs::remove_file(taken_path(journal, id)).is_ok() {
            return Some(OrderAnswer::Noted);
        }
        let has_ended = fs::remove_file(ended_path(journal, id)).is_ok();
        has_ended.then_some(OrderAnswer::Ended)
    }

    /// Whether the run has refused this order. It is told once.
    pub(super) fn is_refused(&self) -> bool {
        fs::remove_file(refused_path(&self.journal, self.content.id)).is_ok()
    }

    /// Takes the order back, unless it is acknowledged or was never placed.
    pub(super) fn withdraw_order(&self) {
        let own = self.own_path();
        for path in [waiting_path, taking_path].map(|path| path(&self.journal)) {
            if read_order(&path).as_ref() != Some(&self.content) || fs::rename(&path, &own).is_err()
            {
                continue;
            }
            if read_order(&own).as_ref() != Some(&self.content) {
                // The run has taken this one in between, and another sender's was in its place.
                let _put_back = fs::hard_link(&own, &path);
            }
            let _removed = fs::remove_file(&own);
        }
        for path in [taken_path, ended_path, refused_path] {
            let _removed = fs::remove_file(path(&self.journal, self.content.id));
        }
    }

    /// Says, in an error about a run that takes nothing, which order waits before this one.
    pub(super) fn name_waiting(&self, error: CanaryError) -> CanaryError {
        let first = read_order(&waiting_path(&self.journal));
        match first.filter(|first| first.id != self.content.id) {
            Some(first) => CanaryError::Behind {
                waiting: first.order.as_str(),
                cause: Box::new(error),
            },
            None => error,
        }
    }
}

/// The orders to the canary that this process runs.
#[derive(Debug, Clone)]
pub(super) struct OrderInbox {
    journal: PathBuf,
    canary: String,
}

impl OrderInbox {
    pub(super) fn new(journal: &Path, canary: &str) -> Self {
        Self {
            journal: journal.to_owned(),
            canary: canary.to_owned(),
        }
    }

    /// Takes the order that waits; one that an ended run has taken and not acknowledged comes first. What is no order to this canary is removed.
    fn take_order(&self) -> Option<OrderContent> {
        let taking = taking_path(&self.journal);
        if !taking.exists() {
            fs::rename(waiting_path(&self.journal), &taking).ok()?;
        }
        let found = read_order(&taking).filter(|found| found.canary == self.canary);
        if found.is_none() {
            let _removed = fs::remove_file(&taking);
        }
        found
    }

    /// Tells the sender of an order that was taken that it is obeyed.
    fn acknowledge_order(&self, order: &OrderContent) -> io::Result<()> {
        fs::rename(
            taking_path(&self.journal),
            taken_path(&self.journal, order.id),
        )
    }

    /// Tells the sender of an order that was taken that it is refused. Where that cannot be said, it finds that its order is gone.
    fn refuse_order(&self, order: &OrderContent) {
        let taking = taking_path(&self.journal);
        if fs::rename(&taking, refused_path(&self.journal, order.id)).is_err() {
            let _removed = fs::remove_file(&taking);
        }
    }

    /// Waits until `ends`, and has `obey` note what is asked meanwhile; it looks once at least. An order does not shorten the wait. Returns whether the
    /// canary is to go back, by an order or by `stop`: then it is not waited on. An order that `obey` could not note is refused, or left to
    /// [`Self::acknowledge_end`].
    pub(super) fn wait_obeying(
        &self,
        ends: Instant,
        stop: &AtomicBool,
        obey: &mut dyn FnMut(CanaryOrder) -> OrderNote,
    ) -> bool {
        loop {
            if stop.load(Ordering::Relaxed) {
                return true;
            }
            if let Some(taken) = self.take_order() {
                match obey(taken.order) {
                    OrderNote::Noted => {
                        // A sender that has gone waits for nothing; one that is not told finds out by the journal.
                        let _told = self.acknowledge_order(&taken);
                    }
                    OrderNote::Refused => self.refuse_order(&taken),
                    OrderNote::Unnoted => {}
                }
                if taken.order == CanaryOrder::Abort {
                    return true;
                }
            }
            let left = ends.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            std::thread::sleep(TICK.min(left));
        }
    }

    /// Has `obey` note what waits, one order after the other, until nothing does: one that waits behind another is placed once that is taken. Returns
    /// whether the canary is to go back.
    pub(super) fn obey_waiting(
        &self,
        stop: &AtomicBool,
        obey: &mut dyn FnMut(CanaryOrder) -> OrderNote,
    ) -> bool {
        loop {
            let mut has_taken = false;
            let goes_back = self.wait_obeying(Instant::now(), stop, &mut |order| {
                has_taken = true;
                obey(order)
            });
            if goes_back || !has_taken {
                return goes_back;
            }
            std::thread::sleep(BEHIND);
        }
    }

    /// Obeys an order to abort that waits, also behind another one: for a run that takes the canary up, and may come to no step in which it looks. One that
    /// `obey` could not note is left to [`Self::acknowledge_end`].
    pub(super) fn obey_abort(&self, obey: &mut dyn FnMut() -> OrderNote) {
        if let Some((path, found)) = self.find_abort()
            && obey() == OrderNote::Noted
        {
            let _told = fs::rename(&path, taken_path(&self.journal, found.id));
        }
    }

    /// Tells the sender of an order to abort that could not be noted that the canary is over.
    pub(super) fn acknowledge_end(&self) {
        if let Some((path, found)) = self.find_abort() {
            let _told = fs::rename(&path, ended_path(&self.journal, found.id));
        }
    }

    /// The order to abort this canary that waits or was taken, and its file.
    fn find_abort(&self) -> Option<(PathBuf, OrderContent)> {
        let mut paths = [taking_path, waiting_path]
            .map(|path| path(&self.journal))
            .into_iter();
        paths.find_map(|path| {
            let found = read_order(&path)?;
            let aborts = found.canary == self.canary && found.order == CanaryOrder::Abort;
            aborts.then_some((path, found))
        })
    }

    /// Removes what waits: for a canary that begins, which nobody can have meant.
    pub(super) fn discard_orders(&self) {
        for path in [waiting_path, taking_path] {
            let _removed = fs::remove_file(path(&self.journal));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits with an inbox for a time. Returns what was obeyed, and whether it goes back.
    fn wait(inbox: &OrderInbox, time: Duration) -> (Vec<CanaryOrder>, bool) {
        let mut obeyed = Vec::new();
        let stop = AtomicBool::new(false);
        let goes_back = inbox.wait_obeying(Instant::now() + time, &stop, &mut |one| {
            obeyed.push(one);
            OrderNote::Noted
        });
        (obeyed, goes_back)
    }

    #[test]
    fn an_order_does_not_end_the_wait_for_the_next_check_and_an_abort_does() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("canary.journal");
        let inbox = OrderInbox::new(&journal, "canary-1");
        let time = Duration::from_secs(1);
        for order in [CanaryOrder::Pause, CanaryOrder::Resume] {
            let sent = SentOrder::new(&journal, "canary-1", order);
            assert!(sent.place_order().unwrap());
            let began = Instant::now();
            assert_eq!(wait(&inbox, time), (vec![order], false));
            assert!(began.elapsed() >= time);
            assert_eq!(sent.find_answer(), Some(OrderAnswer::Noted));
        }
        SentOrder::new(&journal, "canary-1", CanaryOrder::Abort)
            .place_order()
            .unwrap();
        let (obeyed, goes_back) = wait(&inbox, Duration::from_hours(1));
        assert_eq!((obeyed, goes_back), (vec![CanaryOrder::Abort], true));
        // A signal is seen however short the wait is.
        let stop = AtomicBool::new(true);
        let obey = &mut |_: CanaryOrder| OrderNote::Noted;
        assert!(inbox.wait_obeying(Instant::now(), &stop, obey));
    }

    #[test]
    fn of_several_senders_each_is_told_of_its_own_order_alone() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("canary.journal");
        let inbox = OrderInbox::new(&journal, "canary-1");
        let pause = SentOrder::new(&journal, "canary-1", CanaryOrder::Pause);
        let abort = SentOrder::new(&journal, "canary-1", CanaryOrder::Abort);
        assert!(pause.place_order().unwrap() && !abort.place_order().unwrap());
        assert!(pause.is_waiting() && !abort.is_waiting());
        let behind = abort.name_waiting(CanaryError::Interrupted).to_string();
        assert!(behind.contains("`pause`"), "{behind}");
        assert_eq!(wait(&inbox, Duration::ZERO).0, [CanaryOrder::Pause]);
        assert_eq!(abort.find_answer(), None);
        assert_eq!(pause.find_answer(), Some(OrderAnswer::Noted));
        assert!(!pause.is_waiting());
        assert!(abort.place_order().unwrap());
        // What is withdrawn is not obeyed, and another's order is not withdrawn.
        pause.withdraw_order();
        assert!(abort.is_waiting());
        abort.withdraw_order();
        assert_eq!(wait(&inbox, Duration::ZERO), (Vec::new(), false));
        // That of another canary is not obeyed, and its sender is not told that it was.
        let other = SentOrder::new(&journal, "canary-2", CanaryOrder::Abort);
        assert!(other.place_order().unwrap());
        assert_eq!(wait(&inbox, Duration::ZERO), (Vec::new(), false));
        assert!(!other.is_waiting() && other.find_answer().is_none());
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn orders_that_wait_behind_one_another_are_obeyed_by_one_look() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("canary.journal");
        let inbox = OrderInbox::new(&journal, "canary-1");
        let stop = AtomicBool::new(false);
        let resume = SentOrder::new(&journal, "canary-1", CanaryOrder::Resume);
        let abort = SentOrder::new(&journal, "canary-1", CanaryOrder::Abort);
        assert!(resume.place_order().unwrap() && !abort.place_order().unwrap());
        let mut obeyed = Vec::new();
        let goes_back = inbox.obey_waiting(&stop, &mut |order| {
            if order == CanaryOrder::Resume {
                // The place is free as soon as the order before is taken.
                assert!(abort.place_order().unwrap());
            }
            obeyed.push(order);
            OrderNote::Noted
        });
        assert!(goes_back);
        assert_eq!(obeyed, [CanaryOrder::Resume, CanaryOrder::Abort]);
        for sent in [&resume, &abort] {
            assert_eq!(sent.find_answer(), Some(OrderAnswer::Noted));
        }
        // Where nothing waits, nothing is waited for.
        let obey = &mut |order: CanaryOrder| -> OrderNote { panic!("{order:?}") };
        assert!(!inbox.obey_waiting(&stop, obey));
    }

    #[test]
    fn an_order_that_could_not_be_noted_is_refused_and_one_to_abort_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("canary.journal");
        let inbox = OrderInbox::new(&journal, "canary-1");
        let abort = SentOrder::new(&journal, "canary-1", CanaryOrder::Abort);
        let pause = SentOrder::new(&journal, "canary-1", CanaryOrder::Pause);
        let stop = AtomicBool::new(false);
        assert!(pause.place_order().unwrap());
        let refuse = &mut |_: CanaryOrder| OrderNote::Refused;
        assert!(!inbox.wait_obeying(Instant::now(), &stop, refuse));
        assert!(!pause.is_waiting() && pause.find_answer().is_none());
        assert!(pause.is_refused());
        assert!(!pause.is_refused(), "it is told once");
        // Of two that wait, one to abort is obeyed first, and the other one is not lost.
        assert!(pause.place_order().unwrap());
        assert!(inbox.take_order().is_some(), "a run that is killed here");
        assert!(abort.place_order().unwrap());
        let mut obeyed = 0;
        inbox.obey_abort(&mut || {
            obeyed += 1;
            OrderNote::Noted
        });
        assert!(obeyed == 1 && pause.is_waiting());
        assert_eq!(abort.find_answer(), Some(OrderAnswer::Noted));
        assert_eq!(wait(&inbox, Duration::ZERO).0, [CanaryOrder::Pause]);
        assert_eq!(pause.find_answer(), Some(OrderAnswer::Noted));
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn an_order_to_abort_that_could_not_be_noted_is_acknowledged_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("canary.journal");
        let inbox = OrderInbox::new(&journal, "canary-1");
        let stop = AtomicBool::new(false);
        let unnoted = &mut |_: CanaryOrder| OrderNote::Unnoted;
        let abort = SentOrder::new(&journal, "canary-1", CanaryOrder::Abort);
        assert!(abort.place_order().unwrap());
        let goes_back = inbox.wait_obeying(Instant::now(), &stop, unnoted);
        assert!(goes_back && abort.is_waiting() && abort.find_answer().is_none());
        // Also in the next run, where it is killed meanwhile.
        inbox.obey_abort(&mut || OrderNote::Unnoted);
        assert!(abort.is_waiting() && abort.find_answer().is_none());
        inbox.acknowledge_end();
        assert_eq!(abort.find_answer(), Some(OrderAnswer::Ended));
        assert!(!abort.is_waiting());
        // Another order is none that the end answers.
        let pause = SentOrder::new(&journal, "canary-1", CanaryOrder::Pause);
        assert!(pause.place_order().unwrap());
        inbox.acknowledge_end();
        assert!(pause.is_waiting() && pause.find_answer().is_none());
    }
}
