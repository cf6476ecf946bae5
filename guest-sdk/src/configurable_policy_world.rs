//! The bindings of the world `ark:policy/configurable-policy`, generated from the WIT. [`crate::policy`] is the face of them.
//!
//! The types are those of the world `ark:policy/policy`, so that actions and rules are the same for policies with and without settings.

wit_bindgen::generate!({
    path: ["../wit/types", "../wit/policy"],
    world: "ark:policy/configurable-policy",
    with: {
        "ark:types/actions@1.0.0": crate::policy_world::ark::types::actions,
        "ark:types/facts@1.0.0": crate::policy_world::ark::types::facts,
        "ark:types/verdicts@1.0.0": crate::policy_world::ark::types::verdicts,
        "ark:policy/settings@1.1.0": generate,
    },
    pub_export_macro: true,
    export_macro_name: "export_configurable_policy_world",
    additional_derives: [PartialEq],
    default_bindings_module: "ark_guest::configurable_policy_world",
});
