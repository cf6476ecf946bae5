//! Paths of file operations.

use super::error::FieldError;
use super::fields::check_text_length;

/// The longest path, in bytes (`PATH_MAX` on Linux).
pub const MAX_PATH: usize = 4096;

/// Normalises the path of a file operation lexically: `\` becomes `/`, `.` and empty parts go, `..` removes the part before it where there is
/// one. `..` at the root of an absolute path has no effect.
pub(super) fn normalize_path(path: &str) -> Result<String, FieldError> {
    const FIELD: &str = "parameters.path";
    check_text_length(FIELD, path, MAX_PATH)?;
    if path.is_empty() || path.chars().any(char::is_control) {
        let problem = if path.is_empty() {
            "is empty"
        } else {
            "contains control characters"
        };
        return Err(FieldError::new(FIELD, problem, "give a path"));
    }
    let path = path.replace('\\', "/");
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    Ok(match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    })
}

#[cfg(test)]
mod tests {
    use super::normalize_path;

    #[test]
    fn paths_are_normalised_before_they_are_judged() {
        for (given, normal) in [
            ("a/b", "a/b"),
            ("./a//b/.", "a/b"),
            (
                "/etc/../policies/./graveyard.wasm",
                "/policies/graveyard.wasm",
            ),
            ("/../../x", "/x"),
            ("../../x", "../../x"),
            ("a/../../x", "../x"),
            (r"policies\graveyard.wasm", "policies/graveyard.wasm"),
            (r"C:\x\..\graveyard.wasm", "C:/graveyard.wasm"),
            ("a/..", "."),
            ("/", "/"),
        ] {
            assert_eq!(normalize_path(given).as_deref(), Ok(normal), "{given}");
        }
        for bad in ["", "a\0b", "a\nb", &"a".repeat(5000)] {
            assert!(normalize_path(bad).is_err(), "{bad:?}");
        }
    }
}
