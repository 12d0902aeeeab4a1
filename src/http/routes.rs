//! THE table of endpoints, and the order in which every request is checked.
//!
//! Common headers; OPTIONS; query string; path; method; then the endpoint. Source: http-data.md §1, §2.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, OnceLock};

use axum_core::body::Body;
use axum_core::response::Response;
use futures::future::BoxFuture;
use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};

use super::error::{Endpoint, Failure};
use super::memory::{Held, Memory};
use super::params::Params;
use super::render::Options;
use super::{
    backup, boot, debug, execute, leader, licenses, load, nodes, query, queue, readyz, remove, request, response, root,
    snapshot, sql, status,
};
use crate::cluster;
use crate::cluster::discovery::Discovery;
use crate::config::Config;
use crate::metrics::{Counter, Metrics};
use crate::queue::Queue;
use crate::store::Store;
use crate::version::RQLITE_VERSION;
use crate::world::World;

/// `host:port` of the node that answered.
pub const SERVED_BY: HeaderName = HeaderName::from_static("x-rqlite-served-by");

/// What the endpoints share.
pub struct Api {
    pub world: World,
    pub config: Config,
    /// Since 1970.
    pub started: std::time::Duration,
    /// Where HTTP listens.
    pub bound: String,
    pub metrics: Arc<Metrics>,
    pub memory: Memory,
    /// When the last backup was begun, since 1970.
    pub last_backup: Mutex<Option<std::time::Duration>>,
    /// Set once it is open: HTTP answers before that.
    pub store: OnceLock<Store>,
    /// As the store.
    pub queue: OnceLock<Queue<Held>>,
    /// As the store.
    pub cluster: OnceLock<cluster::Client>,
    /// Where others may be, if that isn't known.
    pub discovery: OnceLock<Discovery>,
}

/// A request that has passed the common checks.
pub struct Call {
    pub api: Arc<Api>,
    pub params: Params,
    pub method: Method,
    /// Path and query, as they came.
    pub uri: Uri,
    pub headers: HeaderMap,
    /// By another node, for a client.
    pub is_forwarded: bool,
}

impl Call {
    /// The store, once it is open.
    pub fn store(&self) -> Result<&Store, Failure> {
        self.api.store.get().ok_or(Failure::NotOpen)
    }

    /// How results are to be written.
    pub fn options(&self) -> Options {
        let params = &self.params;
        Options {
            pretty: params.pretty,
            timings: params.timings,
            associative: params.associative,
            blob_array: params.blob_array,
            qualify_columns: params.qualify_columns,
        }
    }

    /// What a failure is answered with.
    pub fn fail(&self, endpoint: Endpoint, failure: &Failure) -> Response {
        if *failure == Failure::LeaderNotFound {
            self.api.metrics.http.leader_not_found.increment();
        }
        response::failed(endpoint, failure, self.options())
    }
}

