//! Write ARK agents and policies in Rust.
//!
//! Two features, one per world: `agent` (the default) and `policy`. A component is described by the worlds it is linked with, so a
//! policy crate switches the default off: `ark-guest = { …, default-features = false, features = ["policy"] }`.

#[cfg(feature = "agent")]
pub mod agent;
#[cfg(feature = "policy")]
pub mod policy;

/// The bindings of the world `ark:policy/policy`, generated from the WIT. [`policy`] is the face of them.
#[cfg(feature = "policy")]
#[allow(clippy::all, clippy::pedantic, reason = "generated")]
pub mod policy_world {
    wit_bindgen::generate!({
        path: ["../wit/types", "../wit/policy"],
        world: "ark:policy/policy",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_policy_world",
        additional_derives: [PartialEq],
        default_bindings_module: "ark_guest::policy_world",
    });
}

/// The bindings of the world `ark:agent/agent`, generated from the WIT. [`agent`] is the face of them.
#[cfg(feature = "agent")]
pub mod agent_world {
    wit_bindgen::generate!({
        path: ["../wit/types", "../wit/agent"],
        world: "ark:agent/agent",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_agent_world",
        additional_derives: [PartialEq],
        default_bindings_module: "ark_guest::agent_world",
    });
}
