//! Kept connections: which requests failed only because the server closed one.
//!
//! Invariant: a failure is marked as [`StaleConnection`] if the connection had served a request before and no byte of this answer came. A request that
//! takes too long is none: the connection stands.

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// A kept connection ended before a byte of the answer came: the server may have closed it before it saw the request.
#[derive(Debug, thiserror::Error)]
#[error("a kept connection ended before the answer came: {0}")]
pub(crate) struct StaleConnection(#[source] pub(crate) Error);

/// Finds out whether a request failed with a kept connection; otherwise returns the error.
pub(crate) fn find_stale(error: Error) -> Result<StaleConnection, Error> {
    match error {
        Error::Other(other) => other
            .downcast::<StaleConnection>()
            .map(|stale| *stale)
            .map_err(Error::Other),
        error => Err(error),
    }
}

/// Has each connection know whether it was used before.
#[derive(Debug)]
pub(crate) struct KeptConnector;

impl<In: Transport> Connector<In> for KeptConnector {
    type Out = KeptTransport<In>;

    fn connect(
        &self,
        _details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(|connection| KeptTransport {
            connection,
            is_kept: false,
            has_answer: false,
        }))
    }
}

/// A connection that is kept between requests.
#[derive(Debug)]
pub(crate) struct KeptTransport<T> {
    connection: T,
    /// Whether it has served a request.
    is_kept: bool,
    /// Whether a byte came since the last request began.
    has_answer: bool,
}

impl<T> KeptTransport<T> {
    fn mark_stale(&self, error: Error) -> Error {
        // Through a proxy the connection to it lies within that to the host, and has marked the error already.
        let is_marked = matches!(error, Error::Other(_));
        let is_late = matches!(error, Error::Timeout(_));
        if self.is_kept && !self.has_answer && !is_marked && !is_late {
            Error::Other(Box::new(StaleConnection(error)))
        } else {
            error
        }
    }
}

impl<T: Transport> Transport for KeptTransport<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.connection.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.connection
            .transmit_output(amount, timeout)
            .map_err(|error| self.mark_stale(error))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        match self.connection.await_input(timeout) {
            Ok(true) => {
                self.has_answer = true;
                Ok(true)
            }
            Ok(false) if self.is_kept && !self.has_answer => {
                let ended = std::io::Error::new(
                    std::io::ErrorKind::UnexpectedEof,
                    "the server closed the connection",
                );
                Err(self.mark_stale(Error::Io(ended)))
            }
            Ok(false) => Ok(false),
            Err(error) => Err(self.mark_stale(error)),
        }
    }

    /// Asked when a request is done, and before the next one begins.
    fn is_open(&mut self) -> bool {
        self.is_kept = true;
        self.has_answer = false;
        self.connection.is_open()
    }

    fn is_tls(&self) -> bool {
        self.connection.is_tls()
    }
}
