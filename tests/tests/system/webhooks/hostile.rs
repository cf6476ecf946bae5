//! Receivers that do not answer, do not stop answering, or are not where they say; and addresses that no webhook may reach.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use ark_tests::{TestDir, wait_until};

use super::receiver::{OK, Reaction, Receiver};
use super::{Hooks, QUICK, SECRET, propose, propose_some};
use crate::api::tls::CertificateAuthority;

#[test]
fn a_receiver_that_answers_badly_costs_bounded_time_and_holds_up_no_other() {
    let good = Receiver::start(&[SECRET]);
    let mut hooks = Hooks::new();
    let limits =
        format!("timeout_ms = 300\nmax_attempts = 2\nevents = [\"ark.decision.*\"]\n{QUICK}");
    let bad: Vec<(Reaction, &str, Receiver)> = [
        (Reaction::Silence, "did not answer in time"),
        (Reaction::Trickle, "in time"),
        (Reaction::EndlessHead, "the answer"),
        (Reaction::Garbage, "cannot be read as HTTP"),
    ]
    .into_iter()
    .map(|(reaction, reason)| {
        let receiver = Receiver::start(&[SECRET]);
        let told = reaction.clone();
        receiver.react(move |_| told.clone());
        (reaction, reason, receiver)
    })
    .collect();
    for (place, (_, _, receiver)) in bad.iter().enumerate() {
        hooks.add(&format!("bad-{place}"), receiver.port, &limits);
    }
    hooks.add("good", good.port, "events = [\"ark.decision.*\"]\n");
    let host = hooks.dir.start();
    let decided = propose_some(&host, 10);
    good.wait_for_decision(&decided[9]);
    assert_eq!(good.decisions(), decided);
    for (place, (reaction, reason, receiver)) in bad.iter().enumerate() {
        wait_until("two dead letters", || {
            let count =
                format!("SELECT count(*) FROM webhook_dead_letters WHERE webhook = 'bad-{place}'");
            hooks.query::<u64>(&count) >= 2
        });
        let why = format!(
            "SELECT reason FROM webhook_dead_letters WHERE webhook = 'bad-{place}' ORDER BY seq LIMIT 1"
        );
        let why: String = hooks.query(&why);
        assert!(why.contains(reason), "{reaction:?}: {why}");
        // Each was tried as often as is configured, in order.
        let tried = receiver.received();
        assert_eq!(tried[0].id, tried[1].id);
        assert_eq!(receiver.decisions()[..2], decided[..2]);
    }
}

#[test]
fn the_end_of_a_host_does_not_wait_for_a_receiver_and_the_event_comes_again() {
    const TIMEOUT: Duration = Duration::from_mins(1);
    let receiver = Receiver::start(&[SECRET]);
    let (taken, is_taken) = std::sync::mpsc::channel();
    receiver.react(move |_| {
        let _ = taken.send(());
        Reaction::Silence
    });
    let mut hooks = Hooks::new();
    let limits = format!("timeout_ms = 60_000\nevents = [\"ark.decision.*\"]\n{QUICK}");
    hooks.add("desk", receiver.port, &limits);
    let host = hooks.dir.start();
    let decided = propose(&host);
    is_taken.recv().expect("an attempt");
    let told = Instant::now();
    assert_eq!(host.terminate(), Some(0));
    assert!(told.elapsed() < TIMEOUT / 2, "{:?}", told.elapsed());
    receiver.react(|_| OK);
    let _host = hooks.dir.start();
    wait_until("the event comes again", || receiver.received().len() == 2);
    let received = receiver.received();
    assert_eq!(received[0].id, received[1].id);
    assert_eq!(received[1].event["data"]["decision_id"], decided.as_str());
}

