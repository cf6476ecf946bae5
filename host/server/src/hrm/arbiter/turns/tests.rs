use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::Turns;

/// What served a request: its thread, or a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Thread,
    Caller,
}

enum Request {
    /// Is noted.
    Note(u32),
    /// Is noted; then the server says that it began, and waits until it may go on.
    Hold(u32, Sender<()>, Receiver<()>),
    Panic,
    Stop,
}

/// The numbers of what was served, in this order, and by whom.
type Served = Vec<(u32, By)>;

#[derive(Default)]
struct Log(Served);

impl Log {
    fn serve(&mut self, request: Request, by: By) -> ControlFlow<()> {
        match request {
            Request::Note(number) => self.0.push((number, by)),
            Request::Hold(number, began, go_on) => {
                self.0.push((number, by));
                began.send(()).unwrap();
                go_on.recv().unwrap();
            }
            Request::Panic => panic!("a fault of the test"),
            Request::Stop => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }
}

/// The turns with their queues, as the handle has them.
#[derive(Clone)]
struct Service {
    turns: Arc<Turns<Log>>,
    urgent: Sender<Request>,
    inbox: Sender<Request>,
}

impl Service {
    /// Starts the thread. It returns what it had served when it ended.
    fn start() -> (Self, thread::JoinHandle<Option<Served>>) {
        let (urgent, urgent_queue) = unbounded();
        let (inbox, queue) = unbounded();
        let turns = Arc::new(Turns::new(Log::default()));
        let shared = Arc::clone(&turns);
        let thread = thread::spawn(move || {
            let mut served = None;
            shared.serve_queues(
                (&urgent_queue, &queue),
                |log: &mut Log, request| log.serve(request, By::Thread),
                |log| served = Some(std::mem::take(&mut log.0)),
            );
            served
        });
        let service = Self {
            turns,
            urgent,
            inbox,
        };
        (service, thread)
    }

    fn nothing_waits(&self) -> bool {
        self.urgent.is_empty() && self.inbox.is_empty()
    }

    /// Serves a request at once, or returns it.
    fn serve_if_idle(&self, request: Request) -> Option<Request> {
        self.turns.serve_if_idle(
            request,
            || self.nothing_waits(),
            |_, _| true,
            |log, request| {
                let _ = log.serve(request, By::Caller);
            },
        )
    }

