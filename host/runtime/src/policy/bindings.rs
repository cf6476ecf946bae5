//! The bindings of the two worlds of policies.

#![allow(
    missing_docs,
    clippy::pedantic,
    reason = "generated from the WIT, where it is documented"
)]

macro_rules! policy_world {
    ($module:ident, $world:literal) => {
        pub(super) mod $module {
            wasmtime::component::bindgen!({
                path: "../../wit/policy",
                world: $world,
                with: {
                    "ark:types/actions@1.0.0": crate::wit_types::actions,
                    "ark:types/facts@1.0.0": crate::wit_types::facts,
                    "ark:types/verdicts@1.0.0": crate::wit_types::verdicts,
                },
            });
        }
    };
}

policy_world!(plain, "ark:policy/policy");
policy_world!(configurable, "ark:policy/configurable-policy");
