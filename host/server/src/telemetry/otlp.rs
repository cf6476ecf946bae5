//! Traces to an OTLP endpoint (OTLP over HTTP, protobuf), when one is configured.
//!
//! One thread takes the parts' spans, links messages with the signals they became, and sends batches. An endpoint that is slow or gone costs
//! spans (counted in `ark_spans_total`), never a decision.

use std::collections::{HashMap, VecDeque};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use opentelemetry::trace::{
    SpanContext, SpanId as OtelSpanId, SpanKind, Status, TraceFlags, TraceId as OtelTraceId,
    TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};

use super::error::TelemetryError;
use ark_model::ids::{Name, TraceId};
use ark_model::loopback::is_loopback_host;
use ark_model::meters::{Span, SpanId, SpanLink, SpanSink};

/// How many spans may wait for the exporter; further ones are dropped.
pub const SPAN_QUEUE_LENGTH: usize = 16_384;
/// The most spans in one request.
const MAX_BATCH_SPANS: usize = 512;
/// How long a span waits at most for others of its batch.
const MAX_BATCH_DELAY: Duration = Duration::from_secs(1);
/// How long the endpoint may take for one request.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// The most messages that wait for their signals; beyond it the signals of the oldest get no parent.
const MAX_PENDING_LINKS: usize = 65_536;

/// The exporter's thread. It ends, with what it holds sent, on [`TraceExporter::close`].
pub struct TraceExporter {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl TraceExporter {
    /// Starts the thread that sends the spans of `out` to `endpoint` and records in `spans` whether they arrived.
    ///
    /// # Errors
    /// The client or the thread cannot be made.
    pub fn start(
        endpoint: &str,
        out: Receiver<Span>,
        spans: SpanSink,
    ) -> Result<Self, TelemetryError> {
        let mut exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(OtlpClient::new())
            .with_endpoint(endpoint)
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|error| TelemetryError::Otlp(error.into()))?;
        let resource = Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", "ark"),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            ])
            .build();
        exporter.set_resource(&resource);
        // The exporter is async; the client behind it blocks.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| TelemetryError::Otlp(error.into()))?;
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let thread = std::thread::Builder::new()
            .name("ark-otlp".to_owned())
            .spawn(move || {
                let mut linker = SpanLinker::default();
                let mut warned: Option<Instant> = None;
                loop {
                    let (batch, last) = collect_batch(&out, &stopped);
                    if !batch.is_empty() {
                        let count = batch.len() as u64;
                        let data = linker.link_spans(batch);
                        let sent = runtime.block_on(exporter.export(data));
                        spans.record_export(count, sent.is_ok());
                        if let Err(error) = sent
                            && warned.is_none_or(|at| at.elapsed() > Duration::from_mins(1))
                        {
                            warned = Some(Instant::now());
                            tracing::warn!(%error, spans = count, "traces cannot be exported");
                        }
                    }
                    if last {
                        break;
                    }
                }
            })
            .map_err(TelemetryError::Thread)?;
        Ok(Self { stop, thread })
    }

    /// Sends the spans that wait and ends the thread.
    pub fn close(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the exporter of traces ended in a panic");
        }
    }
}

/// Collects the spans of up to [`MAX_BATCH_DELAY`], or as many as go into one request. Returns them, and whether they are the last ones.
fn collect_batch(out: &Receiver<Span>, stopped: &Receiver<()>) -> (Vec<Span>, bool) {
    let until = Instant::now() + MAX_BATCH_DELAY;
    let mut batch = Vec::new();
    while batch.len() < MAX_BATCH_SPANS {
        let left = until.saturating_duration_since(Instant::now());
        match out.recv_timeout(left) {
            Ok(span) => batch.push(span),
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => return (batch, true),
        }
    }
    let over = stopped.try_recv() == Err(crossbeam_channel::TryRecvError::Disconnected);
    // Spans that came before the end are sent too.
    (batch, over && out.is_empty())
}

/// A message: its trace, its sender and its depth in the trace.
type LinkKey = (TraceId, Option<Name>, u32);

/// Links each signal of the outbox to the decision that sent it. The outbox is delivered in the order in which it was filled, so the first
/// message of a sender at one depth of a trace becomes the first signal there.
#[derive(Default)]
struct SpanLinker {
    /// The decisions whose messages wait for their signals, in order.
    sends: HashMap<LinkKey, VecDeque<SpanId>>,
    /// The keys in `sends`, oldest first, one for each decision.
    order: VecDeque<LinkKey>,
}

