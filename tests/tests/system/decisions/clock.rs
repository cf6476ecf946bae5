//! The host under a clock that is set forwards and backwards while it runs, with Debian's faketime.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ark_tests::faults::find_faketime;
use ark_tests::{Client, Host, TestDir, ark_program, trade};
use serde_json::json;

const DAY: i64 = 86_400;

/// A clock that hosts read: the real one, shifted by what a file says.
struct ShiftedClock {
    file: PathBuf,
    /// The shift, in seconds.
    shift: i64,
}

impl ShiftedClock {
    fn set_shift(&mut self, shift: i64) {
        self.shift = shift;
        // The host may read at any moment: a file is replaced as a whole.
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{shift:+}\n")).expect("the clock");
        std::fs::rename(&next, &self.file).expect("the clock");
    }

    fn step_clock(&mut self, seconds: i64) {
        self.set_shift(self.shift + seconds);
    }

    fn start_host(&self, place: &TestDir, library: &Path) -> Host {
        let config = place.config();
        let args = ["--config", config.to_str().expect("UTF-8")];
        let environment = [
            ("LD_PRELOAD", library.to_str().expect("UTF-8")),
            (
                "FAKETIME_TIMESTAMP_FILE",
                self.file.to_str().expect("UTF-8"),
            ),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ];
        Host::try_start_program(&ark_program(), &place.data(), &args, &environment)
            .unwrap_or_else(|output| panic!("ark did not start: {output}"))
    }
}

#[test]
fn a_clock_that_crosses_midnight_and_comes_back_finds_the_loss_and_the_windows_again() {
    let library = find_faketime();
    let place = TestDir::new("[capacity]\nreservation_seconds = 600\n");
    let mut clock = ShiftedClock {
        file: place.path().join("clock"),
        shift: 0,
    };
    // Half an hour before midnight (UTC).
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time");
    let now = i64::try_from(now.as_secs()).expect("a time");
    clock.set_shift(DAY - 1_800 - now % DAY);
    let host = clock.start_host(&place, &library);
    let mut client = Client::new(&host);
    let outcome = |client: &mut Client, action: &serde_json::Value, dry: bool| {
        let path = if dry {
            "/v1/actions?dry_run=true"
        } else {
            "/v1/actions"
        };
        let (_, answer) = client.post(path, action);
        (answer["outcome"].clone(), answer["reasons"].to_string())
    };
    let capital = json!({"amount": 1000.0, "reason": "a test"});
    assert_eq!(client.send("PUT", "/v1/account/capital", &capital).0, 200);

    // A reservation, and a trade whose other side is a wash.
    let buy = trade("WASH-USD", 0.06);
    assert_eq!(outcome(&mut client, &buy, false).0, "approved");
    let mut sell = trade("WASH-USD", 0.01);
    sell["parameters"]["side"] = json!("sell");
    sell["parameters"]["stop_loss"] = json!(105.0);
    let is_wash = |client: &mut Client| {
        outcome(client, &sell, true)
            .1
            .contains("no_market_manipulation")
    };
    // Where it is a wash, the clock stays behind the trade, however slow the machine is.
    for (step, washes) in [
        (-3_600, true),
        (3_500, true),
        (50, true),
        (350, false),
        (-400, true),
        (-7_200, true),
        (7_200, true),
    ] {
        clock.step_clock(step);
        assert_eq!(is_wash(&mut client), washes, "after a step of {step} s");
    }

    // The loss of a day is that of the day, whichever way the clock comes to it.
    let result = json!({"amount": -60.0, "reason": "a test"});
    assert_eq!(client.post("/v1/account/results", &result).0, 200);
    let other = trade("BTC-USD", 0.01);
    let is_over =
        |client: &mut Client, dry: bool| outcome(client, &other, dry).1.contains("max_daily_loss");
    assert!(is_over(&mut client, true));
    for (step, over) in [
        (3_600, false),
        (-3_600, true),
        (-DAY, false),
        (DAY, true),
        (2 * DAY, false),
        (-2 * DAY, true),
    ] {
        clock.step_clock(step);
        // A dry run first: it must not move anything that a judgement then misses.
        assert_eq!(is_over(&mut client, true), over, "a dry run after {step} s");
        assert_eq!(
            is_over(&mut client, false),
            over,
            "a judgement after {step} s"
        );
        let (_, account) = client.get("/v1/account");
        let loss = account["daily_loss_pct"].as_f64().expect("a loss");
        assert_eq!(loss > 0.05, over, "{account}");
    }

    // The reservation ended when the clock was ahead; a dry run sees that as a judgement does.
    assert_eq!(
        client.get("/v1/account").1["exposure_pct"]["WASH-USD"],
        json!(null)
    );
    host.kill();
    let host = clock.start_host(&place, &library);
    let mut client = Client::new(&host);
    assert!(is_over(&mut client, true), "a restart forgot the loss");
    assert!(is_wash(&mut client), "a restart forgot the trade");
}
