//! The bindings of the world `ark:agent/agent`, generated from the WIT. [`crate::agent`] is the face of them.
//!
//! A file of its own: the line numbers of generated code are part of a component's bytes, and the Graveyard's bytes are pinned.

wit_bindgen::generate!({
    path: ["../wit/types", "../wit/agent"],
    world: "ark:agent/agent",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "export_agent_world",
    additional_derives: [PartialEq],
    default_bindings_module: "ark_guest::agent_world",
});
