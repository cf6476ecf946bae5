//! Tickets for event streams, for browsers: an `EventSource` cannot send a token in a header, and a token in an address would stay in histories and logs.
//!
//! Invariants: a ticket admits to one stream, once, soon after it was issued, as the one who asked for it; it ends with the token it was issued to. The
//! host keeps digests only, a bounded number for each caller and in all, and in memory: a restart ends them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ark_model::ids::Digest;
use parking_lot::Mutex;

/// How long a ticket may be used.
pub(crate) const LIFETIME: Duration = Duration::from_secs(30);
/// The most tickets of one caller that are not used yet.
const MAX_OF_CALLER: usize = 64;
/// The most in all.
const MAX_IN_ALL: usize = 4_096;

/// The digest of the token with which a call came; absent: it came without one, on a host that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenUsed(pub(crate) Option<Digest>);

/// Why no ticket is issued.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TicketRefusal {
    /// The caller has this many that are not used yet.
    OfCaller(usize),
    /// There are this many in all.
    InAll(usize),
}

/// The tickets that may be used.
#[derive(Default)]
pub(crate) struct Tickets {
    open: Mutex<HashMap<Digest, Ticket>>,
}

struct Ticket {
    holder: TokenUsed,
    ends_at: Instant,
}

impl Tickets {
    /// Keeps a ticket, by its digest.
    ///
    /// # Errors
    /// There are too many that are not used yet.
    pub(crate) fn issue(&self, ticket: Digest, holder: TokenUsed) -> Result<(), TicketRefusal> {
        self.issue_at(ticket, holder, Instant::now())
    }

    fn issue_at(
        &self,
        ticket: Digest,
        holder: TokenUsed,
        now: Instant,
    ) -> Result<(), TicketRefusal> {
        let mut open = self.open.lock();
        open.retain(|_, ticket| ticket.ends_at > now);
        let own = open.values().filter(|it| it.holder == holder).count();
        if own >= MAX_OF_CALLER {
            return Err(TicketRefusal::OfCaller(own));
        }
        if open.len() >= MAX_IN_ALL {
            return Err(TicketRefusal::InAll(open.len()));
        }
        let ends_at = now + LIFETIME;
        open.insert(ticket, Ticket { holder, ends_at });
        Ok(())
    }

    /// Uses a ticket up. Returns whose it is, if it may be used.
    pub(super) fn redeem(&self, secret: &str) -> Option<TokenUsed> {
        self.redeem_at(&Digest::hash_bytes(secret.as_bytes()), Instant::now())
    }

    fn redeem_at(&self, ticket: &Digest, now: Instant) -> Option<TokenUsed> {
        let mut open = self.open.lock();
        let ticket = open.remove(ticket)?;
        (ticket.ends_at > now).then_some(ticket.holder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make_digest(number: usize) -> Digest {
        Digest::hash_bytes(&number.to_le_bytes())
    }

    #[test]
    fn a_ticket_is_used_once_and_in_time() {
        let tickets = Tickets::default();
        let (now, holder) = (Instant::now(), TokenUsed(Some(make_digest(0))));
        tickets.issue_at(make_digest(1), holder, now).unwrap();
        tickets.issue_at(make_digest(2), holder, now).unwrap();
        let soon = now + LIFETIME.mul_f64(0.9);
        assert_eq!(tickets.redeem_at(&make_digest(1), soon), Some(holder));
        assert_eq!(tickets.redeem_at(&make_digest(1), soon), None);
        assert_eq!(tickets.redeem_at(&make_digest(2), now + LIFETIME), None);
        assert_eq!(tickets.redeem_at(&make_digest(3), now), None);
    }

    #[test]
    fn tickets_are_bounded_for_each_caller_and_in_all_and_end() {
        let tickets = Tickets::default();
        let now = Instant::now();
        for caller in 0..MAX_IN_ALL / MAX_OF_CALLER {
            let holder = TokenUsed(Some(make_digest(caller)));
            for number in 0..MAX_OF_CALLER {
                let ticket = make_digest(1 + caller * MAX_OF_CALLER + number);
                assert_eq!(tickets.issue_at(ticket, holder, now), Ok(()));
            }
            let refused = Err(TicketRefusal::OfCaller(MAX_OF_CALLER));
            assert_eq!(tickets.issue_at(make_digest(9_999), holder, now), refused);
        }
        let other = TokenUsed(None);
        let refused = Err(TicketRefusal::InAll(MAX_IN_ALL));
        assert_eq!(tickets.issue_at(make_digest(9_999), other, now), refused);
        assert_eq!(
            tickets.issue_at(make_digest(9_999), other, now + LIFETIME),
            Ok(())
        );
    }
}
