//! How the keys of `ark.toml` are stated: each once, with its documentation, type, default and allowed values.
//!
//! [`table!`] makes a table's struct of such statements, with the serde form, the default and the check; [`items!`] makes the struct of an
//! entry of a list. From the same statements come the lines of `ark config show`, the names of the environment variables, the keys that
//! a reload changes, and `docs/configuration.md`.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde_json::Value;

/// A key, as the documentation and the reload need it.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its name, with that of its table: `capacity.workers`.
    pub name: String,
    /// What it means: Markdown, one paragraph.
    pub documentation: String,
    /// Its default; null if it has none.
    pub default: Value,
    /// The allowed values in words; empty if the type allows no others.
    pub allowed: String,
    /// Whether a reload (SIGHUP) changes it in a running host.
    pub reloaded: bool,
    /// The fields of an entry, where the value is a list or a table of tables: name and documentation.
    pub fields: &'static [(&'static str, &'static str)],
}

/// A table of keys.
#[derive(Debug, Clone)]
pub struct Section {
    /// Its name; empty for the keys before the first table.
    pub name: String,
    /// What it is about: Markdown, one paragraph.
    pub documentation: String,
    /// Its keys.
    pub keys: Vec<Key>,
}

/// What [`table!`] makes of a table.
pub(super) trait Table {
    /// Adds this table and those inside it to the sections. `name` is that of this table.
    fn add_sections(name: &str, sections: &mut Vec<Section>);

    /// Checks every value against the allowed ones.
    ///
    /// # Errors
    /// The first key whose value is not allowed, and what is wrong with it.
    fn check(&self, name: &str) -> Result<(), (String, String)>;
}

/// What [`items!`] makes of an entry of a list.
pub(super) trait Item {
    /// Name and documentation of each field.
    const FIELDS: &'static [(&'static str, &'static str)];
}

/// Which values of type `T` a key takes.
pub(super) trait Allowed<T> {
    /// Says what is wrong with a value and what is allowed, to be read after the key's name.
    fn check(&self, value: &T) -> Result<(), String>;

    /// The allowed values in words, for the documentation.
    fn describe(&self) -> String;

    /// An allowed value, for a key without a default.
    fn example(&self) -> Option<String> {
        None
    }

    /// The fields of an entry, where the value is a list of tables.
    fn fields(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }
}

/// Every value of the type.
pub(super) struct Any;

impl<T> Allowed<T> for Any {
    fn check(&self, _: &T) -> Result<(), String> {
        Ok(())
    }

    fn describe(&self) -> String {
        String::new()
    }
}

/// Numbers in a range. A key without a value is allowed.
pub(super) struct Range<N> {
    least: N,
    most: Option<N>,
}

/// Numbers from `least` on.
pub(super) const fn at_least<N>(least: N) -> Range<N> {
    Range { least, most: None }
}

/// Numbers from `least` to `most`, both included.
pub(super) const fn between_values<N: Copy>(least: N, most: N) -> Range<N> {
    Range {
        least,
        most: Some(most),
    }
}

impl<N: PartialOrd + Display> Range<N> {
    fn check_number(&self, value: &N) -> Result<(), String> {
        // Written so that a NaN is refused too.
        if *value >= self.least && self.most.as_ref().is_none_or(|most| value <= most) {
            Ok(())
        } else {
            Err(format!("is {value}; give {}", self.describe_numbers()))
        }
    }

    fn describe_numbers(&self) -> String {
        match &self.most {
            Some(most) => format!("{} to {most}", self.least),
            None => format!("{} or more", self.least),
        }
    }
}

impl<N: PartialOrd + Display> Allowed<N> for Range<N> {
    fn check(&self, value: &N) -> Result<(), String> {
        self.check_number(value)
    }

    fn describe(&self) -> String {
        self.describe_numbers()
    }

    fn example(&self) -> Option<String> {
        Some(self.least.to_string())
    }
}

impl<N: PartialOrd + Display> Allowed<Option<N>> for Range<N> {
    fn check(&self, value: &Option<N>) -> Result<(), String> {
        value
            .as_ref()
            .map_or(Ok(()), |value| self.check_number(value))
    }

    fn describe(&self) -> String {
        self.describe_numbers()
    }

    fn example(&self) -> Option<String> {
        Some(self.least.to_string())
    }
}

/// Lists of tables of the form `T`, or tables of such tables by name.
pub(super) struct Entries<T>(std::marker::PhantomData<T>);

/// Lists of tables of the form `T`, or tables of such tables by name.
pub(super) const fn list_entries<T>() -> Entries<T> {
    Entries(std::marker::PhantomData)
}

impl<T: Item> Allowed<Vec<T>> for Entries<T> {
    fn check(&self, _: &Vec<T>) -> Result<(), String> {
        Ok(())
    }

