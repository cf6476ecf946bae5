//! The types of `ark:types` in the modules that wasmtime's bindings expect: beside the types each has an empty `Host` trait and an empty
//! `add_to_linker`, since `ark:types` has no functions.

macro_rules! interface {
    ($name:ident, $model:path) => {
        pub mod $name {
            pub use $model::*;

            pub trait HostWithStore<T>: wasmtime::component::HasData {}

            impl<T, D: wasmtime::component::HasData + ?Sized> HostWithStore<T> for D {}

            #[allow(dead_code, reason = "named only in bounds of functions that are not called")]
            pub trait Host {}

            impl<T: ?Sized> Host for T {}

            #[allow(
                dead_code,
                clippy::unnecessary_wraps,
                reason = "the bindings of a world call it with this signature, where the world links its imports at once"
            )]
            pub fn add_to_linker<T: 'static, D: HostWithStore<T>>(
                _: &mut wasmtime::component::Linker<T>,
                _: fn(&mut T) -> D::Data<'_>,
            ) -> wasmtime::Result<()> {
                Ok(())
            }
        }
    };
}

interface!(actions, ark_model::action);
interface!(facts, ark_model::facts);
interface!(verdicts, ark_model::verdict);
