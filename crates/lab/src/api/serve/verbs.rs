//! From a request to the verb that answers it.

use super::{
    answer::{self, Answer},
    body, discovery, list, openapi,
    request::{Place, Query, place},
    watch,
};
use crate::api::{
    admit::Rules,
    crud::{DeleteOptions, Target},
    endpoints,
    error::{ApiError, Result},
    object::{Object, text},
    patch::{self, PatchType},
    shared::Shared,
    table::{self, Include},
};
use hyper::{Method, http::request::Parts};
use serde_json::{Value, json};
use std::sync::Arc;

/// Everything about one request on a resource.
struct Call<'a> {
    shared: &'a Arc<Shared>,
    place: Place,
    query: Query,
    table: Option<Include>,
    content_type: &'a str,
}

/// Answers a request.
pub fn dispatch(shared: &Arc<Shared>, head: &Parts, body: Value, version: (u32, u32)) -> Result<Answer> {
    let (path, query) = (head.uri.path(), Query::parse(head.uri.query()));
    if let Some(answer) = unstored(shared, head, path, &body, version) {
        return Ok(answer);
    }
    let place = place(path).ok_or_else(ApiError::no_resource)?;
    if place.sub.as_deref().is_some_and(|sub| sub != "status" || !place.kind.info().status) {
        return Err(ApiError::no_resource());
    }
    let table = table::wanted(head, query.get("includeObject"));
    let call = Call { shared, place, query, table, content_type: body::content_type(head) };
    match (&head.method, call.place.name.is_some()) {
        (&Method::GET | &Method::HEAD, false) => call.list_or_watch(),
        (&Method::GET | &Method::HEAD, true) => call.get(),
        (&Method::POST, false) => call.create(body),
        (&Method::PUT, true) => call.replace(body),
        (&Method::PATCH, true) => call.patch(&body),
        (&Method::DELETE, true) => call.delete(&body),
        (&Method::DELETE, false) => call.delete_collection(&body),
        _ => Err(ApiError::method()),
    }
}

/// What is answered without the store's kinds: discovery, health, and two views for older clients.
fn unstored(shared: &Shared, head: &Parts, path: &str, body: &Value, version: (u32, u32)) -> Option<Answer> {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    match (&head.method, &parts[..]) {
        (&Method::GET, ["healthz" | "livez" | "readyz", ..]) => Some(answer::plain(200, "text/plain", "ok")),
        (&Method::GET, ["openapi", rest @ ..]) => openapi::document(rest, head),
        (&Method::GET, ["api", "v1", "namespaces", namespace, "endpoints", name]) => {
            endpoints::view(&shared.store(), namespace, name).map(|e| answer::json(200, &e))
        }
        // Event recorders use the newer group; nobody reads those events here.
        (&Method::POST, ["apis", "events.k8s.io", "v1", "namespaces", _, "events"]) => {
            Some(answer::json(201, body))
        }
        (&Method::GET, _) => discovery::document(&parts, version).map(|d| answer::json(200, &d)),
        _ => None,
    }
}

impl Call<'_> {
    fn name(&self) -> &str {
        self.place.name.as_deref().unwrap_or_default()
    }

    fn target(&self) -> Target<'_> {
        let Place { kind, namespace, sub, .. } = &self.place;
        Target { kind: *kind, namespace, name: self.name(), status: sub.is_some() }
    }

    fn dry(&self) -> bool {
        !self.query.get("dryRun").is_empty()
    }

    fn one(&self, code: u16, object: &Object) -> Answer {
        match self.table {
            Some(include) => answer::json(code, &table::render(self.place.kind, [object.value()], include)),
            None => answer::bytes(code, object.json.clone()),
        }
    }

    fn list_or_watch(&self) -> Result<Answer> {
        let Place { kind, namespace, .. } = &self.place;
        if self.shared.faults.borrow().forbidden.contains(kind) {
            let verb = if self.query.is("watch") { "watch" } else { "list" };
            return Err(ApiError::forbidden(*kind, verb));
        }
        if self.query.is("watch") {
            watch::answer(self.shared, *kind, namespace, &self.query, self.table)
        } else {
            list::answer(self.shared, *kind, namespace, &self.query, self.table)
        }
    }

    fn get(&self) -> Result<Answer> {
        let Place { kind, namespace, .. } = &self.place;
        let found = self.shared.store().get(*kind, namespace, self.name()).cloned();
        Ok(self.one(200, &found.ok_or_else(|| ApiError::not_found(*kind, self.name()))?))
    }

    fn create(&self, body: Value) -> Result<Answer> {
        let Place { kind, namespace, .. } = &self.place;
        if kind.info().namespaced && namespace.is_empty() {
            return Err(ApiError::method());
        }
        let object = self.shared.create(*kind, namespace, body, Rules::Client, self.dry())?;
        Ok(self.one(201, &object))
    }

    fn replace(&self, body: Value) -> Result<Answer> {
        Ok(self.one(200, &self.shared.update(self.target(), body, Rules::Client, self.dry())?))
    }

    fn patch(&self, body: &Value) -> Result<Answer> {
        let how = PatchType::of(self.content_type).ok_or_else(|| ApiError::media_type(self.content_type))?;
        let target = self.target();
        let change = |value: &mut Value| patch::apply(target.kind, how, body, value);
        match self.shared.modify(target, self.dry(), Rules::Client, change) {
            Err(e) if e.code == 404 && how == PatchType::Apply && !target.status => {
                let mut value = json!({"metadata": {"name": target.name}});
                patch::apply(target.kind, how, body, &mut value)?;
                let object =
                    self.shared.create(target.kind, target.namespace, value, Rules::Client, self.dry())?;
                Ok(self.one(201, &object))
            }
            patched => Ok(self.one(200, &patched?)),
        }
    }

    fn delete_options(&self, body: &Value) -> DeleteOptions {
        let owned = |pointer: &str| Some(text(body, pointer).to_owned()).filter(|t| !t.is_empty());
        let grace = body.get("gracePeriodSeconds").and_then(Value::as_u64);
        DeleteOptions {
            uid: owned("/preconditions/uid"),
            version: owned("/preconditions/resourceVersion"),
            grace: grace.or_else(|| self.query.number("gracePeriodSeconds")),
        }
    }

    fn delete(&self, body: &Value) -> Result<Answer> {
        let target = self.target();
        let (object, gone) = self.shared.delete(target, &self.delete_options(body), self.dry())?;
        if !gone {
            return Ok(self.one(200, &object));
        }
        let info = target.kind.info();
        let details =
            json!({"name": target.name, "group": info.group, "kind": info.plural, "uid": object.meta.uid});
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
        Ok(answer::json(200, &status))
    }

    fn delete_collection(&self, body: &Value) -> Result<Answer> {
        let Place { kind, namespace, .. } = &self.place;
        if kind.info().namespaced && namespace.is_empty() {
            return Err(ApiError::method());
        }
        let selector = list::selector(*kind, &self.query)?;
        let objects: Vec<Object> = self
            .shared
            .store()
            .range(*kind, namespace, None)
            .filter(|o| selector.matches(&o.meta))
            .cloned()
            .collect();
        let options = self.delete_options(body);
        for object in &objects {
            let target = Target { kind: *kind, namespace, name: &object.meta.key.1, status: false };
            match self.shared.delete(target, &options, self.dry()) {
                // Somebody else was faster; gone is gone.
                Err(e) if e.code != 404 => return Err(e),
                _ => {}
            }
        }
        let pieces = objects.into_iter().map(|o| o.json).collect();
        Ok(answer::stream(list::pieces(*kind, self.shared.store().version(), None, pieces)))
    }
}
