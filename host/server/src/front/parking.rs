//! Parking requests while the owner is away, bounded in number and time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit, watch};

use ark_model::meters::{FrontMeters, ParkEnd};

use super::owner::{OwnerPhase, OwnerStatus};

/// Why a request is not parked any more, or not at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParkError {
    /// As many as may be are parked.
    #[error("{0} requests are parked already")]
    Full(usize),
    /// It was parked for as long as it may be.
    #[error("the request was parked for {0:?}")]
    Expired(Duration),
    /// The front ends.
    #[error("this front is being stopped")]
    Closing,
    /// The owner has no tokens, and other machines can reach the front.
    #[error("the owner is open to everybody: {0}")]
    Unguarded(String),
}

/// Parks requests.
pub(super) struct Parking {
    time: Duration,
    limit: usize,
    places: Semaphore,
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
        Self {
            time,
            limit,
            places: Semaphore::new(limit),
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

    /// Waits until the owner takes requests, until `end` at most.
    ///
    /// # Errors
    /// A bound is reached.
    pub(super) async fn wait_for_owner(&self, end: Instant) -> Result<(), ParkError> {
        let mut owner = self.owner.clone();
        {
            let status = owner.borrow_and_update();
            if status.phase.takes_requests() {
                return Ok(());
            }
            if status.phase == OwnerPhase::Unguarded {
                return Err(ParkError::Unguarded(status.problems.join("; ")));
            }
        }
        let began = Instant::now();
        let Ok(place) = self.places.try_acquire() else {
            self.meters.count_parked(ParkEnd::Full);
            return Err(ParkError::Full(self.limit));
        };
        let place = ParkedPlace::new(self, place);
        let open = owner.wait_for(|status| {
            status.phase.takes_requests() || status.phase == OwnerPhase::Unguarded
        });
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
            Ok(Ok(status)) if status.phase == OwnerPhase::Unguarded => {
                self.meters.count_parked(ParkEnd::Expired);
                Err(ParkError::Unguarded(status.problems.join("; ")))
            }
            Ok(Ok(_)) => {
                self.meters.count_parked(ParkEnd::Sent);
                Ok(())
            }
            Ok(Err(_)) | Err(_) => {
                self.meters.count_parked(ParkEnd::Expired);
                Err(ParkError::Expired(self.time))
            }
        }
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
}

impl<'a> ParkedPlace<'a> {
    fn new(parking: &'a Parking, permit: SemaphorePermit<'a>) -> Self {
        parking.update_level();
        Self {
            parking,
            permit: Some(permit),
        }
    }
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
        let first = tokio::spawn({
            let parking = Arc::clone(&parking);
            async move {
                parking
                    .wait_for_owner(Instant::now() + Duration::from_secs(60))
                    .await
            }
        });
        while parking.has_room() {
            tokio::task::yield_now().await;
        }
        assert_eq!(meters.parked.get(), 1);
        assert_eq!(
            parking.wait_for_owner(parking.end()).await,
            Err(ParkError::Full(1))
        );
        owner.send_replace(make_status(OwnerPhase::Ready));
        assert_eq!(first.await.expect("no panic"), Ok(()));
        assert_eq!(meters.parked.get(), 0);
        owner.send_replace(make_status(OwnerPhase::Away));
        assert_eq!(
            parking.wait_for_owner(parking.end()).await,
            Err(ParkError::Expired(time))
        );
        let ends: Vec<u64> = meters.parked_ends.iter().map(Counter::get).collect();
        assert_eq!(ends, [1, 1, 1]);
        close.send_replace(true);
        let end = Instant::now() + Duration::from_secs(60);
        assert_eq!(parking.wait_for_owner(end).await, Err(ParkError::Closing));
    }
}
