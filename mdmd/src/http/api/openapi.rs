//! The API's own document (OpenAPI 3.1), made of the table of routes and of the types that handlers read and answer.
//!
//! <https://spec.openapis.org/oas/v3.1.1.html>

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::super::error::{PROBLEMS, Problem};
use super::described::{Operation, Shown, Shows};
use super::routes::{self, Route};
use super::{About, Answer, edited, shown};

/// Where schemas stand in the document.
const SCHEMAS: &str = "/components/schemas";

/// The document, made once.
pub(crate) fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(make);
    &DOCUMENT
}

/// Whether a route reads a key of this name in its query.
pub(super) fn reads(method: &str, path: &str, key: &str) -> bool {
    let parameters = document()["paths"][path][method]["parameters"].as_array();
    let mut all = parameters.into_iter().flatten();
    all.any(|one| one["in"] == "query" && one["name"] == key)
}

pub(super) async fn show(_: About) -> Answer<impl Shows> {
    shown(document())
}

fn make() -> Value {
    // What is read stands where it is read: one type may have another form when it is written.
    let mut asked = SchemaSettings::draft2020_12()
        .with(|s| s.inline_subschemas = true)
        .for_deserialize()
        .into_generator();
    let mut told = SchemaSettings::draft2020_12()
        .with(|s| s.definitions_path = SCHEMAS.into())
        .for_serialize()
        .into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for (route, handler, describe) in routes::described() {
        let mut operation = Operation {
            asked: &mut asked,
            told: &mut told,
            path: route.path,
            parameters: Vec::new(),
            body: None,
            answers: Map::new(),
        };
        describe(&mut operation);
        let one = one(route, handler, operation);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method] = one;
    }
    let problem = told.subschema_for::<Problem>().to_value();
    let mut schemas = told.take_definitions(true);
    for schema in schemas.values_mut() {
        plain(schema);
    }
    for path in paths.values_mut() {
        plain(path);
    }
    let refusals: Map<String, Value> = PROBLEMS
        .iter()
        .map(|(status, _, title)| (named(*status), refusal(*status, title, &problem)))
        .collect();
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "mdmd",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "The destination server for Apple's device-management migration",
            "description": include_str!("routes.md"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "A listener with the duty admin, or the local socket." }],
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": refusals,
            "securitySchemes": { "token": {
                "type": "http", "scheme": "bearer",
                "description": "A token of `mdmd api-token new`, or of a session of `mdmd login`. The local socket needs none.",
            } },
        },
    })
}

fn one(route: &Route, handler: &str, operation: Operation<'_>) -> Value {
    let handler = handler.replace(' ', "");
    let mut answers = operation.answers;
    for (status, _, _) in PROBLEMS {
        let refusal = json!({ "$ref": format!("#/components/responses/{}", named(*status)) });
        answers.entry(status.to_string()).or_insert(refusal);
    }
    if route.method == "get" {
        let unchanged = json!({ "description": "Whoever asks has it already." });
        answers.insert("304".to_owned(), unchanged);
        let done = answers.get_mut("200");
        if let Some(done) = done.filter(|done| done["content"]["application/json"].is_object()) {
            done["headers"] = json!({ "ETag": {
                "description": "Names what is answered: for `If-None-Match`, and where it is of one thing for `If-Match`.",
                "schema": { "type": "string" },
            } });
        }
    }
    let group = route.path.split('/').nth(3).unwrap_or("api");
    let mut one = json!({
        "operationId": handler.replace("::", "."),
        "summary": route.about,
        "tags": [group],
        "x-role": route.role,
        "responses": answers,
    });
    let mut parameters = operation.parameters;
    parameters.extend(conditions(route));
    if !parameters.is_empty() {
        one["parameters"] = Value::Array(parameters);
    }
    if let Some(body) = operation.body {
        one["requestBody"] = body;
    }
    one
}

