//! THE table of endpoints, and the order in which every request is checked.
//!
//! Common headers; OPTIONS; query string; path; method; then the endpoint. Source: http-data.md §1, §2.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use futures::future::BoxFuture;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, StatusCode, Uri};

use super::error::{Endpoint, Failure};
use super::memory::{Held, Memory};
use super::params::Params;
use super::render::Options;
use super::{backup, boot, execute, load, query, readyz, request, response, root, sql, status};
use crate::cluster;
use crate::config::Config;
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
    pub memory: Memory,
    /// Set once it is open: HTTP answers before that.
    pub store: OnceLock<Store>,
    /// As the store.
    pub queue: OnceLock<Queue<Held>>,
    /// As the store.
    pub cluster: OnceLock<cluster::Client>,
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
    /// Of bare answers too.
    content_type: Option<&'static str>,
    handle: fn(Call, Body) -> BoxFuture<'static, Response>,
}

const ROUTES: &[Route] = &[
    Route { path: Path::Exact("/"), methods: &[], content_type: None, handle: |call, _| Box::pin(root::handle(call)) },
    Route {
        path: Path::Prefix("/db/execute"),
        methods: &[Method::POST],
        content_type: Some(response::JSON),
        handle: |call, body| Box::pin(execute::handle(call, body)),
    },
    Route {
        path: Path::Prefix("/db/query"),
        methods: &[Method::GET, Method::POST],
        content_type: Some(response::JSON),
        handle: |call, body| Box::pin(query::handle(call, body)),
    },
    Route {
        path: Path::Prefix("/db/request"),
        methods: &[Method::POST],
        content_type: Some(response::JSON),
        handle: |call, body| Box::pin(request::handle(call, body)),
    },
    Route {
        path: Path::Prefix("/db/sql"),
        methods: &[Method::GET, Method::POST],
        content_type: Some(response::JSON),
        handle: |call, body| Box::pin(sql::handle(call, body)),
    },
    Route {
        path: Path::Prefix("/db/backup"),
        methods: &[Method::GET],
        content_type: None,
        handle: |call, _| Box::pin(backup::handle(call)),
    },
    Route {
        path: Path::Prefix("/db/load"),
        methods: &[Method::POST],
        content_type: None,
        handle: |call, body| Box::pin(load::handle(call, body)),
    },
    Route {
        path: Path::Exact("/boot"),
        methods: &[Method::POST],
        content_type: None,
        handle: |call, body| Box::pin(boot::handle(call, body)),
    },
    Route {
        path: Path::Prefix("/status"),
        methods: &[Method::GET],
        content_type: None,
        handle: |call, _| Box::pin(status::handle(call)),
    },
    Route {
        path: Path::Prefix("/readyz"),
        methods: &[Method::GET],
        content_type: None,
        handle: |call, _| Box::pin(readyz::handle(call)),
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

/// The service behind every connection.
pub fn router(api: Arc<Api>) -> Router {
    Router::new().fallback(dispatch).with_state(api)
}

/// Answers what another node has forwarded. The headers that every answer has are its own.
pub async fn forwarded(api: Arc<Api>, request: Request) -> Response {
    checked(api, request, true).await
}

async fn dispatch(State(api): State<Arc<Api>>, request: Request) -> Response {
    let mut response = checked(api, request, false).await;
    for (name, value) in [
        ("x-rqlite-version", RQLITE_VERSION),
        ("access-control-allow-methods", "OPTIONS, GET, POST"),
        ("access-control-allow-headers", "Content-Type"),
    ] {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

async fn checked(api: Arc<Api>, request: Request, is_forwarded: bool) -> Response {
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
    if !route.methods.is_empty() && !route.methods.contains(&head.method) {
        let mut response = response::bare(StatusCode::METHOD_NOT_ALLOWED);
        if let Some(content_type) = route.content_type {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        return response;
    }
    let (method, uri, headers) = (head.method, head.uri, head.headers);
    (route.handle)(Call { api, params, method, uri, headers, is_forwarded }, body).await
}

fn decode(path: &str) -> Option<String> {
    percent_encoding::percent_decode_str(path).decode_utf8().ok().map(|path| path.into_owned())
}
