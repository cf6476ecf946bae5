//! The schema, its migrations, and how connections are opened.

mod comparison;
mod connections;
mod migrations;
mod version;

pub(crate) use comparison::{SchemaFindings, compare_schema};
pub(crate) use connections::{
    UnmigratedConnection, check_schema, check_secret_key, connect_checkpoints, connect_writer,
    count_log_frames, open_any_schema, open_connection, open_reader,
};
#[cfg(test)]
pub(crate) use migrations::migrate_schema;
#[cfg(test)]
pub(crate) use version::SCHEMA_VERSION;
pub use version::current_schema;
pub(crate) use version::{
    AUDIT_ARCHIVES_SINCE, LATER_DERIVED_ROWS_SINCE, LATER_IDS_SINCE, LATER_INDEX_SINCE,
    PACKED_BODIES_SINCE, POLICY_COMPONENTS_SINCE, RESTORABLE_AS_IT_IS_SINCE, STATE_CHAIN_SINCE,
    check_version, read_version,
};

/// Returns the steps of the plan of a statement on the latest schema, where it has parameters of whatever values.
#[cfg(test)]
pub(crate) fn explain_plan(sql: &str) -> String {
    let connection = migrations::build_schema(SCHEMA_VERSION).unwrap();
    connections::plan_without_values(&connection).unwrap();
    let mut statement = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .unwrap();
    let steps: Vec<String> = statement
        .raw_query()
        .mapped(|row| row.get(3))
        .map(Result::unwrap)
        .collect();
    steps.join("; ")
}