/// How a path is matched: percent-decoded, case-sensitive, the first that matches counts.
enum Path {
    Exact(&'static str),
    Prefix(&'static str),
}

struct Route {
    path: Path,
    /// Empty: any.
    methods: &'static [Method],
    /// All are needed. Nobody is asked for them yet.
    permissions: &'static [&'static str],
    /// Of requests that are allowed.
    counter: Option<fn(&Metrics) -> &Counter>,
    /// Of bare answers too.
    content_type: Option<&'static str>,
    handle: fn(Call, Body) -> BoxFuture<'static, Response>,
}

const ROUTES: &[Route] = &[
    Route {
        path: Path::Exact("/"),
        methods: &[],
        permissions: &[],
        counter: None,
        content_type: None,
        handle: |call, _| Box::pin(root::handle(call)),
    },
    Route {
        path: Path::Prefix("/db/execute"),
        methods: &[Method::POST],
        permissions: &["execute"],
        counter: None,
        content_type: Some(response::JSON),
        handle: |call, body| match call.params.queue {
            true => Box::pin(queue::handle(call, body)),
            false => Box::pin(execute::handle(call, body)),
        },
    },
    Route {
        path: Path::Prefix("/db/query"),
        methods: &[Method::GET, Method::POST],
        permissions: &["query"],
        counter: Some(|metrics| &metrics.http.queries),
        content_type: Some(response::JSON),
        handle: |call, body| Box::pin(query::handle(call, body)),
    },
    Route {
        path: Path::Prefix("/db/request"),
        methods: &[Method::POST],
        permissions: &["query", "execute"],
        counter: Some(|metrics| &metrics.http.requests),
        content_type: Some(response::JSON),
        handle: |call, body| Box::pin(request::handle(call, body)),
    },
    Route {
        path: Path::Prefix("/db/sql"),
        methods: &[Method::GET, Method::POST],
        permissions: &["query"],
        counter: Some(|metrics| &metrics.http.sql_analyze),
        content_type: Some(response::JSON),
        handle: |call, body| Box::pin(sql::handle(call, body)),
    },
    Route {
        path: Path::Prefix("/db/backup"),
        methods: &[Method::GET],
        permissions: &["backup"],
        counter: Some(|metrics| &metrics.http.backups),
        content_type: None,
        handle: |call, _| Box::pin(backup::handle(call)),
    },
    Route {
        path: Path::Prefix("/db/load"),
        methods: &[Method::POST],
        permissions: &["load"],
        counter: Some(|metrics| &metrics.http.loads),
        content_type: None,
        handle: |call, body| Box::pin(load::handle(call, body)),
    },
    Route {
        path: Path::Exact("/snapshot"),
        methods: &[Method::POST],
        permissions: &["snapshot"],
        counter: Some(|metrics| &metrics.http.user_snapshots),
        content_type: None,
        handle: |call, _| Box::pin(snapshot::handle(call)),
    },
    Route {
        path: Path::Exact("/reap"),
        methods: &[Method::POST],
        permissions: &["snapshot"],
        counter: Some(|metrics| &metrics.http.user_reaps),
        content_type: None,
        handle: |call, _| Box::pin(snapshot::reap(call)),
    },
    Route {
        path: Path::Prefix("/remove"),
        methods: &[Method::DELETE],
        permissions: &["remove"],
        counter: None,
        content_type: None,
        handle: |call, body| Box::pin(remove::handle(call, body)),
    },
    Route {
        path: Path::Exact("/boot"),
        methods: &[Method::POST],
        permissions: &["load"],
        counter: Some(|metrics| &metrics.http.boot),
        content_type: None,
        handle: |call, body| Box::pin(boot::handle(call, body)),
    },
    Route {
        path: Path::Prefix("/status"),
        methods: &[Method::GET],
        permissions: &["status"],
        counter: Some(|metrics| &metrics.http.num_status),
        content_type: None,
        handle: |call, _| Box::pin(status::handle(call)),
    },
    Route {
        path: Path::Prefix("/nodes"),
        methods: &[Method::GET],
        permissions: &["status"],
        counter: None,
        content_type: None,
        handle: |call, _| Box::pin(nodes::handle(call)),
    },
    Route {
        path: Path::Exact("/leader"),
        methods: &[Method::GET, Method::POST],
        permissions: &["leader-ops"],
        counter: None,
        content_type: None,
        handle: |call, body| Box::pin(leader::handle(call, body)),
    },
    Route {
        path: Path::Prefix("/readyz"),
        methods: &[Method::GET],
        permissions: &["ready"],
        counter: Some(|metrics| &metrics.http.num_readyz),
        content_type: None,
        handle: |call, _| Box::pin(readyz::handle(call)),
    },
    Route {
        path: Path::Exact("/debug/vars"),
        methods: &[],
        permissions: &["status"],
        counter: None,
        content_type: None,
        handle: |call, _| Box::pin(debug::handle(call)),
    },
    Route {
        path: Path::Exact("/licenses"),
        methods: &[Method::GET],
        permissions: &["status"],
        counter: None,
        content_type: None,
        handle: |call, _| Box::pin(licenses::handle(call)),
    },
];

impl Path {
    fn matches(&self, path: &str) -> bool {
        match self {
            Path::Exact(text) => path == *text,
            Path::Prefix(text) => path.starts_with(text),
        }
    }
}

/// Answers what another node has forwarded. The headers that every answer has are its own.
pub async fn forwarded(api: Arc<Api>, request: Request<Body>) -> Response {
    checked(api, request, true).await
}

/// Answers what a client asks.
pub async fn answer(api: Arc<Api>, request: Request<Body>) -> Response {
    let origin = api.config.http_allow_origin.as_ref().and_then(|origin| HeaderValue::try_from(origin).ok());
    let mut response = checked(api, request, false).await;
    for (name, value) in [
        ("x-rqlite-version", RQLITE_VERSION),
        ("access-control-allow-methods", "OPTIONS, GET, POST"),
        ("access-control-allow-headers", "Content-Type"),
    ] {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if let Some(origin) = origin {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

async fn checked(api: Arc<Api>, request: Request<Body>, is_forwarded: bool) -> Response {
    let (head, body) = request.into_parts();
    if head.method == Method::OPTIONS {
        return response::bare(StatusCode::OK);
    }
    let params = match Params::parse(head.uri.query().unwrap_or("")) {
        Ok(params) => params,
        Err(error) => return response::plain(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let Some(path) = decode(head.uri.path()) else {
        return response::bare(StatusCode::BAD_REQUEST);
    };
    let Some(route) = ROUTES.iter().find(|route| route.path.matches(&path)) else {
        return response::bare(StatusCode::NOT_FOUND);
    };
    api.metrics.http.auth_ok.add(route.permissions.len());
    if !route.methods.is_empty() && !route.methods.contains(&head.method) {
        let mut response = response::bare(StatusCode::METHOD_NOT_ALLOWED);
        if let Some(content_type) = route.content_type {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        return response;
    }
    if let Some(counter) = route.counter {
        counter(&api.metrics).increment();
    }
    let (method, uri, headers) = (head.method, head.uri, head.headers);
    (route.handle)(Call { api, params, method, uri, headers, is_forwarded }, body).await
}

fn decode(path: &str) -> Option<Cow<'_, str>> {
    percent_encoding::percent_decode_str(path).decode_utf8().ok()
}
