//! Answers made from what other parts of the host hold.
//!
//! The rows of the store and the states of the parts are not the public API: an answer has a type of its own here, so that a column or a field
//! elsewhere can change without changing the API.

/// Declares an answer that shows fields of another type under their names: the struct, its JSON and its schema, and the conversion.
macro_rules! answer_from {
    ($source:ty => $(#[$attribute:meta])* $visibility:vis struct $name:ident {
        $($(#[$field_attribute:meta])* $field:ident: $type:ty,)+
    }) => {
        #[derive(serde::Serialize, utoipa::ToSchema)]
        $(#[$attribute])*
        $visibility struct $name {
            $($(#[$field_attribute])* $visibility $field: $type,)+
        }

        impl From<$source> for $name {
            fn from(source: $source) -> Self {
                Self { $($field: source.$field,)+ }
            }
        }
    };
}
pub(crate) use answer_from;

/// Converts each row of a page.
pub(crate) fn convert_rows<R, T: From<R>>(rows: Vec<R>) -> Vec<T> {
    rows.into_iter().map(T::from).collect()
}
