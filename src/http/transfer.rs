//! Import and export: streams of JSON lines without a limit on the whole. Not responsible for what a line looks like.

use super::App;
use super::error::ApiError;
use super::lines::Lines;
use super::request::{Query, broken, drain};
use super::session;
use super::values::{line_bytes_max, parse_line, write_line};
use crate::{Item, Record};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde_json::json;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::{SystemTime, UNIX_EPOCH};

/// Records of one durable batch, and of one page of an export.
const BATCH_RECORDS: usize = 500;
/// A batch is written once it holds so much.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// An export sends chunks of about this size, so it holds no more than one, and one page's values shared with the map.
const CHUNK_BYTES: usize = 64 * 1024;

/// `POST /v1/import`: answers after its last record is durable. A bad record ends it; what stood before it stays.
pub(super) async fn import(
    State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    session::reached(&app, &headers, &Query::parse(&uri, &["wait"])?).await?;
    let mut body = body.into_data_stream();
    let mut import = Import::new(app.clone());
    let ended = import.run(&mut body).await;
    let written = import.write().await;
    let imported = import.imported;
    match ended.and(written.map_err(Refused::from)) {
        Ok(()) => Ok(session::with_token(&app, &app.store.session(), Json(json!({ "imported": imported }))).await),
        Err(refused) => {
            drain(&mut body).await;
            Ok(refused.answer(imported))
        }
    }
}

/// An import under way.
struct Import {
    app: App,
    lines: Lines,
    line: u64,
    batch: Vec<Record>,
    batch_bytes: usize,
    imported: usize,
}

/// What ended an import, and on which line if it was one.
struct Refused {
    error: ApiError,
    line: Option<u64>,
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self { error, line: None }
    }
}

impl Refused {
    fn answer(&self, imported: usize) -> Response {
        let mut error = json!({ "code": self.error.code(), "message": self.error.message() });
        if let Some(line) = self.line {
            error["line"] = json!(line);
        }
        (self.error.status(), Json(json!({ "error": error, "imported": imported }))).into_response()
    }
}

impl Import {
    fn new(app: App) -> Self {
        let lines = Lines::new(line_bytes_max(app.limits.value_bytes_max));
        Self { app, lines, line: 0, batch: Vec::new(), batch_bytes: 0, imported: 0 }
    }

    async fn run(&mut self, body: &mut axum::body::BodyDataStream) -> Result<(), Refused> {
        while let Some(chunk) = body.next().await {
            self.lines.push(&chunk.map_err(|error| broken(&error))?);
            while let Some(line) = self.lines.next().map_err(|_| self.bad("the line is too long"))? {
                self.take(&line).await?;
            }
        }
        match self.lines.rest() {
            Some(line) => self.take(&line).await,
            None => Ok(()),
        }
    }

    async fn take(&mut self, line: &[u8]) -> Result<(), Refused> {
        self.line += 1;
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let record = self.parse(line)?;
        self.batch_bytes += record.key.len() + record.value.len();
        self.batch.push(record);
        if self.batch.len() >= BATCH_RECORDS || self.batch_bytes >= BATCH_BYTES {
            self.write().await?;
        }
        Ok(())
    }

    /// Limits are checked here, where the line is known: a batch is refused or taken as one.
    fn parse(&self, line: &[u8]) -> Result<Record, Refused> {
        let refuse = |message: String| Refused { line: Some(self.line), ..bad_record(message).into() };
        let record = parse_line(line, now_ms()).map_err(refuse)?;
        let limits = &self.app.limits;
        limits
            .check_key(&record.key)
            .and_then(|()| limits.check_value(&record.value))
            .map_err(|e| refuse(e.to_string()))?;
        Ok(record)
    }

    fn bad(&self, message: &str) -> Refused {
        Refused { error: bad_record(message.to_owned()), line: Some(self.line + 1) }
    }

    async fn write(&mut self) -> Result<(), ApiError> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        if !batch.is_empty() {
            self.imported += self.app.store.put_many(batch).await?;
        }
        Ok(())
    }
}

fn bad_record(message: String) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "bad_record", message)
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// `GET /v1/export`: all of `usr`, in the order of key bytes. A page is one moment; the whole is not.
///
/// It waits for what a session has seen, as every read, and gives no token: its last line may be younger than its head.
pub(super) async fn export(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Result<Response, ApiError> {
    session::reached(&app, &headers, &Query::parse(&uri, &["wait"])?).await?;
    let chunks = stream::unfold(Export::new(app), |mut export| async {
        let chunk = export.chunk()?;
        Some((Ok::<_, Infallible>(chunk), export))
    });
    let head = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((head, Body::from_stream(chunks)).into_response())
}

/// An export under way: the rest of a page, and where the next one starts.
struct Export {
    app: App,
    page: VecDeque<Item>,
    next: Option<Bytes>,
}

impl Export {
    fn new(app: App) -> Self {
        Self { app, page: VecDeque::new(), next: Some(Bytes::new()) }
    }

    fn chunk(&mut self) -> Option<Bytes> {
        let line_max = line_bytes_max(self.app.limits.value_bytes_max);
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK_BYTES {
            let Some(item) = self.item() else { break };
            write_line(&mut chunk, &item.key, &item.value, item.expires, line_max);
        }
        Some(Bytes::from(chunk)).filter(|chunk| !chunk.is_empty())
    }

    fn item(&mut self) -> Option<Item> {
        if self.page.is_empty() {
            let start = self.next.take()?;
            let page = self.app.store.page(b"", Some(&start), BATCH_RECORDS);
            self.page = page.items.into();
            self.next = page.next;
        }
        self.page.pop_front()
    }
}
