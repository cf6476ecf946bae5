//! The files of new agents, in each language, as they are embedded in the program: template, SDK and contract.

/// A file: its path in the project, and its text. `{{name}}`, `{{package}}` and `{{sdk}}` stand for what is filled in.
pub(super) type TemplateFile = (&'static str, &'static str);

/// The contract, in the layout that every tool of WIT reads.
const WIT: [TemplateFile; 2] = [
    (
        "wit/agent.wit",
        include_str!("../../../../../wit/agent/agent.wit"),
    ),
    (
        "wit/deps/types/types.wit",
        include_str!("../../../../../wit/agent/deps/types/types.wit"),
    ),
];

/// The files of a new agent in Rust.
pub(super) const RUST: [TemplateFile; 6] = [
    ("Cargo.toml", include_str!("agent/Cargo.toml.in")),
    ("src/lib.rs", include_str!("agent/lib.rs.in")),
    ("README.md", include_str!("agent/README.md.in")),
    ("sample.json", include_str!("agent/sample.json.in")),
    ("{{name}}.toml", include_str!("agent/manifest.toml.in")),
    (".gitignore", "/target\n/dist\n"),
];

/// A file of the Python package `ark_guest`.
macro_rules! python_sdk {
    ($name:literal) => {
        (
            concat!("sdk/ark_guest/", $name),
            include_str!(concat!("../../../../../guest-sdk/python/ark_guest/", $name)),
        )
    };
}

/// A file of the JavaScript package `ark-guest`.
macro_rules! javascript_sdk {
    ($name:literal) => {
        (
            concat!("sdk/", $name),
            include_str!(concat!("../../../../../guest-sdk/javascript/", $name)),
        )
    };
}

/// The files of a new agent in Python.
pub(super) const PYTHON: [TemplateFile; 17] = [
    ("src/agent.py", include_str!("python/agent.py.in")),
    ("src/component.py", include_str!("python/component.py.in")),
    (
        "tests/test_agent.py",
        include_str!("python/test_agent.py.in"),
    ),
    (
        "requirements.txt",
        include_str!("python/requirements.txt.in"),
    ),
    ("pyproject.toml", include_str!("python/pyproject.toml.in")),
    ("README.md", include_str!("python/README.md.in")),
    ("sample.json", include_str!("trend/sample.json.in")),
    ("{{name}}.toml", include_str!("trend/manifest.toml.in")),
    (
        ".gitignore",
        "/dist\n/.venv\n__pycache__/\n.pytest_cache/\n",
    ),
    WIT[0],
    WIT[1],
    python_sdk!("__init__.py"),
    python_sdk!("actions.py"),
    python_sdk!("agent.py"),
    python_sdk!("mock.py"),
    python_sdk!("component.py"),
    python_sdk!("py.typed"),
];

/// The files of a new agent in JavaScript.
pub(super) const JAVASCRIPT: [TemplateFile; 18] = [
    ("src/agent.js", include_str!("javascript/agent.js.in")),
    (
        "src/component.js",
        include_str!("javascript/component.js.in"),
    ),
    (
        "tests/agent.test.js",
        include_str!("javascript/agent.test.js.in"),
    ),
    ("package.json", include_str!("javascript/package.json.in")),
    (
        "package-lock.json",
        include_str!("javascript/package-lock.json.in"),
    ),
    ("README.md", include_str!("javascript/README.md.in")),
    ("sample.json", include_str!("trend/sample.json.in")),
    ("{{name}}.toml", include_str!("trend/manifest.toml.in")),
    (".gitignore", "/dist\n/node_modules\n"),
    WIT[0],
    WIT[1],
    javascript_sdk!("index.js"),
    javascript_sdk!("index.d.ts"),
    javascript_sdk!("actions.js"),
    javascript_sdk!("agent.js"),
    javascript_sdk!("mock.js"),
    javascript_sdk!("component.js"),
    javascript_sdk!("component.d.ts"),
];
