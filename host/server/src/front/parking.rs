//! Parking requests while the owner is away, bounded in number and time. Callers whom the owner has not admitted have a share of the places only: they
//! could take all of them otherwise, since the owner is not there to refuse them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit, watch};

use ark_model::meters::{FrontMeters, ParkEnd};

use super::owner::{OwnerPhase, OwnerStatus};

/// The share of the places that callers may take whom the owner has not admitted, as its divisor. At least one place.
const STRANGERS_DIVISOR: usize = 4;

/// Why a request is not parked any more, or not at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParkError {
    /// As many as may be are parked.
    #[error("{0} requests are parked already")]
    Full(usize),
    /// As many as may be of callers whom the owner has not admitted are parked.
    #[error(
        "{0} requests of callers whom the owner has not admitted since this front started are parked already"
    )]
    StrangersFull(usize),
    /// It was parked for as long as it may be.
    #[error("the request was parked for {0:?}")]
    Expired(Duration),
    /// The front ends.
    #[error("this front is being stopped")]
    Closing,
    /// The owner has no tokens, and other machines can reach the front.
    #[error("the owner is open to everybody: {0}")]
    Unguarded(String),
    /// What answers in the owner's place is no host, and none has answered since the front started.
    #[error("what answers at the owner's address is no host: {0}")]
    NoHost(String),
}

/// Why nothing is passed on to an owner, however long it is waited for; `None`: it may be waited for.
fn find_refusal(status: &OwnerStatus) -> Option<ParkError> {
    if status.phase == OwnerPhase::Unguarded {
        return Some(ParkError::Unguarded(status.problems.join("; ")));
    }
    status
        .is_foreign
        .then(|| ParkError::NoHost(status.problems.join("; ")))
}

/// Parks requests.
pub(super) struct Parking {
    time: Duration,
    limit: usize,
    places: Semaphore,
    /// The places among them for callers whom the owner has not admitted.
    strangers: Semaphore,
    strangers_limit: usize,
    owner: watch::Receiver<OwnerStatus>,
    /// Becomes true when the front ends.
    closing: watch::Receiver<bool>,
    meters: Arc<FrontMeters>,
}

impl Parking {
    pub(super) fn new(
        (time, limit): (Duration, usize),
        (owner, closing): (watch::Receiver<OwnerStatus>, watch::Receiver<bool>),
        meters: Arc<FrontMeters>,
    ) -> Self {
        let strangers_limit = limit.div_ceil(STRANGERS_DIVISOR);
        let hold_for_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        meters.hold_for_ms.set(hold_for_ms);
        Self {
            time,
            limit,
            places: Semaphore::new(limit),
            strangers: Semaphore::new(strangers_limit),
            strangers_limit,
            owner,
            closing,
            meters,
        }
    }

    /// How long a request is parked at most.
    pub(super) const fn time(&self) -> Duration {
        self.time
    }

    /// When a request that arrives now is parked no more.
    pub(super) fn end(&self) -> Instant {
        Instant::now() + self.time
    }

    /// Whether another request could be parked now.
    pub(super) fn has_room(&self) -> bool {
        self.places.available_permits() > 0 && !self.time.is_zero()
    }

    /// Whether the owner has been away for no longer than a request is parked.
    pub(super) fn is_within_time(&self) -> bool {
        self.owner.borrow().since.elapsed() <= self.time
    }

    /// Waits until the owner takes requests, until `end` at most. `is_admitted`: the owner has admitted the caller before.
    ///
    /// # Errors
    /// A bound is reached.
    pub(super) async fn wait_for_owner(
        &self,
        end: Instant,
        is_admitted: bool,
    ) -> Result<(), ParkError> {
        let mut owner = self.owner.clone();
        {
            let status = owner.borrow_and_update();
            if status.phase.takes_requests() {
                return Ok(());
            }
            if let Some(refusal) = find_refusal(&status) {
                return Err(refusal);
            }
        }
        let began = Instant::now();
        let place = self.take_place(is_admitted).inspect_err(|_| {
            self.meters.count_parked(ParkEnd::Full);
        })?;
        let open = owner
            .wait_for(|status| status.phase.takes_requests() || find_refusal(status).is_some());
        let mut closing = self.closing.clone();
        let found = tokio::select! {
            found = tokio::time::timeout_at(end.into(), open) => found,
            _ = closing.wait_for(|closing| *closing) => {
                self.meters.parked_time.record_since(began);
                self.meters.count_parked(ParkEnd::Expired);
                return Err(ParkError::Closing);
            }
        };
        drop(place);
        self.meters.parked_time.record_since(began);
        match found {
            Ok(Ok(status)) => {
                if let Some(refusal) = find_refusal(&status) {
                    self.meters.count_parked(ParkEnd::Expired);
                    return Err(refusal);
                }
                self.meters.count_parked(ParkEnd::Sent);
                Ok(())
            }
            Ok(Err(_)) | Err(_) => {
                self.meters.count_parked(ParkEnd::Expired);
                Err(ParkError::Expired(self.time))
            }
        }
    }

