//! The document of this API (`OpenAPI` 3.1) and its readable page.

mod action_forms;
mod document;
mod examples;
mod moments;
mod page;
pub(crate) mod schemas;
mod serve;

pub(crate) use document::Documents;
#[cfg(test)]
pub(crate) use document::build_document;
pub(crate) use serve::list_routes;