/// The headers that a route looks at beside what its handler does.
fn conditions(route: &Route) -> Vec<Value> {
    let header = |name: &str, about: &str, schema: Value| json!({ "name": name, "in": "header", "required": false, "description": about, "schema": schema });
    let tag = json!({ "type": "string" });
    if route.method == "get" {
        if route.path.ends_with("/events") {
            return Vec::new();
        }
        let about = "An `ETag` that was answered before: 304 when nothing has changed.";
        return vec![header("If-None-Match", about, tag)];
    }
    let mut all = Vec::new();
    let whole = |end: &str| route.path.ends_with(end);
    let none = whole("/upload") || whole("/bundle") || route.path.contains("/secrets/");
    if !none && route.path != "/api/v1/organisations" {
        let about = "The same request with the same key is done once within a day, and answered alike; 503 while the first one is under way.";
        let key = json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!#-\\[\\]-~]+$" });
        all.push(header("Idempotency-Key", about, key));
    }
    if edited::by(route.path).is_some() {
        let about = "The `ETag` of what is changed as it was seen: 412 when it has changed meanwhile. `*` is any: 412 when there is no such thing.";
        let mut seen = header("If-Match", about, tag);
        seen["example"] = json!("*");
        all.push(seen);
    }
    all
}

/// The name of a refusal among the document's parts.
fn named(status: u16) -> String {
    format!("problem{status}")
}

fn refusal(status: u16, title: &str, problem: &Value) -> Value {
    let mut refusal = json!({
        "description": format!("{title}."),
        "content": { "application/problem+json": { "schema": problem } },
    });
    if status == 503 {
        refusal["headers"] = json!({ "Retry-After": {
            "description": "Seconds after which to come again.",
            "schema": { "type": "integer", "minimum": 0 },
        } });
    }
    refusal
}

/// Takes away what schemas say twice.
fn plain(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.remove("$schema");
            object.values_mut().for_each(plain);
        }
        Value::Array(all) => all.iter_mut().for_each(plain),
        _ => {}
    }
}

/// Keeps the answer's type in the signatures of the table.
pub(super) type Table = Shown<&'static [Route]>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_every_route_with_what_it_reads_and_answers() {
        let document = document();
        let mut ids = std::collections::BTreeSet::new();
        for route in routes::ROUTES {
            let one = &document["paths"][route.path][route.method];
            let place = format!("{} {}", route.method, route.path);
            assert_eq!(one["summary"], route.about, "{place}");
            assert!(ids.insert(one["operationId"].to_string()), "{place}");
            assert!(
                one["responses"]["200"]["content"].is_object(),
                "{place}: {one:#}"
            );
            assert_eq!(
                one["requestBody"].is_object(),
                !route.body.is_empty(),
                "{place}: its line in the table and its handler disagree"
            );
            for parameter in one["parameters"].as_array().into_iter().flatten() {
                assert!(parameter["schema"].is_object(), "{place}: {parameter:#}");
            }
        }
    }

    /// A list whose next page nobody can ask for, or that is asked for by pages and has none, is read in part and taken for whole.
    #[test]
    fn every_list_by_pages_has_both_ends_of_them() {
        let document = document();
        let mut paged = 0;
        for route in routes::ROUTES.iter().filter(|route| route.method == "get") {
            let one = &document["paths"][route.path]["get"];
            let mut schema = &one["responses"]["200"]["content"]["application/json"]["schema"];
            if let Some(to) = schema["$ref"].as_str() {
                schema = document.pointer(to.trim_start_matches('#')).unwrap();
            }
            let asks = |name: &str| reads("get", route.path, name);
            let by_pages = asks("limit") && (asks("after") || asks("before"));
            let has_next = !schema["properties"]["next"].is_null();
            assert_eq!(has_next, by_pages, "{}", route.path);
            paged += usize::from(by_pages);
        }
        assert!(paged > 25, "{paged}");
    }

    /// A reference that leads nowhere would be seen by a reader of the document only.
    #[test]
    fn every_reference_of_the_document_leads_somewhere() {
        fn walk(value: &Value, all: &Value, seen: &mut usize) {
            if let Some(to) = value["$ref"].as_str() {
                let pointer = to.strip_prefix('#').unwrap_or_default();
                assert!(all.pointer(pointer).is_some(), "{to}");
                *seen += 1;
            }
            match value {
                Value::Object(object) => object.values().for_each(|v| walk(v, all, seen)),
                Value::Array(array) => array.iter().for_each(|v| walk(v, all, seen)),
                _ => {}
            }
        }
        let mut seen = 0;
        walk(document(), document(), &mut seen);
        assert!(seen > 100, "{seen}");
    }
}
