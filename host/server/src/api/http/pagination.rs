//! Pages of lists: how many rows, from where, and where the next page begins.

use serde::Deserialize;
use utoipa::IntoParams;

use ark_model::page::MAX_PAGE;

use super::fields::{MAX_INTEGER, integer_field};

/// How many rows a page has if the request does not say.
const DEFAULT_ROWS: u32 = 50;

integer_field! {
    /// How many rows at most; 50 if left out.
    Limit("1 to 500", 1..=MAX_PAGE)
}

integer_field! {
    /// Where to go on: the `next_cursor` of the page before.
    RowCursor("the next_cursor of the page before", 0..=MAX_INTEGER)
}

/// The number of rows that a page has at most.
pub(crate) fn page_rows(limit: Option<Limit>) -> u32 {
    limit
        .and_then(|limit| u32::try_from(u64::from(limit)).ok())
        .unwrap_or(DEFAULT_ROWS)
}

/// Which page of a list whose rows are numbered.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    /// How many rows at most; 50 if left out.
    #[param(inline)]
    limit: Option<Limit>,
    /// Where to go on: the `next_cursor` of the page before.
    #[param(inline)]
    cursor: Option<RowCursor>,
}

impl PageQuery {
    /// The number of rows at most, and the row that the page begins behind.
    pub(crate) fn into_parts(self) -> (u32, Option<u64>) {
        (page_rows(self.limit), self.cursor.map(u64::from))
    }
}

/// Which page of a list that is ordered by its keys.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyPageQuery {
    /// How many rows at most; 50 if left out.
    #[param(inline)]
    limit: Option<Limit>,
    /// Where to go on: the `next_cursor` of the page before.
    cursor: Option<String>,
}

impl KeyPageQuery {
    /// The number of rows at most, and the key that the page begins behind.
    pub(crate) fn into_parts(self) -> (u32, Option<String>) {
        (page_rows(self.limit), self.cursor)
    }
}

/// The cursor of the next page: that of the last row, if this page is full.
pub(crate) fn next_cursor<T>(
    rows: &[T],
    limit: u32,
    cursor: impl Fn(&T) -> String,
) -> Option<String> {
    (rows.len() == limit as usize)
        .then(|| rows.last().map(cursor))
        .flatten()
}