impl SpanLinker {
    fn link_spans(&mut self, batch: Vec<Span>) -> Vec<SpanData> {
        // First all decisions, then all signals: a batch may hold them in the other order.
        for span in &batch {
            if let Some(SpanLink::Sends { sender, depth }) = &span.link {
                let key = (span.trace_id, sender.clone(), *depth);
                self.sends
                    .entry(key.clone())
                    .or_default()
                    .push_back(span.id);
                self.order.push_back(key);
                if self.order.len() > MAX_PENDING_LINKS
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.take_parent(&oldest);
                }
            }
        }
        batch
            .into_iter()
            .map(|mut span| {
                if let Some(SpanLink::Sent { sender, depth }) = span.link.take() {
                    span.parent = self.take_parent(&(span.trace_id, sender, depth));
                }
                to_span_data(span)
            })
            .collect()
    }

    fn take_parent(&mut self, key: &LinkKey) -> Option<SpanId> {
        let waiting = self.sends.get_mut(key)?;
        let first = waiting.pop_front();
        if waiting.is_empty() {
            self.sends.remove(key);
        }
        first
    }
}

fn to_span_data(span: Span) -> SpanData {
    let trace_id = OtelTraceId::from_bytes(span.trace_id.to_bytes());
    let otel = |id: SpanId| OtelSpanId::from_bytes(id.0.to_be_bytes());
    SpanData {
        span_context: SpanContext::new(
            trace_id,
            otel(span.id),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: span.parent.map_or(OtelSpanId::INVALID, otel),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: span.name.into(),
        start_time: span.started,
        end_time: span.ended,
        attributes: span
            .attributes
            .into_iter()
            .map(|(name, value)| KeyValue::new(name, value))
            .collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: span.failure.map_or(Status::Unset, Status::error),
        instrumentation_scope: InstrumentationScope::builder("ark").build(),
    }
}

/// The host's HTTP client in the form that OpenTelemetry takes. It blocks the exporter's thread.
#[derive(Debug)]
struct OtlpClient {
    agent: ureq::Agent,
}

impl OtlpClient {
    fn new() -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(EXPORT_TIMEOUT))
            .build()
            .into();
        Self { agent }
    }
}

#[async_trait]
impl HttpClient for OtlpClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let is_here = is_loopback_host(head.uri.host().unwrap_or_default());
        let request = Request::from_parts(head, body.to_vec());
        let response = if is_here {
            // A collector on this machine is reached directly, whatever proxies the environment names.
            let request = self.agent.configure_request(request).proxy(None).build();
            self.agent.run(request)
        } else {
            self.agent.run(request)
        };
        let (head, mut body) = response?.into_parts();
        // ureq reads at most 10 MB.
        let body = body.read_to_vec()?;
        Ok(Response::from_parts(head, body.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn make_span(id: u64, trace_id: TraceId, link: Option<SpanLink>) -> Span {
        Span {
            trace_id,
            id: SpanId(id),
            parent: None,
            name: "ark.signal",
            started: SystemTime::UNIX_EPOCH,
            ended: SystemTime::UNIX_EPOCH,
            attributes: Vec::new(),
            failure: None,
            link,
        }
    }

    #[test]
    fn signals_hang_below_the_decisions_that_sent_them_in_order() {
        let trace = TraceId::fresh();
        let sender: Option<Name> = Some("kyle".parse().unwrap());
        let sends = || SpanLink::Sends {
            sender: sender.clone(),
            depth: 1,
        };
        let sent = || SpanLink::Sent {
            sender: sender.clone(),
            depth: 1,
        };
        let mut linker = SpanLinker::default();
        let batch = vec![
            make_span(10, trace, Some(sent())),
            make_span(1, trace, Some(sends())),
            make_span(2, trace, Some(sends())),
            make_span(11, TraceId::fresh(), Some(sent())),
        ];
        let parents: Vec<OtelSpanId> = linker
            .link_spans(batch)
            .iter()
            .map(|data| data.parent_span_id)
            .collect();
        let id = |id: u64| OtelSpanId::from_bytes(id.to_be_bytes());
        let none = OtelSpanId::INVALID;
        assert_eq!(parents, [id(1), none, none, none]);
        let later = linker.link_spans(vec![make_span(12, trace, Some(sent()))]);
        assert_eq!(later[0].parent_span_id, id(2));
        assert!(linker.sends.is_empty());
    }
}