#[test]
fn an_endless_answer_is_read_in_part_and_the_event_counts_as_delivered() {
    let receiver = Receiver::start(&[SECRET]);
    receiver.react(|_| Reaction::EndlessBody);
    let mut hooks = Hooks::new();
    hooks.add("desk", receiver.port, "events = [\"ark.decision.*\"]\n");
    let host = hooks.dir.start();
    let decided = propose_some(&host, 3);
    receiver.wait_for_decision(&decided[2]);
    assert_eq!(receiver.received().len(), 3);
}

#[test]
fn a_redirect_is_a_failure_and_leads_nowhere() {
    let (target, receiver) = (Receiver::start(&[SECRET]), Receiver::start(&[SECRET]));
    let mut hooks = Hooks::new();
    hooks.add(
        "desk",
        receiver.port,
        &format!("max_attempts = 1\nevents = [\"ark.decision.*\"]\n{QUICK}"),
    );
    let location = format!("http://127.0.0.1:{}/hook", target.port);
    let mut status = [301, 302, 303, 307, 308].into_iter();
    receiver.react(move |_| match status.next() {
        Some(status) => Reaction::Status(status, vec![("Location", location.clone())]),
        None => OK,
    });
    let host = hooks.dir.start();
    let decided = propose_some(&host, 6);
    receiver.wait_for_decision(&decided[5]);
    assert!(target.received().is_empty() && target.faults().is_empty());
    let buried: u64 = hooks.query("SELECT count(*) FROM webhook_dead_letters WHERE reason LIKE '%redirect, which is not followed'");
    assert_eq!(buried, 5);
}

#[test]
fn a_name_that_stands_for_this_machine_is_not_connected_to_unless_it_is_allowed() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a mode");
    let port = listener.local_addr().expect("an address").port();
    let allowed = Receiver::start(&[SECRET]);
    let mut hooks = Hooks::new();
    let limits = format!("max_attempts = 2\nevents = [\"ark.decision.*\"]\n{QUICK}");
    hooks.add_to("closed", &format!("https://localhost:{port}/hook"), &limits);
    hooks.add_to(
        "closed-plain",
        &format!("http://localhost:{port}/hook"),
        &limits,
    );
    let other = format!("allow_networks = [\"10.0.0.0/8\"]\n{limits}");
    hooks.add_to("other", &format!("https://localhost:{port}/hook"), &other);
    let open = format!("allow_networks = [\"127.0.0.1\", \"::1\"]\n{limits}");
    hooks.add_to(
        "open",
        &format!("http://localhost:{}/hook", allowed.port),
        &open,
    );
    let host = hooks.dir.start();
    allowed.wait_for_decision(&propose(&host));
    for name in ["closed", "closed-plain", "other"] {
        let why = format!("SELECT reason FROM webhook_dead_letters WHERE webhook = '{name}'");
        let why: String = hooks.query(&why);
        assert!(why.contains("is not on the public Internet"), "{why}");
    }
    assert!(listener.accept().is_err(), "it was connected to");
}

#[test]
fn tls_is_verified_against_the_operators_authority() {
    let (ours, theirs) = (CertificateAuthority::new(), CertificateAuthority::new());
    let good = Receiver::start_tls(&[SECRET], &ours.certify());
    let foreign = Receiver::start_tls(&[SECRET], &theirs.certify());
    let mut hooks = Hooks::new();
    let ca = ours.write(&hooks.dir.path().join("ca.pem"));
    let limits = format!(
        "allow_networks = [\"127.0.0.1\"]\nmax_attempts = 2\nevents = [\"ark.decision.*\"]\nca_file = \"{}\"\n{QUICK}",
        ca.display()
    );
    hooks.add_to(
        "good",
        &format!("https://127.0.0.1:{}/hook", good.port),
        &limits,
    );
    hooks.add_to(
        "foreign",
        &format!("https://127.0.0.1:{}/hook", foreign.port),
        &limits,
    );
    // Without the authority the public ones count.
    let public = limits.replace(&format!("ca_file = \"{}\"", ca.display()), "");
    hooks.add_to(
        "public",
        &format!("https://127.0.0.1:{}/hook", good.port),
        &public,
    );
    let host = hooks.dir.start();
    let decided = propose_some(&host, 3);
    good.wait_for_decision(&decided[2]);
    assert_eq!(good.decisions(), decided);
    for name in ["foreign", "public"] {
        let why = format!("SELECT reason FROM webhook_dead_letters WHERE webhook = '{name}'");
        let why: String = hooks.query(&why);
        assert!(why.contains("certificate"), "{why}");
    }
    assert!(foreign.received().is_empty());
    // Each event of `good` came once: that of `public` did not arrive.
    assert_eq!(good.received().len(), 3);
}

