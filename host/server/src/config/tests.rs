//! The sources one over the other, and what is refused.

use std::path::PathBuf;

use ark_model::ids::Name;
use ark_runtime::Limits;

use crate::telemetry::TelemetryListen;

use super::*;

fn merge_layers(
    toml: &str,
    environment: &[(&str, &str)],
    flags: &Overrides,
) -> Result<Layers, String> {
    let variables = environment
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    Layers::merge(Some(("ark.toml".into(), toml)), variables, flags)
        .map_err(|error| error.to_string())
}

fn resolve_text(toml: &str) -> Result<Config, String> {
    resolve_all(toml, &[])
}

fn resolve_all(toml: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
    let layers = merge_layers(toml, environment, &Overrides::default())?;
    Config::from_layers(&layers).map_err(|error| error.to_string())
}

#[test]
fn a_time_or_a_size_may_have_a_unit_wherever_it_is_given() {
    let config = resolve_all(
        "[capacity]\ndrain_ms = \"20s\"\n[limits]\nmemory_bytes = \"64MiB\"\n",
        &[
            ("ARK_WATCHDOG_STORE_CHECK_HOURS", "2d"),
            ("ARK_CAPACITY_APPROVAL_SECONDS", "90"),
        ],
    )
    .unwrap();
    assert_eq!(config.drain.as_secs(), 20);
    assert_eq!(config.limits.memory_bytes, 64 << 20);
    assert_eq!(config.watchdog.store_check_interval.as_secs(), 48 * 3_600);
    for (toml, said) in [
        (
            "[capacity]\ndrain_ms = \"soon\"",
            "capacity.drain_ms is \"soon\"; give a time such as 500ms, 30s, 10m or 2h",
        ),
        (
            "[capacity]\nworkers = \"many\"",
            "capacity.workers is string \"many\"; give a whole number, e.g. workers = 16",
        ),
        (
            "[capacity]\nworkers = -1",
            "give a whole number, e.g. workers = 16",
        ),
        ("[capacity]\nworkers = 0", ", e.g. workers = 16"),
        (
            "[capacity]\nsignal_ttl_ms = 0",
            "capacity.signal_ttl_ms is 0; give 1 or more, e.g. signal_ttl_ms = 1",
        ),
        (
            "behind_proxy = 1",
            "behind_proxy is integer `1`; give true or false, e.g. behind_proxy = false",
        ),
    ] {
        let refused = resolve_text(toml).err().unwrap();
        assert!(refused.contains(said), "{refused}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn what_is_wrong_is_named() {
    for (toml, named) in [
        ("data_dri = \"x\"", "data_dri"),
        ("listen = \"0.0.0.0:8000\"", "loopback"),
        ("listen = \"here\"", "listen"),
        ("submitters = [\"A B\"]", "submitters"),
        ("[limits]\nfuel = 0", "limits.fuel"),
        ("[limits]\nmemory_bytes = 1", "limits.memory_bytes"),
        ("[capacity]\nworkers = 0", "capacity.workers"),
        ("[limits]\nconcurrency = 0", "limits.concurrency"),
        ("[limits]\nfule = 1", "fule"),
        ("[watchdog]\nheartbeat_ms = 60000", "watchdog.heartbeat_ms"),
        ("[watchdog]\nfailure_rate = nan", "watchdog.failure_rate"),
        ("[watchdog]\nwarning = 0.95", "watchdog.warning"),
        ("[watchdog]\nhartbeat_ms = 1", "hartbeat_ms"),
        ("[watchdog]\nredis_url = \"here\"", "watchdog.redis_url"),
        ("[[policies]]\nfile = \"p.wasm\"\nsha256 = \"12\"", "sha256"),
        ("[lists]\nrestricted = []", "restricted"),
        (
            "[lists]\nrestricted_symbols = [\"A\", \"--\"]",
            "lists.restricted_symbols[1]",
        ),
        (
            "[lists]\nclient_orders = [\"\u{412}TC\"]",
            "lists.client_orders[0]",
        ),
        (
            "[lists]\nvalidated_sources = [\"\"]",
            "lists.validated_sources[0]",
        ),
        ("[lists]\nconsents = { \"\" = true }", "lists.consents"),
        (
            "[[lists.vetoes]]\nwords = \"w\"\nsymbol = \" \"",
            "lists.vetoes[0].symbol",
        ),
        ("[instruments.aliases]\nX = \"BTC\"", "instruments.aliases"),
        (
            "[instruments.aliases]\nAA = \"BB\"\nBB = \"AA\"",
            "instruments.aliases",
        ),
        ("[instruments]\naliases = \"XBT\"", "instruments.aliases"),
        ("[instruments]\nalias = {}", "instruments.alias"),
        ("telemetry_listen = \"here\"", "telemetry_listen"),
        ("telemetry_listen = \"9090\"", "telemetry_listen"),
        ("[telemetry]\nlog_format = \"xml\"", "telemetry.log_format"),
        ("[telemetry]\nlog_fromat = \"json\"", "log_fromat"),
        (
            "[telemetry]\notlp_endpoint = \"collector\"",
            "telemetry.otlp_endpoint",
        ),
        (
            "[telemetry]\notlp_endpoint = \"ftp://x/v1\"",
            "telemetry.otlp_endpoint",
        ),
        (
            "[telemetry]\notlp_endpoint = \"http://x\"",
            "telemetry.otlp_endpoint",
        ),
        ("[watchdog]\nredis_depth = 0", "watchdog.redis_depth"),
        ("[redis]\nurl = \"redis+sentinel://a:1\"", "redis.url"),
        ("[redis]\nusername = \"ada\"", "redis.url"),
        (
            "[redis]\nurl = \"redis://a\"\n[watchdog]\nredis_url = \"redis://b\"",
            "watchdog.redis_url",
        ),
        ("[redis.events]\nstream = \"e\"", "redis.url"),
        (
            "[redis]\nurl = \"redis://a\"\n[redis.events]\nstream = \"\"",
            "redis.events.stream",
        ),
        (
            "[redis]\nurl = \"redis://a\"\n[[redis.signals]]\nstream = \"s\"\ntopic = \"t\"\n[redis.events]\nstream = \"s:dead\"",
            "redis.events.stream",
        ),
        (
            "[redis]\nurl = \"redis://a\"\n[redis.events]\nstream = \"e\"\nsource = \"a b\"",
            "redis.events.source",
        ),
        (
            "[redis]\nurl = \"redis://a\"\n[redis.events]\nmax_length = 0",
            "redis.events.max_length",
        ),
        (
            "[redis]\nurl = \"redis://a\"\nca_file = \"ca.pem\"",
            "redis.ca_file",
        ),
        (
            "[redis]\n[[redis.signals]]\nstream = \"s\"\ntopic = \"t\"",
            "redis.url",
        ),
        (
            "[redis]\nurl = \"redis://a\"\n[[redis.signals]]\nstream = \"s\"",
            "topic",
        ),
        (
            "[redis]\nurl = \"redis://a\"\n[[redis.signals]]\nstream = \"s\"\ntopic = \"ark.decision\"",
            "redis.signals[0].topic",
        ),
        (
            "[redis]\nurl = \"redis://a\"\n[[redis.signals]]\nstream = \"s\"\ntopic = \"t\"\nmax_attempts = 0",
            "redis.signals[0].max_attempts",
        ),
        (
            "[redis]\nurl = \"redis://a\"\n[[redis.signals]]\nstream = \"s\"\ntopic = \"t\"\nselect = {}",
            "redis.signals[0].select",
        ),
        (
            "[redis]\nurl = \"redis://a\"\n[[redis.signals]]\nstream = \"\"\ntopic = \"t\"",
            "redis.signals[0].stream",
        ),
        (
            "[redis]\nurl = \"redis://a\"\n[[redis.signals]]\nstream = \"s\"\ntopic = \"t\"\n[[redis.signals]]\nstream = \"s\"\ntopic = \"t\"",
            "redis.signals[1].stream",
        ),
        (
            "[redis]\nurl = \"redis://a\"\n[[redis.signals]]\nstream = \"s\"\ntopic = \"t\"\ndead_letters = \"s\"",
            "redis.signals[0].dead_letters",
        ),
        (
            "[capacity]\ntoken_requests_per_second = 0",
            "capacity.token_requests_per_second",
        ),
        (
            "[action_types.trade]\nfamily = \"trade\"",
            "action_types.trade is a built-in",
        ),
        (
            "[action_types.Trade]\nfamily = \"trade\"",
            "action_types.Trade",
        ),
        (
            "[action_types.EXECUTE-CODE]\nfamily = \"code\"",
            "action_types.EXECUTE-CODE",
        ),
        (
            "[action_types.x]\nfamily = \"system\"",
            "action_types.x.family is system",
        ),
        (
            "[action_types.x]\nfamily = \"trades\"",
            "action_types.x.family",
        ),
        ("[action_types.x]\nreversible = true", "family"),
        (
            "[action_types.x]\nfamily = \"custom\"\nreversable = true",
            "reversable",
        ),
        (
            "[action_types.x]\nfamily = \"trade\"\nfields = { a = \"symbol\", b = \"symbol\" }",
            "action_types.x.fields.b",
        ),
        ("[action_types]\nx = \"trade\"", "action_types.x"),
        (
            "[[lists.vetoes]]\naction_type = \"withdraw\"\nwords = \"no\"",
            "[action_types.withdraw]",
        ),
        (
            "[[lists.vetoes]]\naction_type = \"execute_code\"\nsymbol = \"X\"\nwords = \"no\"",
            "symbol",
        ),
    ] {
        let error = resolve_text(toml).unwrap_err();
        assert!(error.contains(named), "{toml}: {error}");
    }
}

#[test]
fn one_order_of_precedence_holds_for_every_key() {
    let flags = Overrides {
        listen: Some("127.0.0.1:3".parse().unwrap()),
        submitters: vec!["desk".parse().unwrap()],
        ..Overrides::default()
    };
    let toml = "listen = \"127.0.0.1:1\"\ndata_dir = \"a\"\n[capacity]\nworkers = 2\nbacklog = 7";
    let environment = [
        ("ARK_LISTEN", "127.0.0.1:2"),
        ("ARK_CAPACITY_WORKERS", "3"),
        ("ARK_AGENTS", "4"),
        ("ARK_WATCHDOG_FAILURE_RATE", "0.5"),
        ("ARK_LISTS_RESTRICTED_SYMBOLS", "[\"XYZ\"]"),
        ("ARK_LISTS_CONSENTS", "{ \"c-1\" = false }"),
        ("ARK_LIMITS_FUEL", ""),
        ("ARK_TOKEN", "not a key"),
        ("OTHER", "ignored"),
    ];
    let layers = merge_layers(toml, &environment, &flags).unwrap();
    let config = Config::from_layers(&layers).unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.store.dir, PathBuf::from("a"));
    assert_eq!((config.router.workers, config.router.backlog), (3, 7));
    assert_eq!(config.agents_dir, Some(PathBuf::from("4")));
    assert_eq!(config.watchdog.thresholds.failure_rate, 0.5);
    assert_eq!(config.lists.len(), 2);
    assert_eq!(config.limits, Limits::default());
    let names: Vec<&str> = config.submitters.iter().map(Name::as_str).collect();
    assert_eq!(names, ["api", "desk"]);
    let shown = layers.lines();
    for (key, value, source) in [
        ("listen", "\"127.0.0.1:3\"", "flag"),
        ("data_dir", "\"a\"", "file ark.toml"),
        (
            "capacity.workers",
            "3",
            "environment variable ARK_CAPACITY_WORKERS",
        ),
        ("agents_dir", "\"4\"", "environment variable ARK_AGENTS"),
        ("capacity.slow_workers", "48", "default"),
        ("watchdog.redis_url", "", "default"),
    ] {
        let line = shown.iter().find(|line| line.key == key).unwrap();
        let value_shown = line
            .value
            .as_ref()
            .map_or(String::new(), ToString::to_string);
        assert_eq!(
            (value_shown.as_str(), line.source.to_string().as_str()),
            (value, source),
            "{key}"
        );
    }
}

#[test]
fn wrong_environment_values_are_named() {
    for (name, value, named) in [
        ("ARK_CAPACITY_WORKER", "4", "ARK_CAPACITY_WORKERS"),
        ("ARK_LISTN", "x", "ARK_LISTEN"),
        ("ARK_CAPACITY_WORKERS", "many", "ARK_CAPACITY_WORKERS"),
        ("ARK_CAPACITY_WORKERS", "0", "capacity.workers"),
        ("ARK_CAPACITY_WORKERS", "-1", "capacity.workers"),
        ("ARK_LISTEN", "here", "ARK_LISTEN"),
        ("ARK_SUBMITTERS", "api", "ARK_SUBMITTERS"),
        ("ARK_COMPLETELY_UNKNOWN_THING", "1", "ARK_COMPLETELY"),
    ] {
        let error = resolve_all("", &[(name, value)]).unwrap_err();
        assert!(error.contains(named), "{name}={value}: {error}");
    }
    let both = [("ARK_AGENTS", "a"), ("ARK_AGENTS_DIR", "b")];
    assert!(
        resolve_all("", &both)
            .unwrap_err()
            .contains("ARK_AGENTS_DIR")
    );
}

#[test]
fn a_text_without_quotes_is_shown_with_them() {
    for (toml, line) in [
        (
            "# a host\nlisten = 127.0.0.1:1 # here\n",
            "listen = \"127.0.0.1:1\"",
        ),
        ("data_dir = /var/lib/ark", "data_dir = \"/var/lib/ark\""),
        ("[engine]\ncache_dir = cache", "cache_dir = \"cache\""),
    ] {
        let error = resolve_text(toml).unwrap_err();
        let end = format!("a text stands in quotes: {line}");
        assert!(error.ends_with(&end), "{toml}: {error}");
    }
    // What is wrong in another way is not said to lack quotes.
    for toml in ["submitters = [\"a\"", "listen = \"a", "listen"] {
        let error = resolve_text(toml).unwrap_err();
        assert!(!error.contains("stands in quotes"), "{toml}: {error}");
    }
}

#[test]
fn missing_keys_of_an_entry_are_named_with_the_remedy() {
    let error = resolve_text("[[policies]]\nfile = \"house.wasm\"").unwrap_err();
    assert!(
        error.ends_with("policies[0]: `sha256` is missing; give the SHA-256 of the file, as `sha256sum FILE` prints it"),
        "{error}"
    );
}

#[test]
fn a_key_that_is_almost_right_is_suggested() {
    for (toml, suggestion) in [
        ("data_dri = \"x\"", "data_dir"),
        ("[capacity]\nworker = 1", "capacity.workers"),
        ("workers = 1", "capacity.workers"),
        ("[watchdgo]\nlatency_ms = 1", "watchdog"),
    ] {
        let error = resolve_text(toml).unwrap_err();
        let end = format!("did you mean `{suggestion}`?");
        assert!(error.contains(&end), "{toml}: {error}");
    }
}

#[test]
fn what_only_a_variable_sets_is_no_key_and_names_the_variable() {
    for (toml, variable) in [
        ("secret_key_file = \"x\"", "ARK_SECRET_KEY_FILE"),
        ("secret_key = \"x\"", "ARK_SECRET_KEY"),
        (
            "[redis]\nurl = \"redis://a\"\nsecret_key_file = \"x\"",
            "ARK_SECRET_KEY_FILE",
        ),
        ("snapshots = \"x\"", "ARK_SNAPSHOTS"),
    ] {
        let error = resolve_text(toml).unwrap_err();
        let end = format!(
            "is no key of the file; set the variable {variable} in the environment instead"
        );
        assert!(error.ends_with(&end), "{toml}: {error}");
    }
    // A key of a table is meant.
    let error = resolve_text("token_file = \"x\"").unwrap_err();
    assert!(
        error.contains("did you mean `front.token_file`?"),
        "{error}"
    );
}

#[test]
fn a_value_that_is_none_of_a_choice_is_answered_with_the_nearest_and_all() {
    let high = "[action_types.move_funds]\nfamily = \"custom\"\ncriticality = \"higg\"";
    let cases: [(&str, &[&str]); 3] = [
        (
            "[telemetry]\nlog_format = \"jsno\"",
            &["telemetry.log_format is \"jsno\"; did you mean `json`?"],
        ),
        (
            high,
            &[
                "is \"higg\"; did you mean `high`? It is one of: low, ",
                "move_funds",
            ],
        ),
        (
            "[telemetry]\nlog_format = \"zzz\"",
            &["telemetry.log_format is \"zzz\"; give one of: "],
        ),
    ];
    for (toml, expected) in cases {
        let error = resolve_text(toml).unwrap_err();
        for part in expected {
            assert!(error.contains(part), "{toml}: {error}");
        }
        assert!(!error.contains("variant"), "{toml}: {error}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let toml = "[watchdog]\nredis_url = \"redis://ark:hunter2@127.0.0.1:6379/0\"";
    let layers = merge_layers(toml, &[], &Overrides::default()).unwrap();
    let shown: String = layers.lines().iter().map(ToString::to_string).collect();
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(
        shown.contains("redis://ark:********@127.0.0.1:6379/0"),
        "{shown}"
    );
    let config = Config::from_layers(&layers).unwrap();
    assert!(config.watchdog.redis.is_some());
    // The path of a webhook's address may be the receiver's secret.
    let toml = "[[webhooks]]\nname = \"desk\"\nurl = \"https://a.example:8443/services/hunter2?key=hunter3\"\nsecret_file = \"s\"";
    let layers = merge_layers(toml, &[], &Overrides::default()).unwrap();
    let shown: String = layers.lines().iter().map(ToString::to_string).collect();
    assert!(!shown.contains("hunter"), "{shown}");
    assert!(shown.contains("https://a.example:8443/********"), "{shown}");
    assert!(layers.secrets().iter().any(|it| it.contains("hunter2")));
}

#[test]
fn telemetry_access_and_the_fleet_have_the_same_sources() {
    let toml = "telemetry_listen = \"127.0.0.1:1\"\n[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n[telemetry]\notlp_endpoint = \"http://u:hunter2@localhost:4318/v1/traces\"";
    let environment = [
        ("ARK_TELEMETRY_LISTEN", "127.0.0.1:2"),
        ("ARK_BEHIND_PROXY", "true"),
        ("ARK_TLS_KEY", "other.pem"),
        ("ARK_TELEMETRY_LOG_FORMAT", "json"),
        ("ARK_CAPACITY_TOKEN_REQUESTS_PER_SECOND", "7"),
        ("ARK_CA", "ca.pem"),
    ];
    let flags = Overrides {
        telemetry_listen: Some(TelemetryListen::Off),
        ..Overrides::default()
    };
    let layers = merge_layers(toml, &environment, &flags).unwrap();
    let config = Config::from_layers(&layers).unwrap();
    assert_eq!(config.telemetry.listen, TelemetryListen::Off);
    assert_eq!(config.access.rate.get(), 7);
    assert!(config.access.behind_proxy);
    assert_eq!(
        config.access.tls.map(|tls| tls.key),
        Some("other.pem".into())
    );
    let shown: String = layers.lines().iter().map(ToString::to_string).collect();
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(
        shown.contains("capacity.token_requests_per_second = 7"),
        "{shown}"
    );
    for (toml, named) in [
        ("[tls]\ncertificate = \"c\"", "tls.key"),
        (
            "[tls]\ncertifcate = \"c\"",
            "did you mean `tls.certificate`?",
        ),
        ("[watchdog]\nfleet = \"s\"", "watchdog.fleet_key_file"),
        (
            "[redis]\nurl = \"redis://a\"\n[redis.events]\nstream = \"s\"\n[watchdog]\nfleet = \"s\"\nfleet_key_file = \"k\"",
            "watchdog.fleet is \"s\", which redis.events.stream uses",
        ),
        (
            "[redis]\nurl = \"redis://a\"\n[[redis.signals]]\nstream = \"s\"\ntopic = \"t\"\n[watchdog]\nfleet = \"s:dead\"\nfleet_key_file = \"k\"",
            "redis.signals[0].dead_letters",
        ),
        ("[capacity]\napprovals = 0", "capacity.approvals"),
    ] {
        let error = resolve_text(toml).unwrap_err();
        assert!(error.contains(named), "{toml}: {error}");
    }
    let defaults = resolve_text("").unwrap();
    assert_eq!(defaults.telemetry.listen, TelemetryListen::default());
    assert_eq!(defaults.access.connections, 16_384);
}

#[test]
fn action_types_are_declared_in_the_file_or_the_environment() {
    let declared = "[action_types.place_order]\nfamily = \"trade\"\nfields = { quantity = \"position_size_pct\" }\n[[lists.vetoes]]\naction_type = \"place_order\"\nwords = \"no\"";
    let config = resolve_text(declared).unwrap();
    let family = config.hrm.action_types.find_family("place_order");
    assert_eq!(family, Some(ark_model::action::Family::Trade));
    let layers = merge_layers(declared, &[], &Overrides::default()).unwrap();
    let shown: String = layers.lines().iter().map(ToString::to_string).collect();
    assert!(
        shown.contains("action_types = {\"place_order\":{") && shown.contains("# file ark.toml"),
        "{shown}"
    );
    assert!(is_reloaded("action_types"));
    let environment = [(
        "ARK_ACTION_TYPES",
        "{ rebalance = { family = \"custom\" } }",
    )];
    let config = resolve_all("", &environment).unwrap();
    assert!(config.hrm.action_types.find_family("rebalance").is_some());
}

#[test]
fn variables_of_an_orchestrator_are_told_from_mistakes() {
    for (name, value, is_left_alone) in [
        ("ARK_PORT", "tcp://10.0.0.1:8080", true),
        ("ARK_PORT", "8080", false),
        ("ARK_SERVICE_HOST", "10.0.0.1", true),
        ("ARK_SERVICE_PORT", "8080", true),
        ("ARK_SERVICE_PORT_HTTP", "8080", true),
        ("ARK_PORT_8080_TCP", "tcp://10.0.0.1:8080", true),
        ("ARK_PORT_8080_TCP_PROTO", "tcp", true),
        ("ARK_PORT_8080_TCP_PORT", "8080", true),
        ("ARK_PORT_8080_TCP_ADDR", "10.0.0.1", true),
        ("ARK_PORT_53_UDP_ADDR", "10.0.0.1", true),
        ("ARK_METRICS_SERVICE_PORT", "9090", true),
        ("ARK_NAME", "/desk/ark", true),
        ("ARK_ENV_PATH", "/usr/bin", true),
        ("ARK_NAME", "desk", false),
        ("ARK_PORT_X_TCP_ADDR", "10.0.0.1", false),
        ("ARK_PORT_99999_TCP", "tcp://10.0.0.1:99999", false),
        ("ARK_LISTEN_PORT", "8080", false),
    ] {
        let merged = merge_layers("", &[(name, value)], &Overrides::default());
        match merged {
            Ok(_) => assert!(is_left_alone, "{name}={value}"),
            Err(error) => {
                assert!(!is_left_alone, "{name}={value}: {error}");
                assert!(error.contains(name), "{error}");
            }
        }
    }
}
