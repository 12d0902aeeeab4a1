//! THE map from an error to what the client gets. No other place turns an error into a status.
//!
//! The reference answers the same error differently per endpoint, so the map's input is both.

use crate::http::{body, params};

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Execute,
    /// `/db/execute?queue`.
    Queue,
    Query,
    Request,
    Sql,
    /// `/db/load` of a database file.
    LoadFile,
    /// `/db/load` of SQL.
    LoadText,
    Backup,
    Boot,
    Snapshot,
    Leader,
    Remove,
}

/// What can go wrong with a request. The layers below map their errors into it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Params(#[from] params::Error),
    #[error(transparent)]
    Body(#[from] body::Error),
    #[error("query not specified")]
    QueryNotSpecified,
    #[error("request too large")]
    TooLarge,
    /// The client stopped sending.
    #[error("timeout reading request body")]
    BodyTimeout,

    /// Wrong or missing credentials.
    #[error("unauthorized")]
    Unauthorized,
    #[error("method not allowed")]
    MethodNotAllowed,
    #[error("not found")]
    NotFound,

    /// The client asked to be sent to the leader.
    #[error("redirected to {location}")]
    Redirected { location: String },
    /// The same, but nobody knows where the leader is.
    #[error("leader not found")]
    NowhereToRedirect,

    /// Nobody leads, or the leader lost its quorum, also while a write was waiting: whether it will happen is unknown.
    #[error("leader not found")]
    LeaderNotFound,
    /// The leader refused the credentials of a forwarded request.
    #[error("not authorized")]
    RemoteNotAuthorized,
    /// The leader couldn't be reached, or what it answered is no answer.
    #[error("{0}")]
    Transport(String),
    #[error("not leader")]
    NotLeader,
    #[error("leadership lost while committing log")]
    LeadershipLost,
    #[error("stale read")]
    StaleRead,
    #[error("index {index}: timeout waiting for fsm")]
    ApplyTimeout { index: u64 },
    #[error("store not open")]
    NotOpen,
    #[error("store not ready")]
    NotReady,

    #[error("disallowed pragma")]
    DisallowedPragma,
    /// SQLite's text on a request as a whole: a COMMIT that failed, a transaction left open.
    #[error("{0}")]
    Sql(String),

    #[error("queue wait timeout")]
    QueueWaitTimeout,
    #[error("too busy")]
    TooBusy,
    /// A write while the disk has less than its low-water mark free.
    #[error("insufficient disk space")]
    DiskLow,

    #[error("invalid backup format")]
    InvalidBackupFormat,
    /// A load is open and it didn't end in time.
    #[error("load in progress")]
    BackupBehindLoad,

    #[error("load already in progress")]
    LoadInProgress,
    #[error("invalid SQLite data: {0}")]
    InvalidSqlite(String),
    #[error("insufficient disk space: need {need} bytes, {free} free")]
    DiskTooSmall { need: u64, free: u64 },
    #[error("load outcome unknown: {0}")]
    LoadOutcomeUnknown(String),

    /// `/boot`: a body shorter than a header.
    #[error("EOF")]
    BootTooShort,
    /// `/boot`: a body that doesn't begin as a database does.
    #[error("invalid SQLite data")]
    BootNotSqlite,
    #[error("not single-node")]
    NotSingleNode,

    /// `/leader`: what is wrong with the body.
    #[error("invalid JSON: {0}")]
    InvalidJson(String),

    /// Anything that is no fault of the request.
    #[error("{0}")]
    Internal(String),
}

/// How a failed request is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200 with `{"results":[],"error":text}`.
    Envelope(String),
    /// The status with this text and a line break, as text/plain.
    Plain { status: u16, text: String, retry_after_secs: Option<u32> },
    /// The status alone.
    Bare { status: u16 },
    /// 301.
    Redirect { location: String },
}

/// Source: http-data.md §12, §16, backup-restore.md §3.3, §4, server.md §1.7; ours are 413, 503
/// `too busy`, 507, and 408 for a body that doesn't come.
pub fn answer(endpoint: Endpoint, failure: &Failure) -> Answer {
    use Failure as F;
    match failure {
        F::Params(_) | F::Body(_) | F::QueryNotSpecified => plain(400, failure.to_string()),
        F::InvalidSqlite(_) | F::BootNotSqlite | F::InvalidJson(_) => plain(400, failure.to_string()),
        F::Unauthorized => Answer::Bare { status: 401 },
        F::RemoteNotAuthorized => plain(401, format!("remote {} not authorized", remote_name(endpoint))),
        F::NotFound => Answer::Bare { status: 404 },
        F::MethodNotAllowed => Answer::Bare { status: 405 },
        F::QueueWaitTimeout | F::BodyTimeout => plain(408, failure.to_string()),
        F::TooLarge => plain(413, failure.to_string()),
        F::Redirected { location } => Answer::Redirect { location: location.clone() },

        F::NowhereToRedirect | F::InvalidBackupFormat | F::Internal(_) => plain(500, failure.to_string()),
        F::DiskTooSmall { .. } | F::LoadOutcomeUnknown(_) => plain(500, failure.to_string()),
        F::LeaderNotFound | F::TooBusy | F::LoadInProgress => plain(503, failure.to_string()),
        F::NotSingleNode | F::BootTooShort => plain(503, failure.to_string()),
        F::BackupBehindLoad => Answer::Plain { status: 503, text: failure.to_string(), retry_after_secs: Some(1) },
        F::DiskLow => plain(507, failure.to_string()),

        F::Transport(_)
        | F::NotLeader
        | F::LeadershipLost
        | F::StaleRead
        | F::ApplyTimeout { .. }
        | F::NotOpen
        | F::NotReady
        | F::DisallowedPragma
        | F::Sql(_) => of_request(endpoint, failure),
    }
}