    fn serve_or_queue(&self, request: Request) {
        if let Some(request) = self.serve_if_idle(request) {
            self.inbox.send(request).unwrap();
        }
    }
}

#[test]
fn a_caller_serves_what_is_quick_and_queues_the_rest() {
    let (service, thread) = Service::start();
    service.serve_or_queue(Request::Note(1));
    let slow = service.turns.serve_if_idle(
        Request::Note(2),
        || true,
        |_, _| false,
        |_, _| panic!("it is not quick"),
    );
    service.inbox.send(slow.unwrap()).unwrap();
    service.inbox.send(Request::Stop).unwrap();
    let served = thread.join().unwrap().unwrap();
    assert_eq!(served, [(1, By::Caller), (2, By::Thread)]);
    assert!(service.serve_if_idle(Request::Note(3)).is_some());
}

#[test]
fn what_waits_is_served_before_what_comes_later() {
    let (service, thread) = Service::start();
    let (began, has_begun) = bounded(1);
    let (go_on, may_go_on) = bounded(1);
    service
        .inbox
        .send(Request::Hold(1, began, may_go_on))
        .unwrap();
    has_begun.recv().unwrap();
    // The thread has the turn, and nothing waits.
    service.serve_or_queue(Request::Note(3));
    service.urgent.send(Request::Note(2)).unwrap();
    service.serve_or_queue(Request::Note(4));
    go_on.send(()).unwrap();
    service.inbox.send(Request::Stop).unwrap();
    let served = thread.join().unwrap().unwrap();
    let order: Vec<u32> = served.iter().map(|(number, _)| *number).collect();
    assert_eq!(order, [1, 2, 3, 4]);
}

#[test]
fn what_is_queued_during_a_callers_turn_comes_next() {
    let (service, thread) = Service::start();
    let (began, has_begun) = bounded(1);
    let (go_on, may_go_on) = bounded(1);
    let caller = {
        let service = service.clone();
        thread::spawn(move || service.serve_or_queue(Request::Hold(1, began, may_go_on)))
    };
    has_begun.recv().unwrap();
    service.urgent.send(Request::Note(2)).unwrap();
    service.serve_or_queue(Request::Note(3));
    go_on.send(()).unwrap();
    caller.join().unwrap();
    service.inbox.send(Request::Stop).unwrap();
    let served = thread.join().unwrap().unwrap();
    assert_eq!(served, [(1, By::Caller), (2, By::Thread), (3, By::Thread)]);
}

#[test]
fn a_caller_that_looked_before_something_was_queued_lets_it_pass() {
    let (urgent, _urgent_queue) = unbounded::<Request>();
    let turns = Turns::new(Log::default());
    let has_looked = AtomicBool::new(false);
    let unserved = turns.serve_if_idle(
        Request::Note(2),
        || {
            let is_empty = urgent.is_empty();
            if !has_looked.swap(true, Ordering::Relaxed) {
                urgent.send(Request::Note(1)).unwrap();
            }
            is_empty
        },
        |_, _| true,
        |_, _| panic!("a request waits"),
    );
    assert!(unserved.is_some());
}

#[test]
fn a_request_that_is_sent_within_a_turn_is_queued() {
    let (service, thread) = Service::start();
    let sender = service.clone();
    let unserved = service.turns.serve_if_idle(
        Request::Note(1),
        || true,
        |_, _| true,
        |log, request| {
            sender.serve_or_queue(Request::Note(2));
            let _ = log.serve(request, By::Caller);
        },
    );
    assert!(unserved.is_none());
    service.inbox.send(Request::Stop).unwrap();
    let served = thread.join().unwrap().unwrap();
    assert_eq!(served, [(1, By::Caller), (2, By::Thread)]);
}

#[test]
fn nothing_is_served_after_a_panic() {
    let (service, thread) = Service::start();
    let caller = {
        let service = service.clone();
        thread::spawn(move || service.serve_or_queue(Request::Panic))
    };
    assert!(caller.join().is_err());
    assert!(service.serve_if_idle(Request::Note(1)).is_some());
    service.inbox.send(Request::Note(2)).unwrap();
    // The thread ends without an end of its own, and its queues with it.
    assert_eq!(thread.join().unwrap(), None);
    assert!(service.inbox.send(Request::Note(3)).is_err());
}

#[test]
fn the_thread_ends_when_nobody_can_send_any_more() {
    let (service, thread) = Service::start();
    service.serve_or_queue(Request::Note(1));
    drop(service);
    let served = thread.join().unwrap().unwrap();
    assert_eq!(served.len(), 1);
}

#[test]
fn each_request_is_served_once_and_in_the_order_of_its_caller() {
    const CALLERS: u32 = 8;
    const REQUESTS: u32 = 2_000;
    let (service, thread) = Service::start();
    let start = Arc::new(Barrier::new(CALLERS as usize));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (service, start) = (service.clone(), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                for number in 0..REQUESTS {
                    service.serve_or_queue(Request::Note(caller * REQUESTS + number));
                }
            })
        })
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
    service.inbox.send(Request::Stop).unwrap();
    let served = thread.join().unwrap().unwrap();
    assert_eq!(served.len(), (CALLERS * REQUESTS) as usize);
    for caller in 0..CALLERS {
        let own: Vec<u32> = served
            .iter()
            .map(|(number, _)| *number)
            .filter(|number| number / REQUESTS == caller)
            .collect();
        let expected: Vec<u32> = (caller * REQUESTS..(caller + 1) * REQUESTS).collect();
        assert_eq!(own, expected, "of caller {caller}");
    }
}
