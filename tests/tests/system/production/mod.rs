//! The way to production: what `ark check` finds, what `ark synthetic` proves of a live host, what `ark validate` tests of it,
//! what `ark front` does before it, what `ark canary` does with a new version, and what operators install.

mod altering;
mod canary;
mod check;
mod compose;
mod front;
mod image;
mod installation;
mod synthetic;
mod validate;