/// Failures of the request as a whole, which the data endpoints tell in a 200.
fn of_request(endpoint: Endpoint, failure: &Failure) -> Answer {
    use Endpoint as E;
    match (endpoint, failure) {
        (E::Execute | E::Query | E::Request | E::Sql | E::LoadText, _) => Answer::Envelope(failure.to_string()),
        (E::Queue | E::LoadFile, Failure::NotOpen) => Answer::Envelope(failure.to_string()),
        (E::Queue, Failure::DisallowedPragma) => Answer::Envelope(failure.to_string()),
        (E::LoadFile, Failure::Transport(why)) => plain(500, format!("remote node failed to load: {why}")),
        (E::Queue | E::LoadFile | E::Backup, _) => plain(500, failure.to_string()),
        (E::Snapshot, Failure::NotOpen) | (E::Boot, _) => plain(503, failure.to_string()),
        (E::Snapshot | E::Leader | E::Remove, _) => plain(500, failure.to_string()),
    }
}

fn plain(status: u16, text: String) -> Answer {
    Answer::Plain { status, text, retry_after_secs: None }
}

/// What the text of a 401 calls the operation that the leader refused.
fn remote_name(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Execute | Endpoint::Queue => "Execute",
        Endpoint::Query | Endpoint::Sql => "query",
        Endpoint::Request => "Request",
        Endpoint::LoadFile | Endpoint::LoadText => "load",
        Endpoint::Backup => "backup",
        Endpoint::Boot => "boot",
        Endpoint::Snapshot => "snapshot",
        Endpoint::Leader => "stepdown",
        Endpoint::Remove => "remove node",
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Endpoint, Failure, answer};
    use crate::http::{body, params};

    const ENDPOINTS: [Endpoint; 12] = [
        Endpoint::Execute,
        Endpoint::Queue,
        Endpoint::Query,
        Endpoint::Request,
        Endpoint::Sql,
        Endpoint::LoadFile,
        Endpoint::LoadText,
        Endpoint::Backup,
        Endpoint::Boot,
        Endpoint::Snapshot,
        Endpoint::Leader,
        Endpoint::Remove,
    ];

    #[test]
    fn s06_the_whole_map() {
        let failures = [
            Failure::Params(params::Error::Duration("timeout")),
            Failure::Body(body::Error::InvalidJson),
            Failure::QueryNotSpecified,
            Failure::InvalidSqlite("file is not a database".into()),
            Failure::BootNotSqlite,
            Failure::InvalidJson("why".into()),
            Failure::Unauthorized,
            Failure::RemoteNotAuthorized,
            Failure::NotFound,
            Failure::MethodNotAllowed,
            Failure::QueueWaitTimeout,
            Failure::BodyTimeout,
            Failure::TooLarge,
            Failure::Redirected { location: "http://host:4001/db/query".into() },
            Failure::NowhereToRedirect,
            Failure::InvalidBackupFormat,
            Failure::Internal("why".into()),
            Failure::DiskTooSmall { need: 2, free: 1 },
            Failure::LoadOutcomeUnknown("why".into()),
            Failure::LeaderNotFound,
            Failure::TooBusy,
            Failure::LoadInProgress,
            Failure::NotSingleNode,
            Failure::BootTooShort,
            Failure::BackupBehindLoad,
            Failure::DiskLow,
            Failure::Transport("read protobuf length: EOF".into()),
            Failure::NotLeader,
            Failure::LeadershipLost,
            Failure::StaleRead,
            Failure::ApplyTimeout { index: 7 },
            Failure::NotOpen,
            Failure::NotReady,
            Failure::DisallowedPragma,
            Failure::Sql("cannot commit - no transaction is active".into()),
        ];
        insta::assert_snapshot!(failures.iter().map(print).collect::<String>(), @r"
        Params | all | 400 timeout is not a valid duration
        Body | all | 400 invalid JSON body
        QueryNotSpecified | all | 400 query not specified
        InvalidSqlite | all | 400 invalid SQLite data: file is not a database
        BootNotSqlite | all | 400 invalid SQLite data
        InvalidJson | all | 400 invalid JSON: why
        Unauthorized | all | 401 bare
        RemoteNotAuthorized | Execute Queue | 401 remote Execute not authorized
        RemoteNotAuthorized | Query Sql | 401 remote query not authorized
        RemoteNotAuthorized | Request | 401 remote Request not authorized
        RemoteNotAuthorized | LoadFile LoadText | 401 remote load not authorized
        RemoteNotAuthorized | Backup | 401 remote backup not authorized
        RemoteNotAuthorized | Boot | 401 remote boot not authorized
        RemoteNotAuthorized | Snapshot | 401 remote snapshot not authorized
        RemoteNotAuthorized | Leader | 401 remote stepdown not authorized
        RemoteNotAuthorized | Remove | 401 remote remove node not authorized
        NotFound | all | 404 bare
        MethodNotAllowed | all | 405 bare
        QueueWaitTimeout | all | 408 queue wait timeout
        BodyTimeout | all | 408 timeout reading request body
        TooLarge | all | 413 request too large
        Redirected | all | 301 http://host:4001/db/query
        NowhereToRedirect | all | 500 leader not found
        InvalidBackupFormat | all | 500 invalid backup format
        Internal | all | 500 why
        DiskTooSmall | all | 500 insufficient disk space: need 2 bytes, 1 free
        LoadOutcomeUnknown | all | 500 load outcome unknown: why
        LeaderNotFound | all | 503 leader not found
        TooBusy | all | 503 too busy
        LoadInProgress | all | 503 load already in progress
        NotSingleNode | all | 503 not single-node
        BootTooShort | all | 503 EOF
        BackupBehindLoad | all | 503 load in progress (Retry-After: 1)
        DiskLow | all | 507 insufficient disk space
        Transport | Execute Query Request Sql LoadText | 200 error: read protobuf length: EOF
        Transport | Queue Backup Snapshot Leader Remove | 500 read protobuf length: EOF
        Transport | LoadFile | 500 remote node failed to load: read protobuf length: EOF
        Transport | Boot | 503 read protobuf length: EOF
        NotLeader | Execute Query Request Sql LoadText | 200 error: not leader
        NotLeader | Queue LoadFile Backup Snapshot Leader Remove | 500 not leader
        NotLeader | Boot | 503 not leader
        LeadershipLost | Execute Query Request Sql LoadText | 200 error: leadership lost while committing log
        LeadershipLost | Queue LoadFile Backup Snapshot Leader Remove | 500 leadership lost while committing log
        LeadershipLost | Boot | 503 leadership lost while committing log
        StaleRead | Execute Query Request Sql LoadText | 200 error: stale read
        StaleRead | Queue LoadFile Backup Snapshot Leader Remove | 500 stale read
        StaleRead | Boot | 503 stale read
        ApplyTimeout | Execute Query Request Sql LoadText | 200 error: index 7: timeout waiting for fsm
        ApplyTimeout | Queue LoadFile Backup Snapshot Leader Remove | 500 index 7: timeout waiting for fsm
        ApplyTimeout | Boot | 503 index 7: timeout waiting for fsm
        NotOpen | Execute Queue Query Request Sql LoadFile LoadText | 200 error: store not open
        NotOpen | Backup Leader Remove | 500 store not open
        NotOpen | Boot Snapshot | 503 store not open
        NotReady | Execute Query Request Sql LoadText | 200 error: store not ready
        NotReady | Queue LoadFile Backup Snapshot Leader Remove | 500 store not ready
        NotReady | Boot | 503 store not ready
        DisallowedPragma | Execute Queue Query Request Sql LoadText | 200 error: disallowed pragma
        DisallowedPragma | LoadFile Backup Snapshot Leader Remove | 500 disallowed pragma
        DisallowedPragma | Boot | 503 disallowed pragma
        Sql | Execute Query Request Sql LoadText | 200 error: cannot commit - no transaction is active
        Sql | Queue LoadFile Backup Snapshot Leader Remove | 500 cannot commit - no transaction is active
        Sql | Boot | 503 cannot commit - no transaction is active
        ");
    }

    /// One line where all endpoints agree, else one for each group that does.
    fn print(failure: &Failure) -> String {
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for endpoint in ENDPOINTS {
            let text = print_answer(&answer(endpoint, failure));
            let name = format!("{endpoint:?}");
            match groups.iter_mut().find(|(answer, _)| *answer == text) {
                Some((_, names)) => names.push(name),
                None => groups.push((text, vec![name])),
            }
        }

        let name = format!("{failure:?}");
        let name = name.split([' ', '(']).next().unwrap_or("");
        let line = |(text, names): &(String, Vec<String>)| {
            let names = if names.len() == ENDPOINTS.len() { "all".to_string() } else { names.join(" ") };
            format!("{name} | {names} | {text}\n")
        };
        groups.iter().map(line).collect()
    }

    fn print_answer(answer: &Answer) -> String {
        match answer {
            Answer::Envelope(text) => format!("200 error: {text}"),
            Answer::Plain { status, text, retry_after_secs: None } => format!("{status} {text}"),
            Answer::Plain { status, text, retry_after_secs: Some(secs) } => {
                format!("{status} {text} (Retry-After: {secs})")
            }
            Answer::Bare { status } => format!("{status} bare"),
            Answer::Redirect { location } => format!("301 {location}"),
        }
    }
}
