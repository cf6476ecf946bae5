//! What a token grants its holder to propose.

use ark_tests::{Host, make_token, trade};
use serde_json::{Value, json};

use super::tokens::{call, cli};

#[test]
fn a_token_proposes_what_it_grants() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let config = "[action_types.place_order]\nfamily = \"trade\"\n[action_types.rebalance]\nfamily = \"custom\"\n";
    std::fs::write(data.with_extension("toml"), config).expect("a configuration");
    let root = make_token(&data, "root", "admin", &[]);
    let token = |name: &str, actions: &str| {
        make_token(
            &data,
            name,
            "submitter",
            &["--agent", "api", "--actions", actions],
        )
    };
    let tokens = [
        ("all", token("all", "*")),
        ("types", token("types", "buy, place_order")),
        ("family", token("family", "family:trade,message")),
        ("nothing", token("nothing", "")),
        ("root", root.clone()),
    ];
    let host = Host::start(&data, &[]);
    let order = |action_type: &str, size: f64| {
        let mut order = trade("BTC-USD", size);
        order["action_type"] = json!(action_type);
        order["parameters"]["side"] = json!("buy");
        order
    };
    let custom = |action_type: &str| json!({"agent": "api", "action_type": action_type});
    for (proposed, granted) in [
        (order("buy", 0.001), &["all", "types", "family", "root"][..]),
        (order("trade", 0.001), &["all", "family", "root"]),
        (
            order("place_order", 0.001),
            &["all", "types", "family", "root"],
        ),
        (custom("rebalance"), &["all", "root"]),
        (custom("message"), &["all", "family", "root"]),
        (
            json!({"agent": "api", "action_type": "report", "parameters": {"text": "t"}}),
            &["all", "root"],
        ),
    ] {
        for (name, token) in &tokens {
            let refused = |decision: &Value| {
                let says = format!("the token {name} does not grant");
                let refused = decision["refusal"]
                    .as_str()
                    .is_some_and(|text| text.contains(&says));
                assert_eq!(refused, !granted.contains(name), "{name}: {decision}");
                if refused {
                    assert_eq!(decision["outcome"], "denied", "{decision}");
                    assert_eq!(decision["policies"][0]["policy"], "graveyard", "{decision}");
                }
            };
            for path in ["/v1/actions?dry_run=true", "/v1/actions"] {
                let (status, decision) = call(&host, token, "POST", path, &proposed);
                assert_eq!(status, 200, "{decision}");
                refused(&decision);
            }
            let batch = json!({"actions": [proposed]});
            let (status, answer) = call(&host, token, "POST", "/v1/actions/batch", &batch);
            assert_eq!(status, 200, "{answer}");
            refused(&answer["decisions"][0]);
        }
    }
    // Over HTTP too; what an administrator grants is on record.
    let body = json!({"name": "desk", "role": "submitter", "agents": ["api"], "actions": ["rebalance", "family:file"]});
    let (status, made) = call(&host, &root, "POST", "/v1/tokens", &body);
    assert_eq!(
        (status, &made["actions"]),
        (201, &body["actions"]),
        "{made}"
    );
    let desk = made["token"].as_str().expect("a secret").to_owned();
    let (_, decision) = call(&host, &desk, "POST", "/v1/actions", &custom("rebalance"));
    assert_eq!(decision["refusal"], Value::Null, "{decision}");
    let (_, decision) = call(&host, &desk, "POST", "/v1/actions", &order("buy", 0.001));
    assert_eq!(decision["outcome"], "denied", "{decision}");
    let (code, _, said) = cli(
        &host,
        Some(&root),
        &[
            "token",
            "create",
            "--role",
            "submitter",
            "--name",
            "x",
            "--agent",
            "api",
        ],
    );
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("--actions") && said.contains("[\"*\"]"),
        "{said}"
    );
}
