//! Lists that the host answers in pages.

use ark_model::page::MAX_PAGE;
use serde_json::Value;

use crate::connection::HostClient;
use crate::error::ClientError;
use crate::members::array_field;
use crate::path::escape_query;

/// What was read of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct ListRows {
    /// The rows, in the host's order.
    pub rows: Vec<Value>,
    /// Whether these are all: the list ended within the pages that were asked for.
    pub is_whole: bool,
}

impl HostClient {
    /// Reads a list page by page, `pages` of the largest pages at most. `list` is the member of the answer that has the rows; `path` has no
    /// query.
    ///
    /// # Errors
    /// A page cannot be read.
    pub fn read_list(&self, path: &str, list: &str, pages: u32) -> Result<ListRows, ClientError> {
        let mut rows = Vec::new();
        let mut cursor = String::new();
        for _ in 0..pages {
            let page = self
                .get(&format!("{path}?limit={MAX_PAGE}{cursor}"))?
                .into_success()?;
            rows.extend_from_slice(array_field(&page, list));
            match page.get("next_cursor").and_then(Value::as_str) {
                Some(next) => cursor = format!("&cursor={}", escape_query(next)),
                None => {
                    return Ok(ListRows {
                        rows,
                        is_whole: true,
                    });
                }
            }
        }
        Ok(ListRows {
            rows,
            is_whole: false,
        })
    }
}