    fn describe(&self) -> String {
        String::new()
    }

    fn fields(&self) -> &'static [(&'static str, &'static str)] {
        T::FIELDS
    }
}

impl<T: Item> Allowed<BTreeMap<String, T>> for Entries<T> {
    fn check(&self, _: &BTreeMap<String, T>) -> Result<(), String> {
        Ok(())
    }

    fn describe(&self) -> String {
        String::new()
    }

    fn fields(&self) -> &'static [(&'static str, &'static str)] {
        T::FIELDS
    }
}

/// Text that a function accepts.
pub(super) struct CheckedText {
    /// Refuses a text, as [`Allowed::check`] does.
    pub(super) check: fn(&str) -> Result<(), String>,
    /// The allowed text, for the documentation.
    pub(super) description: &'static str,
}

impl Allowed<Option<String>> for CheckedText {
    fn check(&self, value: &Option<String>) -> Result<(), String> {
        value.as_deref().map_or(Ok(()), self.check)
    }

    fn describe(&self) -> String {
        self.description.to_owned()
    }
}

/// Adds to what is wrong with a value one that would be right: the default, or without one `example`.
pub(super) fn add_example(
    problem: String,
    key: &str,
    default: &Value,
    example: Option<String>,
) -> String {
    let example = match default {
        Value::Number(default) => Some(default.to_string()),
        _ => example,
    };
    match example {
        Some(example) => format!("{problem}, e.g. {key} = {example}"),
        None => problem,
    }
}

/// The path of a name in a table.
pub(super) fn join_key(table: &str, name: &str) -> String {
    if table.is_empty() {
        name.to_owned()
    } else {
        format!("{table}.{name}")
    }
}

/// States a table: `key: Type = default, allowed values;` with the documentation above, `, reloaded` at the end of a key that a reload
/// changes, and `[name]: Type;` at the end for each table inside.
macro_rules! table {
    (
        $(#[doc = $about:literal])+
        pub struct $Table:ident {
            $(
                $(#[doc = $doc:literal])+
                $key:ident: $Type:ty = $default:expr, $allowed:expr $(, $effect:ident)?;
            )*
            $( [$inner:ident]: $Inner:ty; )*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Deserialize, Serialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $Table {
            $( $(#[doc = $doc])+ pub $key: $Type, )*
            $( #[doc = concat!("The table `[", stringify!($inner), "]`.")] pub $inner: $Inner, )*
        }

        impl Default for $Table {
            fn default() -> Self {
                Self {
                    $( $key: $default, )*
                    $( $inner: <$Inner>::default(), )*
                }
            }
        }

        impl Table for $Table {
            fn add_sections(name: &str, sections: &mut Vec<Section>) {
                sections.push(Section {
                    name: name.to_owned(),
                    documentation: concat!($($about),+).trim().to_owned(),
                    keys: vec![ $( Key {
                        name: join_key(name, stringify!($key)),
                        documentation: concat!($($doc),+).trim().to_owned(),
                        default: serde_json::to_value(&Self::default().$key).unwrap_or_default(),
                        allowed: Allowed::<$Type>::describe(&$allowed),
                        reloaded: [$( stringify!($effect) )?].contains(&"reloaded"),
                        fields: Allowed::<$Type>::fields(&$allowed),
                    }, )* ],
                });
                $( <$Inner as Table>::add_sections(&join_key(name, stringify!($inner)), sections); )*
            }

            fn check(&self, name: &str) -> Result<(), (String, String)> {
                $( Allowed::<$Type>::check(&$allowed, &self.$key)
                    .map_err(|problem| {
                        let example = Allowed::<$Type>::example(&$allowed);
                        let default = serde_json::to_value(&Self::default().$key).unwrap_or_default();
                        let problem = add_example(problem, stringify!($key), &default, example);
                        (join_key(name, stringify!($key)), problem)
                    })?; )*
                $( Table::check(&self.$inner, &join_key(name, stringify!($inner)))?; )*
                Ok(())
            }
        }
    };
}

/// States the fields of an entry of a list, each with its documentation; a field of type `Option` may be left out.
macro_rules! items {
    (
        $(#[doc = $about:literal])+
        pub struct $Item:ident {
            $( $(#[doc = $doc:literal])+ $field:ident: $Type:ty; )*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Deserialize, Serialize)]
        #[serde(deny_unknown_fields)]
        pub struct $Item {
            $( $(#[doc = $doc])+ pub $field: $Type, )*
        }

        impl Item for $Item {
            const FIELDS: &'static [(&'static str, &'static str)] =
                &[ $( (stringify!($field), concat!($($doc),+)) ),* ];
        }
    };
}

pub(super) use {items, table};
