//! What a handler reads and answers, told by the types of its own signature: the document of the API is made of these and can
//! say nothing else than what is really read and written.

use std::marker::PhantomData;

use axum::Extension;
use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::response::{IntoResponse, Response};
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::super::edge::Passed;
use super::super::error::{Refusal, partly};
use super::asked::{About, Path, Query};
use super::tagged::Version;
use super::tags::Seen;
use super::{Caller, Office, Which, read};

/// What may be answered: it is written, and its form is known.
pub(super) trait Shows: Serialize + JsonSchema {}

impl<T: Serialize + JsonSchema> Shows for T {}

/// A JSON body, read as this type.
pub(super) struct Sent<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Office> for Sent<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, office: &Office) -> Result<Self, Refusal> {
        Ok(Self(read(office, request.into_body()).await?))
    }
}

/// The same, where something else is looked at before it is read.
pub(super) struct Unread<T>(Body, PhantomData<fn() -> T>);

impl<T: DeserializeOwned> Unread<T> {
    pub(super) async fn read(self, office: &Office) -> Result<T, Refusal> {
        read(office, self.0).await
    }
}

impl<T> FromRequest<Office> for Unread<T> {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request, _: &Office) -> Result<Self, Self::Rejection> {
        Ok(Self(request.into_body(), PhantomData))
    }
}

/// An answer in the form of its type.
pub(super) struct Shown<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Shown<T> {
    fn into_response(self) -> Response {
        partly(&self.0, true)
    }
}

/// An answer about one thing that people edit.
pub(super) struct Versioned<T> {
    /// None where the answer is about many.
    version: Option<Version>,
    answer: T,
}

impl<T> Versioned<T> {
    pub(super) fn of(version: impl Into<Option<Version>>, answer: T) -> Self {
        let version = version.into();
        Self { version, answer }
    }
}

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        let mut response = partly(&self.answer, true);
        if let Some(version) = self.version {
            response.extensions_mut().insert(version);
        }
        response
    }
}

impl<T: JsonSchema> Told for Versioned<T> {
    fn describe(operation: &mut Operation<'_>) {
        <Shown<T> as Told>::describe(operation);
    }
}

/// An answer with a result for each of many.
pub(super) struct Partly<T> {
    pub(super) answer: T,
    /// All of it went well.
    pub(super) all: bool,
}

impl<T: Serialize> IntoResponse for Partly<T> {
    fn into_response(self) -> Response {
        partly(&self.answer, self.all)
    }
}

/// One operation in the making.
pub(super) struct Operation<'g> {
    /// Schemas of what is read.
    pub(super) asked: &'g mut SchemaGenerator,
    /// Schemas of what is written.
    pub(super) told: &'g mut SchemaGenerator,
    /// The path as the router has it.
    pub(super) path: &'static str,
    pub(super) parameters: Vec<Value>,
    pub(super) body: Option<Value>,
    pub(super) answers: Map<String, Value>,
}

impl Operation<'_> {
    fn parameter(&mut self, name: &str, place: &str, required: bool, mut schema: Value) {
        if self.parameters.iter().any(|p| p["name"] == name) {
            return;
        }
        let about = schema.as_object_mut().and_then(|s| s.remove("description"));
        let mut parameter = json!({ "name": name, "in": place, "required": required });
        if let Some(about) = about {
            parameter["description"] = about;
        }
        parameter["schema"] = schema;
        self.parameters.push(parameter);
    }

    /// Each property of a query that is read as this type.
    fn query<T: JsonSchema>(&mut self) {
        let schema = self.asked.subschema_for::<T>().to_value();
        let required: Vec<&str> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let mut property = property.clone();
            // A query has no null: what is optional is left out.
            not_null(&mut property);
            self.parameter(name, "query", required.contains(&name.as_str()), property);
        }
    }

    /// The parameters of the path, in the order in which the type has them.
    fn in_path<T: JsonSchema>(&mut self) {
        let schema = self.asked.subschema_for::<T>().to_value();
        let names: Vec<String> = self
            .path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(str::to_owned)
            .collect();
        for (n, name) in names.iter().enumerate() {
            let one = match schema.get("prefixItems") {
                Some(items) => items[n].clone(),
                None => schema.clone(),
            };
            let mut one = one;
            if one["type"] == "string" {
                one["minLength"] = json!(1);
            }
            self.parameter(name, "path", true, one);
        }
    }

    fn answer<T: JsonSchema>(&mut self, status: &str, about: &str) {
        let schema = self.told.subschema_for::<T>().to_value();
        let content = json!({ "application/json": { "schema": schema } });
        let answer = json!({ "description": about, "content": content });
        self.answers.insert(status.to_owned(), answer);
    }
}

