//! Tables: what `kubectl get` prints is made by the server.

mod cells;
mod ports;

use super::kinds::Kind;
use cells::Column;
use hyper::{header::ACCEPT, http::request::Parts};
use serde_json::{Value, json};

/// How much of an object comes with its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    Nothing,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

/// Whether the client would rather have a table, and with how much of the objects (the query's `includeObject`).
pub fn wanted(head: &Parts, include: &str) -> Option<Include> {
    let accept = head.headers.get(ACCEPT)?.to_str().ok()?;
    let first = accept.split(',').find(|part| part.contains("json"))?;
    let parameters: Vec<&str> = first.split(';').map(str::trim).collect();
    let table = parameters.contains(&"as=Table") && parameters.contains(&"v=v1");
    table.then_some(match include {
        "None" => Include::Nothing,
        "Object" => Include::Object,
        _ => Include::Metadata,
    })
}

/// A table with a row for each object.
pub fn render(kind: Kind, objects: impl IntoIterator<Item = Value>, include: Include) -> Value {
    let columns = cells::columns(kind);
    let definitions: Vec<Value> = columns.iter().map(definition).collect();
    let mut version = Value::Null;
    let rows: Vec<Value> = objects
        .into_iter()
        .map(|object| {
            version = object["metadata"]["resourceVersion"].clone();
            row(columns, object, include)
        })
        .collect();
    let metadata = if version.is_null() { json!({}) } else { json!({"resourceVersion": version}) };
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": definitions, "rows": rows})
}

fn row(columns: &[Column], object: Value, include: Include) -> Value {
    let cells: Vec<Value> = columns.iter().map(|c| (c.cell)(&object)).collect();
    match include {
        Include::Nothing => json!({"cells": cells}),
        Include::Metadata => json!({"cells": cells, "object": {"kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]}}),
        Include::Object => json!({"cells": cells, "object": object}),
    }
}

fn definition(column: &Column) -> Value {
    let format = if column.name == "Name" { "name" } else { "" };
    json!({"name": column.name, "type": "string", "format": format, "description": "", "priority": u8::from(column.wide)})
}
