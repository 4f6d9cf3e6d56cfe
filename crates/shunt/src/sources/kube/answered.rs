//! Noticing that the API server answers, which a watcher keeps to itself until an object changes.

use axum::http::Request;
use kube::Client;
use kube::client::Body;
use std::sync::Arc;
use tokio::sync::Notify;

/// The same client, which rings `answered` at each list or watch that the server grants.
pub(super) fn telling(client: Client, answered: Arc<Notify>) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, answered) = (client.clone(), answered.clone());
        async move {
            let response = client.send(request).await?;
            if response.status().is_success() {
                answered.notify_one();
            }
            Ok::<_, kube::Error>(response)
        }
    });
    Client::new(service, namespace)
}
