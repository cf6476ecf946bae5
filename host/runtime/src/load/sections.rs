//! Custom sections of a component.

use wasmparser::{Parser, Payload};

/// The name of the section in which a policy carries its test vectors.
pub(crate) const VECTORS_SECTION: &str = "ark:vectors";

/// Returns the content of the section `ark:vectors`, if the component has one. A component that cannot be parsed has none: compiling it has failed
/// before.
pub(crate) fn find_vectors_section(component: &[u8]) -> Option<Vec<u8>> {
    Parser::new(0)
        .parse_all(component)
        .find_map(|payload| match payload {
            Ok(Payload::CustomSection(section)) if section.name() == VECTORS_SECTION => {
                Some(section.data().to_vec())
            }
            _ => None,
        })
}