    fn take_place(&self, is_admitted: bool) -> Result<ParkedPlace<'_>, ParkError> {
        let share = if is_admitted {
            None
        } else {
            let share = self.strangers.try_acquire();
            Some(share.map_err(|_| ParkError::StrangersFull(self.strangers_limit))?)
        };
        let place = self.places.try_acquire();
        let place = place.map_err(|_| ParkError::Full(self.limit))?;
        self.update_level();
        Ok(ParkedPlace {
            parking: self,
            permit: Some(place),
            _share: share,
        })
    }

    fn update_level(&self) {
        let parked = self.limit.saturating_sub(self.places.available_permits());
        self.meters.parked.set(parked as u64);
    }
}

/// The place of a parked request. Given up, it is counted no more.
struct ParkedPlace<'a> {
    parking: &'a Parking,
    permit: Option<SemaphorePermit<'a>>,
    /// Its place in the share of callers whom the owner has not admitted.
    _share: Option<SemaphorePermit<'a>>,
}

impl Drop for ParkedPlace<'_> {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.parking.update_level();
    }
}

#[cfg(test)]
mod tests {
    use ark_model::meters::Counter;

    use super::*;

    fn make_status(phase: OwnerPhase) -> OwnerStatus {
        OwnerStatus::for_test(phase)
    }

    #[tokio::test]
    async fn requests_are_parked_in_number_and_time() {
        let (owner, watched) = watch::channel(make_status(OwnerPhase::Away));
        let meters = Arc::new(FrontMeters::default());
        let time = Duration::from_millis(200);
        let (close, closing) = watch::channel(false);
        let parking = Arc::new(Parking::new(
            (time, 1),
            (watched, closing),
            Arc::clone(&meters),
        ));
        assert_eq!(meters.hold_for_ms.get(), 200);
        let first = tokio::spawn({
            let parking = Arc::clone(&parking);
            async move {
                parking
                    .wait_for_owner(Instant::now() + Duration::from_secs(60), true)
                    .await
            }
        });
        while parking.has_room() {
            tokio::task::yield_now().await;
        }
        assert_eq!(meters.parked.get(), 1);
        assert_eq!(
            parking.wait_for_owner(parking.end(), true).await,
            Err(ParkError::Full(1))
        );
        owner.send_replace(make_status(OwnerPhase::Ready));
        assert_eq!(first.await.expect("no panic"), Ok(()));
        assert_eq!(meters.parked.get(), 0);
        owner.send_replace(make_status(OwnerPhase::Away));
        assert_eq!(
            parking.wait_for_owner(parking.end(), true).await,
            Err(ParkError::Expired(time))
        );
        let ends: Vec<u64> = meters.parked_ends.iter().map(Counter::get).collect();
        assert_eq!(ends, [1, 1, 1]);
        close.send_replace(true);
        let end = Instant::now() + Duration::from_secs(60);
        assert_eq!(
            parking.wait_for_owner(end, true).await,
            Err(ParkError::Closing)
        );
    }

    #[tokio::test]
    async fn strangers_take_a_share_of_the_places_only() {
        let (owner, watched) = watch::channel(make_status(OwnerPhase::Away));
        let meters = Arc::new(FrontMeters::default());
        let (_close, closing) = watch::channel(false);
        let parking = Arc::new(Parking::new(
            (Duration::from_secs(60), 8),
            (watched, closing),
            Arc::clone(&meters),
        ));
        let park = |is_admitted: bool| {
            let parking = Arc::clone(&parking);
            tokio::spawn(async move { parking.wait_for_owner(parking.end(), is_admitted).await })
        };
        let wait_for_level = async |level: u64| {
            while meters.parked.get() != level {
                tokio::task::yield_now().await;
            }
        };
        let mut parked = vec![park(false), park(false)];
        wait_for_level(2).await;
        assert_eq!(
            parking.wait_for_owner(parking.end(), false).await,
            Err(ParkError::StrangersFull(2))
        );
        assert!(parking.has_room());
        parked.extend((0..6).map(|_| park(true)));
        wait_for_level(8).await;
        assert!(!parking.has_room());
        assert_eq!(
            parking.wait_for_owner(parking.end(), true).await,
            Err(ParkError::Full(8))
        );
        owner.send_replace(make_status(OwnerPhase::Ready));
        for one in parked {
            assert_eq!(one.await.expect("no panic"), Ok(()));
        }
        // The share is free again.
        owner.send_replace(make_status(OwnerPhase::Away));
        let again = park(false);
        wait_for_level(1).await;
        let mut status = make_status(OwnerPhase::Away);
        status.is_foreign = true;
        owner.send_replace(status);
        let refused = again.await.expect("no panic");
        assert!(matches!(refused, Err(ParkError::NoHost(_))), "{refused:?}");
    }
}
