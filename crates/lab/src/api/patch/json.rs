//! JSON patch, RFC 6902.

use crate::api::error::{ApiError, Result};
use serde_json::Value;

/// Applies every operation in order, or none.
pub fn apply(value: &mut Value, patch: &Value) -> Result<()> {
    let operations =
        patch.as_array().ok_or_else(|| ApiError::bad_request("a JSON patch is an array of operations"))?;
    let mut work = value.clone();
    for operation in operations {
        step(&mut work, operation).map_err(refused)?;
    }
    *value = work;
    Ok(())
}

fn refused(why: String) -> ApiError {
    let message = format!("the server rejected our request due to an error in our request: {why}");
    ApiError { code: 422, reason: "Invalid", message, details: Value::Null }
}

fn step(value: &mut Value, operation: &Value) -> Result<(), String> {
    let field = |name: &str| {
        operation.get(name).and_then(Value::as_str).ok_or(format!("an operation lacks {name:?}"))
    };
    let operand = || operation.get("value").cloned().ok_or("an operation lacks \"value\"".to_owned());
    let path = field("path")?;
    match field("op")? {
        "add" => add(value, path, operand()?),
        "remove" => remove(value, path).map(drop),
        "replace" => {
            let place = value.pointer_mut(path).ok_or(missing(path))?;
            *place = operand()?;
            Ok(())
        }
        "move" => {
            let moved = remove(value, field("from")?)?;
            add(value, path, moved)
        }
        "copy" => {
            let from = field("from")?;
            let copied = value.pointer(from).cloned().ok_or(missing(from))?;
            add(value, path, copied)
        }
        "test" if value.pointer(path) == Some(&operand()?) => Ok(()),
        "test" => Err(format!("testing value {path} failed")),
        other => Err(format!("unknown operation {other:?}")),
    }
}

fn missing(path: &str) -> String {
    format!("there is nothing at {path}")
}

/// The parent of a pointer's target and the target's last step, unescaped.
fn split<'v>(value: &'v mut Value, path: &str) -> Result<(&'v mut Value, String), String> {
    let (parent, last) = path.rsplit_once('/').ok_or(missing(path))?;
    let parent = value.pointer_mut(parent).ok_or(missing(path))?;
    Ok((parent, last.replace("~1", "/").replace("~0", "~")))
}

fn add(value: &mut Value, path: &str, new: Value) -> Result<(), String> {
    if path.is_empty() {
        *value = new;
        return Ok(());
    }
    match split(value, path)? {
        (Value::Object(map), last) => {
            map.insert(last, new);
        }
        (Value::Array(array), last) if last == "-" => array.push(new),
        (Value::Array(array), last) => {
            let at = last.parse().ok().filter(|at| *at <= array.len()).ok_or(missing(path))?;
            array.insert(at, new);
        }
        _ => return Err(missing(path)),
    }
    Ok(())
}

fn remove(value: &mut Value, path: &str) -> Result<Value, String> {
    match split(value, path)? {
        (Value::Object(map), last) => map.remove(&last).ok_or(missing(path)),
        (Value::Array(array), last) => {
            let at = last.parse().ok().filter(|at| *at < array.len()).ok_or(missing(path))?;
            Ok(array.remove(at))
        }
        _ => Err(missing(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_operation_works_and_a_failed_one_changes_nothing() {
        let mut value = json!({"a": {"x/y": 1}, "l": [1, 3]});
        let patch = json!([
            {"op": "test", "path": "/a/x~1y", "value": 1},
            {"op": "add", "path": "/l/1", "value": 2},
            {"op": "add", "path": "/l/-", "value": 4},
            {"op": "copy", "from": "/l", "path": "/m"},
            {"op": "move", "from": "/a", "path": "/b"},
            {"op": "remove", "path": "/m/0"},
            {"op": "replace", "path": "/b/x~1y", "value": null},
        ]);
        apply(&mut value, &patch).unwrap();
        let want = json!({"b": {"x/y": null}, "l": [1, 2, 3, 4], "m": [2, 3, 4]});
        assert_eq!(value, want);
        let bad = json!([{"op": "remove", "path": "/b"}, {"op": "test", "path": "/l/0", "value": 9}]);
        assert_eq!(apply(&mut value, &bad).unwrap_err().code, 422);
        assert_eq!(value, want);
    }
}
