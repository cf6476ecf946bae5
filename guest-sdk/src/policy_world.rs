//! The bindings of the world `ark:policy/policy`, generated from the WIT. [`crate::policy`] is the face of them.
//!
//! A file of its own: the line numbers of generated code are part of a component's bytes, and the Graveyard's bytes are pinned.

wit_bindgen::generate!({
    path: ["../wit/types", "../wit/policy"],
    world: "ark:policy/policy",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "export_policy_world",
    additional_derives: [PartialEq],
    default_bindings_module: "ark_guest::policy_world",
});
