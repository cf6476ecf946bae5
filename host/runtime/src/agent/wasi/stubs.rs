//! Stubs for the interfaces of WASI that toolchains import and no agent gets: filesystem, sockets, HTTP.
//!
//! A stub is made from the type of the function that the component imports, so every version of WASI 0.2 fits. A call changes nothing and
//! returns the error that the interface has for what is not permitted, e.g. `access` or `HTTP-request-denied`; where a function cannot fail, it
//! returns nothing, zero or an empty list: there are no directories. A function that must return a resource (`instance-network`,
//! `[constructor]fields`) returns an empty one, which counts towards the invocation's limit of resources and leads nowhere.
//!
//! The types come from the guest. So the values of one answer are counted, and what a guest passes is bounded as in every host call.

use wasmtime::StoreContextMut;
use wasmtime::component::types::{Component as ComponentType, ComponentItem, Type};
use wasmtime::component::{Linker, Resource, ResourceAny, ResourceType, Val};
use wasmtime_wasi::WasiView;

use crate::agent::invocation_context::InvocationContext;
use crate::engine::Engine;
use crate::load::{AgentImport, resolve_agent_import};

/// The errors that say of a call that it is not permitted, in the words of WASI's interfaces.
const REFUSALS: [&str; 5] = [
    "access",
    "access-denied",
    "HTTP-request-denied",
    "forbidden",
    "not-permitted",
];
/// The most values that an answer consists of. The standard functions need less than ten.
const MAX_VALUES: u32 = 64;

/// An empty resource.
struct Denied;

/// Defines stubs for what a component imports of the interfaces that [`resolve_agent_import`] calls stubbed.
pub(in crate::agent) fn link_stubs(
    linker: &mut Linker<InvocationContext>,
    engine: &Engine,
    component: &ComponentType,
) -> wasmtime::Result<()> {
    let engine = engine.wasmtime();
    // Resources that a stubbed interface uses of a linked one, e.g. streams, are those of the linked one.
    let mut linked = Vec::new();
    for (name, import) in component.imports(engine) {
        let ComponentItem::ComponentInstance(instance) = import.ty else {
            continue;
        };
        if resolve_agent_import(name) != AgentImport::Stubbed {
            let items = instance.exports(engine);
            linked.extend(items.filter_map(|(_, item)| match item.ty {
                ComponentItem::Resource(resource) => Some(resource),
                _ => None,
            }));
            continue;
        }
        let mut stubs = linker.instance(name)?;
        for (function, item) in instance.exports(engine) {
            match item.ty {
                ComponentItem::Resource(resource) if !linked.contains(&resource) => {
                    let ty = ResourceType::host::<Denied>();
                    stubs.resource(function, ty, |mut store, rep| {
                        let resource = Resource::<Denied>::new_own(rep);
                        store.data_mut().ctx().table.delete(resource)?;
                        Ok(())
                    })?;
                }
                ComponentItem::ComponentFunc(_) => {
                    stubs.func_new(function, |mut store, ty, params, results| {
                        for param in params {
                            drop_resources(&mut store, param)?;
                        }
                        let mut values_left = MAX_VALUES;
                        for (result, ty) in results.iter_mut().zip(ty.results()) {
                            *result = refusing_value(&mut store, &ty, &mut values_left)?;
                        }
                        Ok(())
                    })?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Returns the value of a type that grants nothing.
fn refusing_value(
    store: &mut StoreContextMut<'_, InvocationContext>,
    ty: &Type,
    values_left: &mut u32,
) -> wasmtime::Result<Val> {
    *values_left = values_left
        .checked_sub(1)
        .ok_or_else(|| wasmtime::Error::msg("the result of a stubbed function is too large"))?;
    Ok(match ty {
        Type::Bool => Val::Bool(false),
        Type::S8 => Val::S8(0),
        Type::U8 => Val::U8(0),
        Type::S16 => Val::S16(0),
        Type::U16 => Val::U16(0),
        Type::S32 => Val::S32(0),
        Type::U32 => Val::U32(0),
        Type::S64 => Val::S64(0),
        Type::U64 => Val::U64(0),
        Type::Float32 => Val::Float32(0.0),
        Type::Float64 => Val::Float64(0.0),
        Type::Char => Val::Char('\0'),
        Type::String => Val::String(String::new()),
        Type::List(_) => Val::List(Vec::new()),
        Type::Map(_) => Val::Map(Vec::new()),
        Type::Option(_) => Val::Option(None),
        Type::Result(result) => Val::Result(Err(match result.err() {
            Some(error) => Some(Box::new(refusing_value(store, &error, values_left)?)),
            None => None,
        })),
        Type::Enum(names) => Val::Enum(choose_refusal(names.names()).to_owned()),
        Type::Variant(variant) => {
            let name = choose_refusal(variant.cases().map(|case| case.name)).to_owned();
            let payload = variant.cases().find(|case| case.name == name);
            let payload = match payload.and_then(|case| case.ty) {
                Some(ty) => Some(Box::new(refusing_value(store, &ty, values_left)?)),
                None => None,
            };
            Val::Variant(name, payload)
        }
        Type::Flags(_) => Val::Flags(Vec::new()),
        Type::Record(record) => {
            let mut fields = Vec::new();
            for field in record.fields() {
                fields.push((
                    field.name.to_owned(),
                    refusing_value(store, &field.ty, values_left)?,
                ));
            }
            Val::Record(fields)
        }
        Type::Tuple(tuple) => {
            let mut values = Vec::new();
            for ty in tuple.types() {
                values.push(refusing_value(store, &ty, values_left)?);
            }
            Val::Tuple(values)
        }
        Type::Own(resource) if *resource == ResourceType::host::<Denied>() => {
            let resource = store.data_mut().ctx().table.push(Denied)?;
            Val::Resource(ResourceAny::try_from_resource(resource, store)?)
        }
        // Only of a resource that no agent can have.
        _ => {
            return Err(wasmtime::Error::msg(
                "a stubbed function returns what agents do not get",
            ));
        }
    })
}

/// Returns the first of the names that says "not permitted", or else the first at all.
fn choose_refusal<'a>(names: impl Iterator<Item = &'a str>) -> &'a str {
    let mut first = None;
    for name in names {
        if REFUSALS.contains(&name) {
            return name;
        }
        first = first.or(Some(name));
    }
    first.unwrap_or_default()
}

/// Gives back the resources that a guest passed: the table of those that the host holds would grow with each call otherwise.
fn drop_resources(
    store: &mut StoreContextMut<'_, InvocationContext>,
    value: &Val,
) -> wasmtime::Result<()> {
    match value {
        Val::Resource(resource) => resource.resource_drop(&mut *store)?,
        Val::List(values) | Val::Tuple(values) => {
            for value in values {
                drop_resources(store, value)?;
            }
        }
        Val::Record(fields) => {
            for (_, value) in fields {
                drop_resources(store, value)?;
            }
        }
        Val::Map(entries) => {
            for (key, value) in entries {
                drop_resources(store, key)?;
                drop_resources(store, value)?;
            }
        }
        Val::Variant(_, Some(value))
        | Val::Option(Some(value))
        | Val::Result(Ok(Some(value)) | Err(Some(value))) => drop_resources(store, value)?,
        _ => {}
    }
    Ok(())
}
