//! Commands about the node and its cluster.

use bytes::Bytes;
use hyper::{Method, StatusCode};

use super::client::{Request, status_line};
use super::error::Error;
use super::session::Session;
use super::tree::Tree;

pub async fn status(session: &mut Session, argument: Option<&str>) -> Result<(), Error> {
    print_tree(session, "status", argument).await
}

pub async fn expvar(session: &mut Session, argument: Option<&str>) -> Result<(), Error> {
    print_tree(session, "debug/vars", argument).await
}

/// Any argument counts as `all`.
pub async fn nodes(session: &mut Session, argument: Option<&str>) -> Result<(), Error> {
    print_tree(session, if argument.is_some() { "nodes?nonvoters" } else { "nodes" }, None).await
}

pub async fn leader(session: &mut Session, _argument: Option<&str>) -> Result<(), Error> {
    let tree = tree(session, "nodes").await?;
    let Tree::Map(nodes) = &tree else { return Err(Error::Unexpected("no map of nodes".into())) };
    let leads = |node: &Tree| node.get("leader").and_then(Tree::text) == Some("true");
    let leader = nodes.iter().find(|(_, node)| leads(node));
    let (id, _) = leader.ok_or_else(|| Error::Answer("no leader found".into()))?;
    let text = tree.print(Some(id));
    session.print(&text)
}

pub async fn ready(session: &mut Session, _argument: Option<&str>) -> Result<(), Error> {
    let answer = session.client.send(Request::get("readyz")).await?;
    let is_ready = answer.status == StatusCode::OK;
    answer.collect().await?;
    session.print(if is_ready { "ready\n" } else { "not ready\n" })
}

/// One name per line; a node that knows of no extensions shows none.
pub async fn extensions(session: &mut Session, _argument: Option<&str>) -> Result<(), Error> {
    let body = match session.client.fetch(Request::get("status?key=extensions")).await? {
        Ok(body) => body,
        Err(StatusCode::NOT_FOUND) => return Ok(()),
        Err(status) => return Err(responded_with(status)),
    };
    let tree = parse(&body)?;
    let names = tree.get("names").or_else(|| tree.get("extensions")?.get("names"));
    let mut text = String::new();
    if let Some(Tree::List(names)) = names {
        for name in names.iter().filter_map(Tree::text) {
            text.push_str(&format!("{name}\n"));
        }
    }
    session.print(&text)
}

pub async fn snapshot(session: &mut Session, argument: Option<&str>) -> Result<(), Error> {
    let logs = argument.unwrap_or("0");
    let count: u64 = logs.parse().map_err(|_| Error::Usage(format!("invalid trailing logs value: {logs}")))?;
    match session.client.fetch(Request::post(format!("snapshot?trailing_logs={count}"))).await? {
        Ok(_) | Err(StatusCode::NO_CONTENT) => Ok(()),
        Err(status) => Err(responded(status)),
    }
}

pub async fn reap(session: &mut Session, _argument: Option<&str>) -> Result<(), Error> {
    let body = session.client.fetch(Request::post("reap")).await?.map_err(responded)?;
    let tree = parse(&body)?;
    let count = |key: &str| tree.get(key).and_then(Tree::text).unwrap_or("0");
    let (snapshots, wals) = (count("snapshots_reaped"), count("wals_checkpointed"));
    session.print(&format!("snapshots reaped: {snapshots}, WALs checkpointed: {wals}\n"))
}

pub async fn remove(session: &mut Session, argument: Option<&str>) -> Result<(), Error> {
    let id = argument.ok_or_else(|| Error::Usage("please specify the ID of the node to remove".into()))?;
    let request = Request::new(Method::DELETE, "remove").body(id_json(id));
    session.client.fetch(request).await?.map(|_| ()).map_err(responded_with)
}

pub async fn stepdown(session: &mut Session, argument: Option<&str>) -> Result<(), Error> {
    let request = Request::post("leader?wait=true");
    let request = match argument {
        Some(id) => Request { content_type: Some("application/json"), ..request.body(id_json(id)) },
        None => request,
    };
    session.client.fetch(request).await?.map(|_| ()).map_err(responded)
}

/// What a node answers, as a tree.
pub async fn tree(session: &mut Session, path: &str) -> Result<Tree, Error> {
    let body = session.client.fetch(Request::get(path)).await?.map_err(responded_with)?;
    parse(&body)
}

async fn print_tree(session: &mut Session, path: &str, only: Option<&str>) -> Result<(), Error> {
    let text = tree(session, path).await?.print(only);
    session.print(&text)
}

fn parse(body: &Bytes) -> Result<Tree, Error> {
    let text = std::str::from_utf8(body).map_err(|error| Error::Unexpected(error.to_string()))?;
    Tree::parse(text).map_err(|error| Error::Unexpected(error.to_string()))
}

fn id_json(id: &str) -> String {
    serde_json::json!({ "id": id }).to_string()
}

/// Quirk: some commands have a colon here, some don't.
fn responded_with(status: StatusCode) -> Error {
    Error::Answer(format!("server responded with: {}", status_line(status)))
}

fn responded(status: StatusCode) -> Error {
    Error::Answer(format!("server responded with {}", status_line(status)))
}
