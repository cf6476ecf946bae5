//! The way to production: what `ark check` finds, what `ark synthetic` proves of a live host, what `ark validate` tests of it,
//! and what `ark front` does before it.

mod altering;
mod check;
mod front;
mod synthetic;
mod validate;