#[test]
fn a_configuration_that_would_leak_or_never_work_is_refused_with_the_key() {
    let hooks = Hooks::new();
    hooks.write_secrets("desk", &[SECRET]);
    let typed = hooks.dir.path().join("typed.secret");
    std::fs::write(
        &typed,
        "whsec_YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=\n",
    )
    .expect("a file");
    let open = hooks.dir.path().join("open.secret");
    std::fs::copy(hooks.secret_file("desk"), &open).expect("a file");
    let mode = |path, mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(path, mode).expect("a mode");
    };
    mode(&typed, 0o400);
    mode(&open, 0o444);
    let secret = format!("secret_file = \"{}\"", hooks.secret_file("desk").display());
    let url = "url = \"https://consumer.example/hook\"";
    for (config, expected) in [
        (
            format!("url = \"http://consumer.example/\"\n{secret}"),
            "webhooks[0].url is not encrypted",
        ),
        (
            format!("url = \"ftp://consumer.example/\"\n{secret}"),
            "webhooks[0].url is neither",
        ),
        (
            format!("url = \"consumer\"\n{secret}"),
            "webhooks[0].url has no scheme",
        ),
        (
            format!("url = \"https://me:pass@consumer.example/\"\n{secret}"),
            "webhooks[0].url has a user",
        ),
        (
            format!("url = \"https://169.254.169.254/\"\n{secret}"),
            "webhooks[0].url leads to 169.254.169.254",
        ),
        (
            format!("url = \"https://[::ffff:10.0.0.1]/\"\n{secret}"),
            "webhooks[0].url leads to",
        ),
        (
            format!("{url}\nsecret_file = \"{}\"", typed.display()),
            "typed and not drawn",
        ),
        (
            format!("{url}\nsecret_file = \"{}\"", open.display()),
            "chmod 0400",
        ),
        (
            format!("{url}\nsecret_file = \"/nowhere\""),
            "webhooks[0].secret_file cannot be used",
        ),
        (
            format!("{url}\n{secret}\nevents = [\"ark.decisions.*\"]"),
            "webhooks[0].events has",
        ),
        (
            format!("{url}\n{secret}\nevents = []"),
            "webhooks[0].events has 0",
        ),
        (
            format!("{url}\n{secret}\nallow_networks = [\"ten\"]"),
            "webhooks[0].allow_networks has",
        ),
        (
            format!("{url}\n{secret}\nmax_attempts = 0"),
            "webhooks[0].max_attempts is 0; give 1 to 100",
        ),
        (
            format!("{url}\n{secret}\nretry_ms = 500\nmax_retry_ms = 499"),
            "webhooks[0].max_retry_ms is 499",
        ),
        (
            format!("{url}\n{secret}\nca_file = \"/nowhere\""),
            "/nowhere cannot be read",
        ),
        (
            format!("{url}\n{secret}\n[[webhooks]]\nname = \"desk\"\n{url}\n{secret}"),
            "webhooks[1].name",
        ),
    ] {
        let dir = TestDir::new(&format!("[[webhooks]]\nname = \"desk\"\n{config}\n"));
        let output = dir.try_start().err().expect("a refusal");
        assert!(output.contains(expected), "{config}\n{output}");
        assert!(!output.contains("whsec_YWFh"), "{output}");
    }
}
