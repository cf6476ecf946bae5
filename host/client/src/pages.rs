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
        let mut answer = self.read_list_answer(path, list, pages)?;
        let is_whole = answer.get("next_cursor").is_none_or(Value::is_null);
        let rows = match answer.get_mut(list).map(Value::take) {
            Some(Value::Array(rows)) => rows,
            _ => Vec::new(),
        };
        Ok(ListRows { rows, is_whole })
    }

    /// Reads a list as [`Self::read_list`]. Returns the first page with the rows of all of them, and with the `next_cursor` of the last one that was
    /// read: null, if the list has ended.
    ///
    /// # Errors
    /// A page cannot be read.
    pub fn read_list_answer(
        &self,
        path: &str,
        list: &str,
        pages: u32,
    ) -> Result<Value, ClientError> {
        let mut cursor = String::new();
        let mut whole: Option<Value> = None;
        for _ in 0..pages.max(1) {
            let mut page = self
                .get(&format!("{path}?limit={MAX_PAGE}{cursor}"))?
                .into_success()?;
            let next = page.get_mut("next_cursor").map(Value::take);
            let next = next.unwrap_or_default();
            match &mut whole {
                None => whole = Some(page),
                Some(whole) => {
                    if let Some(Value::Array(rows)) = whole.get_mut(list) {
                        rows.extend_from_slice(array_field(&page, list));
                    }
                }
            }
            if let Some(known) = whole
                .as_mut()
                .and_then(|whole| whole.get_mut("next_cursor"))
            {
                *known = next.clone();
            }
            match next.as_str() {
                Some(next) => cursor = format!("&cursor={}", escape_query(next)),
                None => break,
            }
        }
        Ok(whole.unwrap_or_default())
    }
}
