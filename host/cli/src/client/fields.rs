//! What is printed of the members of the host's answers.

use serde_json::Value;

use crate::output::print_line;

/// Says how the next page is asked for, where there is one.
pub(super) fn print_next_cursor(page: &Value) {
    if let Some(cursor) = page["next_cursor"].as_str() {
        print_line!("more with --cursor {cursor}");
    }
}
