//! A reader of metrics, and a receiver of traces.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

/// Returns the value of a series, which is given as it is written in Prometheus' text format.
#[must_use]
pub fn series_value(metrics: &str, series: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| {
        line.strip_prefix(series)
            .is_some_and(|rest| rest.starts_with(' '))
    })?;
    line.rsplit_once(' ')?.1.parse().ok()
}

/// Starts a receiver of OTLP over HTTP. Returns its address, and the decoded spans as they come.
///
/// # Panics
/// There is no free port.
#[must_use]
pub fn start_receiver() -> (String, Receiver<Vec<Span>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let (sender, spans) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                loop {
                    let mut headers = HashMap::new();
                    let mut first = String::new();
                    if stream.read_line(&mut first).unwrap_or(0) == 0 {
                        return;
                    }
                    assert!(first.starts_with("POST /v1/traces "), "{first}");
                    loop {
                        let mut line = String::new();
                        stream.read_line(&mut line).expect("a header");
                        let Some((name, value)) = line.trim_end().split_once(": ") else {
                            break;
                        };
                        headers.insert(name.to_lowercase(), value.to_owned());
                    }
                    assert_eq!(headers["content-type"], "application/x-protobuf");
                    let length = headers["content-length"].parse().expect("a length");
                    let mut body = vec![0; length];
                    stream.read_exact(&mut body).expect("the body");
                    let request = ExportTraceServiceRequest::decode(&body[..]).expect("protobuf");
                    let all = request
                        .resource_spans
                        .into_iter()
                        .flat_map(|resource| resource.scope_spans)
                        .flat_map(|scope| scope.spans)
                        .collect();
                    let _ = sender.send(all);
                    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
                    stream
                        .get_mut()
                        .write_all(answer.as_bytes())
                        .expect("an answer");
                }
            });
        }
    });
    (format!("http://{address}/v1/traces"), spans)
}
