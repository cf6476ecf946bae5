//! Pages of lists.

/// The most rows of a page: the API refuses a larger `limit`, and its clients ask for as many where they want all rows.
pub const MAX_PAGE: u64 = 500;
