//! probe
#[cfg(feature = "policy")]
pub mod policy_world {
    wit_bindgen::generate!({
        path: ["../wit/types", "../wit/policy"],
        world: "ark:policy/policy",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_policy_world",
        default_bindings_module: "ark_guest::policy_world",
    });
}
#[cfg(feature = "agent")]
pub mod agent_world {
    wit_bindgen::generate!({
        path: ["../wit/types", "../wit/agent"],
        world: "ark:agent/agent",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_agent_world",
        default_bindings_module: "ark_guest::agent_world",
    });
}
