//! The way to production: what `ark check` finds, what `ark synthetic` proves of a live host, and what `ark validate` tests of it.

mod altering;
mod check;
mod synthetic;
mod validate;
