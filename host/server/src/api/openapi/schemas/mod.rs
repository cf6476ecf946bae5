//! Schemas of types that other crates own: ids, choices, actions, facts and records, which travel as JSON as they are.
//!
//! `utoipa` stays in the API, so these types do not describe themselves. The build script (`build.rs`) tells utoipa's macros that a field of
//! the type `X` has the schema of `XSchema` here. A test compares each schema with the JSON that the type's own serialisation gives.

#![expect(dead_code, reason = "the types describe JSON and are never made")]

pub(crate) mod actions;
pub(crate) mod choices;
pub(crate) mod ids;
pub(crate) mod limits;
pub(crate) mod records;
#[cfg(test)]
mod tests;
