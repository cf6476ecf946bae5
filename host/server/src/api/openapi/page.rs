//! The document as a page to read: plain HTML with its own style and one script, which searches. Nothing comes from elsewhere, and a browser runs nothing
//! but that script: its digest is in the page's policy.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use ark_model::ids::Digest;

use super::examples::{find_answer, render_curl};

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--soft:#8881}\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}\
code,.path{font-family:ui-monospace,monospace;font-size:.9em}\
h2{margin-top:2.5rem;border-bottom:1px solid var(--line)}\
h2,details{scroll-margin-top:7rem}\
details{border:1px solid var(--line);border-radius:6px;margin:.5rem 0;padding:0 1rem}\
details[open]{padding-bottom:1rem}\
summary{padding:.5rem 0;cursor:pointer}\
.method{display:inline-block;min-width:4.5em;font-weight:700}\
.role{float:right;background:var(--soft);border-radius:4px;padding:0 .5em;font-size:.85em}\
table{border-collapse:collapse;width:100%;margin:.5rem 0 1rem}\
td,th{border-top:1px solid var(--line);padding:.3rem .5rem;text-align:left;vertical-align:top}\
td:first-child{white-space:nowrap}\
.must{color:#c33}\
@media(prefers-color-scheme:dark){body{background:#16181c;color:#dde}a{color:#8bf}.must{color:#f77}}\
nav a{margin-right:1em;display:inline-block}\
nav{position:sticky;top:0;background:Canvas;padding:.5rem 0;border-bottom:1px solid var(--line)}\
@media(prefers-color-scheme:dark){nav{background:#16181c}}\
nav input{font:inherit;width:100%;box-sizing:border-box;padding:.3rem .6rem;margin-bottom:.3rem}\
nav input::placeholder{color:inherit;opacity:.8}\
pre{background:var(--soft);border-radius:6px;padding:.6rem .8rem;overflow-x:auto;max-height:24rem;font-size:.85em}\
p code,td code{background:var(--soft);border-radius:4px;padding:0 .25em}\
[hidden]{display:none}\
@media(max-width:40rem){body{padding:.5rem}table,tbody,tr,td{display:block}tr{border-top:1px solid var(--line);padding:.3rem 0}\
tr:first-child,td:empty{display:none}td{border:0;padding:0;overflow-wrap:anywhere}td:first-child{white-space:normal}\
.path{overflow-wrap:anywhere}.role{float:none;white-space:nowrap}.method{min-width:0}details{padding:0 .5rem}\
nav{position:static}h2,details{scroll-margin-top:.5rem}}";

/// Hides what does not contain every word that is searched for, and opens what is linked to.
const SCRIPT: &str = "\
const box=document.getElementById('search');\
const parts=[...document.querySelectorAll('details[id]')];\
const texts=parts.map(part=>part.textContent.toLowerCase());\
box.addEventListener('input',()=>{\
const words=box.value.toLowerCase().split(/\\s+/).filter(Boolean);\
parts.forEach((part,index)=>{part.hidden=!words.every(word=>texts[index].includes(word))});\
document.querySelectorAll('h2').forEach(title=>{\
let next=title.nextElementSibling,found=false;\
while(next&&next.tagName!=='H2'){found=found||!next.hidden;next=next.nextElementSibling}\
title.hidden=!found})});\
const open=()=>{const part=document.getElementById(location.hash.slice(1));if(part&&part.tagName==='DETAILS')part.open=true};\
addEventListener('hashchange',open);open();";

/// What a browser may do with the page: apply its own style, run its own script, and nothing else.
pub(super) fn content_security_policy() -> String {
    let hash = |text: &str| STANDARD.encode(Digest::hash_bytes(text.as_bytes()).as_bytes());
    let (style, script) = (hash(STYLE), hash(SCRIPT));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// The page.
pub(super) fn render_page(document: &Value) -> String {
    let mut html = String::with_capacity(256 * 1024);
    let title = escape_text(&document["info"]["title"]);
    let version = escape_text(&document["info"]["version"]);
    write_html(
        &mut html,
        format_args!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width,initial-scale=1\"><title>{title}: HTTP API</title><style>{STYLE}</style><h1>{title}: HTTP API</h1><p>Version \
             {version}. {}</p><p>The same for programs: <a href=\"openapi.json\">openapi.json</a>.</p>",
            render_description(&document["info"]["description"])
        ),
    );
    let calls = collect_calls(document);
    let mut tags: Vec<&str> = Vec::new();
    for call in &calls {
        if !tags.contains(&call.tag) {
            tags.push(call.tag);
        }
    }
    tags.sort_unstable();
    html.push_str(
        "<nav><input id=\"search\" type=\"search\" placeholder=\"Search calls and schemas\" aria-label=\"Search calls and schemas\">",
    );
    for tag in &tags {
        let tag = escape_html(tag);
        write_html(&mut html, format_args!("<a href=\"#tag-{tag}\">{tag}</a>"));
    }
    html.push_str("<a href=\"#schemas\">schemas</a></nav>");
    for tag in tags {
        let shown = escape_html(tag);
        write_html(
            &mut html,
            format_args!("<h2 id=\"tag-{shown}\">{shown}</h2>"),
        );
        for call in calls.iter().filter(|call| call.tag == tag) {
            render_operation(&mut html, document, call);
        }
    }
    html.push_str("<h2 id=\"schemas\">schemas</h2>");
    for (name, schema) in document["components"]["schemas"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let shown = escape_html(name);
        write_html(
            &mut html,
            format_args!(
                "<details id=\"schema-{shown}\" open><summary><code>{shown}</code></summary>"
            ),
        );
        write_html(
            &mut html,
            format_args!("<p>{}</p>", render_description(&schema["description"])),
        );
        write_schema(&mut html, schema);
        html.push_str("</details>");
    }
    write_html(&mut html, format_args!("<script>{SCRIPT}</script></html>"));
    html
}

struct DocumentedCall<'a> {
    method: String,
    path: &'a str,
    tag: &'a str,
    operation: &'a Value,
}

fn collect_calls(document: &Value) -> Vec<DocumentedCall<'_>> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths
        .flat_map(|(path, item)| {
            let operations = item.as_object().into_iter().flatten();
            operations.map(move |(method, operation)| DocumentedCall {
                method: method.to_uppercase(),
                path,
                tag: operation["tags"][0].as_str().unwrap_or("other"),
                operation,
            })
        })
        .collect()
}

fn render_operation(html: &mut String, document: &Value, call: &DocumentedCall<'_>) {
    let operation = call.operation;
    let role = operation["x-ark-role"].as_str().unwrap_or("no token");
    write_html(
        html,
        format_args!(
            "<details id=\"{}\"><summary><span class=\"method\">{}</span> <span class=\"path\">{}</span> <span \
             class=\"role\">{}</span><br>{}</summary>",
            escape_text(&operation["operationId"]),
            escape_html(&call.method),
            escape_html(call.path),
            escape_html(role),
            render_description(&operation["summary"]),
        ),
    );
    let description = operation["description"].as_str().unwrap_or_default();
    for paragraph in description.split("\n\n").filter(|it| !it.is_empty()) {
        write_html(html, format_args!("<p>{}</p>", with_code(paragraph)));
    }
    let parameters = operation["parameters"].as_array();
    if let Some(parameters) = parameters.filter(|parameters| !parameters.is_empty()) {
        html.push_str("<table><tr><th>Parameter<th>In<th>Form<th>");
        for parameter in parameters {
            let parameter = resolve_reference(document, parameter);
            write_html(
                html,
                format_args!(
                    "<tr><td><code>{}</code>{}<td>{}<td>{}<td>{}",
                    escape_text(&parameter["name"]),
                    required_mark(parameter["required"].as_bool().unwrap_or(false)),
                    escape_text(&parameter["in"]),
                    describe_schema(&parameter["schema"]),
                    render_description(&parameter["description"]),
                ),
            );
        }
        html.push_str("</table>");
    }
    for (kind, media) in operation["requestBody"]["content"]
        .as_object()
        .into_iter()
        .flatten()
    {
        write_html(
            html,
            format_args!(
                "<p>Body: <code>{}</code>, {}</p>",
                escape_html(kind),
                describe_schema(&media["schema"])
            ),
        );
    }
    html.push_str("<table><tr><th>Status<th>Body<th>");
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let bodies: Vec<String> = response["content"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(kind, media)| {
                format!(
                    "<code>{}</code> {}",
                    escape_html(kind),
                    describe_schema(&media["schema"])
                )
            })
            .collect();
        write_html(
            html,
            format_args!(
                "<tr><td>{}<td>{}<td>{}",
                escape_html(status),
                bodies.join("<br>"),
                render_description(&response["description"])
            ),
        );
    }
    html.push_str("</table>");
    let command = render_curl(document, &call.method, call.path, operation);
    write_html(
        html,
        format_args!("<p>Example:</p><pre>{}</pre>", escape_html(&command)),
    );
    if let Some(json) = find_answer(document, operation) {
        write_html(
            html,
            format_args!("<p>Answer:</p><pre>{}</pre>", escape_html(&json)),
        );
    }
    html.push_str("</details>");
}

/// A schema's fields as a table, or its alternatives.
fn write_schema(html: &mut String, schema: &Value) {
    for part in list_parts(schema) {
        write_schema(html, part);
    }
    let Some(properties) = schema["properties"].as_object() else {
        if list_parts(schema).is_empty() {
            write_html(html, format_args!("<p>{}</p>", describe_schema(schema)));
        }
        return;
    };
    let required = schema["required"].as_array();
    html.push_str("<table><tr><th>Field<th>Form<th>");
    for (name, property) in properties {
        let needed = required.is_some_and(|all| all.iter().any(|one| one == name.as_str()));
        write_html(
            html,
            format_args!(
                "<tr><td><code>{}</code>{}<td>{}<td>{}",
                escape_html(name),
                required_mark(needed),
                describe_schema(property),
                render_description(&property["description"])
            ),
        );
    }
    html.push_str("</table>");
}

/// The alternatives or parts that stand in a schema itself, with fields of their own.
fn list_parts(schema: &Value) -> Vec<&Value> {
    ["oneOf", "anyOf", "allOf"]
        .into_iter()
        .filter_map(|name| schema[name].as_array())
        .flatten()
        .collect()
}

/// A schema in one line.
fn describe_schema(schema: &Value) -> String {
    if let Some(to) = schema["$ref"].as_str() {
        let name = escape_html(to.rsplit('/').next().unwrap_or(to));
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    for (name, between) in [("oneOf", " or "), ("anyOf", " or "), ("allOf", " with ")] {
        if let Some(options) = schema[name].as_array() {
            let options: Vec<String> = options.iter().map(describe_schema).collect();
            return options.join(between);
        }
    }
    let mut said = match &schema["type"] {
        Value::String(kind) => escape_html(kind),
        Value::Array(kinds) => {
            let kinds: Vec<String> = kinds.iter().map(escape_text).collect();
            kinds.join(" or ")
        }
        _ => "any value".to_owned(),
    };
    if let Some(items) = schema.get("items") {
        said = format!("{said} of {}", describe_schema(items));
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> = values
            .iter()
            .map(|value| format!("<code>{}</code>", escape_html(&value.to_string())))
            .collect();
        said = values.join(", ");
    }
    for (name, word) in [
        ("minimum", "from"),
        ("exclusiveMinimum", "more than"),
        ("maximum", "to"),
        ("minLength", "from length"),
        ("maxLength", "to length"),
        ("minItems", "at least"),
        ("maxItems", "at most"),
    ] {
        if let Some(bound) = schema.get(name) {
            let _ = write!(said, ", {word} {}", escape_html(&bound.to_string()));
        }
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        let _ = write!(said, ", <code>{}</code>", escape_html(pattern));
    }
    said
}

fn required_mark(needed: bool) -> &'static str {
    if needed {
        "<span class=\"must\" title=\"required\">*</span>"
    } else {
        ""
    }
}

fn resolve_reference<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let target = value["$ref"]
        .as_str()
        .and_then(|to| to.strip_prefix('#'))
        .and_then(|pointer| document.pointer(pointer));
    target.unwrap_or(value)
}

fn escape_text(value: &Value) -> String {
    escape_html(value.as_str().unwrap_or_default())
}

/// A text with what stands in backticks as code.
fn render_description(value: &Value) -> String {
    with_code(value.as_str().unwrap_or_default())
}

fn with_code(text: &str) -> String {
    let mut parts = text.split('`');
    let mut html = escape_html(parts.next().unwrap_or_default());
    while let Some(code) = parts.next() {
        match parts.next() {
            Some(after) => write_html(
                &mut html,
                format_args!("<code>{}</code>{}", escape_html(code), escape_html(after)),
            ),
            // One without its end is a backtick.
            None => write_html(&mut html, format_args!("`{}", escape_html(code))),
        }
    }
    html
}

fn escape_html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// Writing into a `String` cannot fail.
fn write_html(html: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = html.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_of_the_document_are_escaped_in_the_page() {
        let document = json!({
            "info": {"title": "T", "version": "1", "description": "<script>"},
            "paths": {"/a/{b}": {"get": {
                "operationId": "a", "summary": "s & t", "description": "`<x>` and ` alone", "tags": ["x"], "x-ark-role": "reader",
                "parameters": [{"name": "b", "in": "path", "required": true, "schema": {"type": "string", "pattern": "^<$"}}],
                "responses": {"200": {"description": "ok", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/B"}}}}},
            }}},
            "components": {"schemas": {"B": {"type": "object", "properties": {"c\"d": {"type": ["string", "null"]}}}}},
        });
        let page = render_page(&document);
        assert_eq!(page.matches("<script").count(), 1, "{page}");
        for expected in [
            "&lt;script&gt;",
            "s &amp; t",
            "c&quot;d",
            "^&lt;$",
            "#schema-B",
            "string or null",
            "<code>&lt;x&gt;</code> and ` alone",
            "curl -s localhost:8000/a/",
        ] {
            assert!(page.contains(expected), "{expected} is not in {page}");
        }
        assert!(content_security_policy().starts_with("default-src 'none'"));
    }
}
