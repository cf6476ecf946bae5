//! The bindings of the world `ark:agent/agent`.

#![allow(
    missing_docs,
    clippy::pedantic,
    reason = "generated from the WIT, where it is documented"
)]

wasmtime::component::bindgen!({
    path: "../../wit/agent",
    world: "ark:agent/agent",
    imports: { default: trappable },
    trappable_error_type: {
        "ark:agent/host.host-error" => crate::agent::call_error::HostCallError,
    },
    with: {
        "ark:types/actions@1.0.0": crate::wit_types::actions,
        "ark:types/verdicts@1.0.0": crate::wit_types::verdicts,
    },
});