/// Takes `null` out of what a schema allows.
fn not_null(schema: &mut Value) {
    if let Some(kinds) = schema.get_mut("type").and_then(Value::as_array_mut) {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            schema["type"] = only.clone();
        }
    }
    if let Some(mut any) = schema["anyOf"].as_array().cloned() {
        any.retain(|one| one["type"] != "null");
        if let [only] = any.as_slice() {
            let about = schema["description"].clone();
            *schema = only.clone();
            if about.is_string() {
                schema["description"] = about;
            }
        }
    }
    if let Some(object) = schema.as_object_mut()
        && object.get("default") == Some(&Value::Null)
    {
        object.remove("default");
    }
}

/// A part of a handler's signature.
pub(super) trait Part {
    fn describe(operation: &mut Operation<'_>);
}

impl<P: JsonSchema> Part for About<P> {
    fn describe(operation: &mut Operation<'_>) {
        operation.query::<Which>();
        operation.query::<P>();
    }
}

impl<T: JsonSchema> Part for Query<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.query::<T>();
    }
}

impl<T: JsonSchema> Part for Result<Query<T>, Refusal> {
    fn describe(operation: &mut Operation<'_>) {
        operation.query::<T>();
    }
}

impl<T: JsonSchema> Part for Path<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.in_path::<T>();
    }
}

impl<T: JsonSchema> Part for Sent<T> {
    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.asked.subschema_for::<T>().to_value();
        let content = json!({ "application/json": { "schema": schema } });
        operation.body = Some(json!({ "required": true, "content": content }));
    }
}

impl<T: JsonSchema> Part for Unread<T> {
    fn describe(operation: &mut Operation<'_>) {
        <Sent<T> as Part>::describe(operation);
    }
}

/// Bytes as they come.
impl Part for Body {
    fn describe(operation: &mut Operation<'_>) {
        let content = json!({ "application/octet-stream": {} });
        operation.body = Some(json!({ "required": true, "content": content }));
    }
}

macro_rules! of_the_server {
    ($($ty:ty),*) => {$(
        impl Part for $ty {
            fn describe(_: &mut Operation<'_>) {}
        }
    )*};
}

of_the_server!(
    State<Office>,
    Extension<Caller>,
    Option<Extension<Passed>>,
    Option<Extension<Seen>>,
    hyper::HeaderMap
);

/// What a handler answers when all went well.
pub(super) trait Told {
    fn describe(operation: &mut Operation<'_>);
}

impl<T: JsonSchema> Told for Shown<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answer::<T>("200", "Done.");
    }
}

impl<T: JsonSchema> Told for Partly<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answer::<T>("200", "All of it is done.");
        operation.answer::<T>("207", "Some of it is done; each has its result.");
    }
}

impl<T: Told> Told for Result<T, Refusal> {
    fn describe(operation: &mut Operation<'_>) {
        T::describe(operation);
    }
}

/// A handler; `A` are the parts of its signature.
pub(super) trait Described<A> {
    fn describe(&self, operation: &mut Operation<'_>);
}

macro_rules! described {
    ($($part:ident),*) => {
        impl<H, F, $($part),*> Described<($($part,)*)> for H
        where
            H: Fn($($part),*) -> F,
            F: Future,
            F::Output: Told,
            $($part: Part,)*
        {
            fn describe(&self, operation: &mut Operation<'_>) {
                $($part::describe(operation);)*
                <F::Output as Told>::describe(operation);
            }
        }
    };
}

described!();
described!(A);
described!(A, B);
described!(A, B, C);
described!(A, B, C, D);
described!(A, B, C, D, E);
described!(A, B, C, D, E, G);

/// An answer with these fields, in the form that their values have.
macro_rules! told {
    ($($name:ident: $value:expr),* $(,)?) => {{
        #[derive(serde::Serialize, schemars::JsonSchema)]
        #[schemars(inline)]
        struct Told<$($name),*> {
            $($name: $name),*
        }
        Told { $($name: $value),* }
    }};
}
pub(super) use told;
