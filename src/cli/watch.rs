//! Changes and messages as they come, line by line. Not responsible for which there are: the node tells them.

use super::args::{EventsArgs, WatchArgs};
use super::client::{Client, encoded, reader};
use super::failure::Failure;
use super::output::{Output, printable};
use super::process;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A node that has said nothing for so long is gone: it says something every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// How long to wait before a node that went away is asked again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Lines that may wait to be written; then the node is read no further.
const LINES_MAX: usize = 64;

/// What is followed, and from where.
#[derive(Debug)]
pub(super) struct Followed {
    /// The route, up to where a cursor goes.
    route: String,
    after: Option<String>,
}

impl From<&WatchArgs> for Followed {
    fn from(args: &WatchArgs) -> Self {
        let route = format!("/v1/watch?prefix={}&after=", encoded(args.prefix.as_encoded_bytes()));
        Self { route, after: args.after.clone() }
    }
}

impl From<&EventsArgs> for Followed {
    fn from(args: &EventsArgs) -> Self {
        Self { route: "/v1/events?after=".to_owned(), after: args.after.clone() }
    }
}

/// Until it is interrupted.
pub(super) fn run(client: &Client, what: impl Into<Followed>, output: Output) -> Result<(), Failure> {
    let mut watching = Watching::new(client.clone(), what.into(), output);
    process::block_on(async move {
        let ending = CancellationToken::new();
        process::end_on_signals(ending.clone(), process::Hangup::Ends)?;
        let stop = ending.clone();
        let watch = tokio::task::spawn_blocking(move || watching.run(&stop));
        tokio::select! {
            result = watch => result.unwrap_or_else(|bug| Err(Failure::failed(bug.to_string()))),
            () = ending.cancelled() => Ok(()),
        }
    })
}

/// On a thread of its own, until `stop` is cancelled: for the shell, which reads its next line meanwhile.
pub(super) fn spawn(client: &Client, what: impl Into<Followed>, output: Output) -> CancellationToken {
    let stop = CancellationToken::new();
    let (mut watching, stopped) = (Watching::new(client.clone(), what.into(), output), stop.clone());
    std::thread::spawn(move || {
        if let Err(failure) = watching.run(&stopped) {
            failure.report(output.json);
        }
    });
    stop
}

/// What goes on from one connection to the next.
struct Watching {
    client: Client,
    route: String,
    /// After what was written last.
    cursor: Option<String>,
    output: Output,
}

/// One event, as far as its lines have come.
#[derive(Debug, Default)]
struct Event {
    name: String,
    data: String,
    id: Option<String>,
}

/// How a connection ended.
enum Lost {
    /// It may be had again.
    Away(String),
    /// Nobody wants it any more.
    Stopped,
}

impl Watching {
    fn new(client: Client, what: Followed, output: Output) -> Self {
        Self { client, route: what.route, cursor: what.after, output }
    }

    /// A node that cannot be reached at first is a failure; one that goes away is waited for.
    fn run(&mut self, stop: &CancellationToken) -> Result<(), Failure> {
        let mut lines = self.connect()?;
        loop {
            match self.follow(&lines, stop)? {
                Lost::Stopped => return Ok(()),
                Lost::Away(why) => self.say(&format!("{}: {why}; trying again", self.client.base())),
            }
            lines = loop {
                std::thread::sleep(AGAIN_AFTER);
                if stop.is_cancelled() {
                    return Ok(());
                }
                match self.connect() {
                    Ok(lines) => break lines,
                    Err(failure) if failure.is_usage() => return Err(failure),
                    Err(_) => {}
                }
            };
            self.say(&format!("{}: going on", self.client.base()));
        }
    }

    fn say(&self, text: &str) {
        anstream::eprintln!("{text}");
    }

    /// The lines of an answer, as a thread of its own reads them: only so can silence be noticed.
    fn connect(&self) -> Result<Receiver<std::io::Result<String>>, Failure> {
        let after = encoded(self.cursor.as_deref().unwrap_or_default().as_bytes());
        let response = self.client.get(&format!("{}{after}", self.route))?;
        if response.status() == ureq::http::StatusCode::BAD_REQUEST {
            return Err(self.client.refused(response).into_usage());
        }
        let answer = BufReader::new(reader(self.client.expect(response)?));
        let (sender, lines) = sync_channel(LINES_MAX);
        std::thread::spawn(move || {
            for line in answer.lines() {
                let failed = line.is_err();
                if sender.send(line).is_err() || failed {
                    return;
                }
            }
        });
        Ok(lines)
    }

    fn follow(&mut self, lines: &Receiver<std::io::Result<String>>, stop: &CancellationToken) -> Result<Lost, Failure> {
        let mut event = Event::default();
        let mut silent = Duration::ZERO;
        loop {
            match lines.recv_timeout(AGAIN_AFTER) {
                _ if stop.is_cancelled() => return Ok(Lost::Stopped),
                Ok(Ok(line)) => {
                    silent = Duration::ZERO;
                    if self.take(&mut event, &line)?.is_break() {
                        self.show(&std::mem::take(&mut event))?;
                    }
                }
                Ok(Err(error)) => return Ok(Lost::Away(format!("the answer broke off: {error}"))),
                Err(RecvTimeoutError::Disconnected) => {
                    return Ok(Lost::Away("the node has ended the answer".to_owned()));
                }
                Err(RecvTimeoutError::Timeout) if silent >= SILENCE_MAX => {
                    return Ok(Lost::Away("nothing has been heard for long".to_owned()));
                }
                Err(RecvTimeoutError::Timeout) => silent += AGAIN_AFTER,
            }
        }
    }

    /// One line of an event; a break at the end of one that is to be shown.
    fn take(&mut self, event: &mut Event, line: &str) -> Result<ControlFlow<()>, Failure> {
        match line.split_once(": ") {
            Some(("event", name)) => event.name = name.to_owned(),
            Some(("data", data)) => event.data = data.to_owned(),
            Some(("id", id)) => event.id = Some(id.to_owned()),
            // Not before: one that is cut off behind its id has to be told again.
            _ if line.is_empty() => {
                self.cursor = event.id.take().or_else(|| self.cursor.take());
                if !event.data.is_empty() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn show(&self, event: &Event) -> Result<(), Failure> {
        if self.output.json {
            let cursor = serde_json::to_string(&self.cursor).expect("a string");
            let data = event.data.strip_prefix('{').unwrap_or_default();
            return self.output.line(&format!("{{\"event\":\"{}\",\"cursor\":{cursor},{data}", event.name));
        }
        let shown: Shown = self.client.parse(event.data.as_bytes())?;
        self.output.line(&shown.line(&event.name))
    }
}

/// The data of an event.
#[derive(Deserialize)]
struct Shown {
    key: Option<String>,
    key_base64: Option<String>,
    #[serde(default, deserialize_with = "present")]
    value: Option<Box<RawValue>>,
    text: Option<String>,
    value_base64: Option<String>,
    reason: Option<String>,
    /// Of messages,
    dot: Option<String>,
    context: Option<Value>,
    /// and of those that were missed.
    count: Option<u64>,
}

/// `null` is a value here, not the absence of one.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

impl Shown {
    fn line(&self, event: &str) -> String {
        if let Some(reason) = &self.reason {
            return format!("{event} ({reason}): some changes are not known here; list what there is");
        }
        if let Some(count) = self.count {
            return format!("{event} {count}: so many messages cannot be had any more");
        }
        let base64 = |text: &Option<String>| text.as_ref().and_then(|text| STANDARD.decode(text).ok());
        let message = self.context.as_ref().and(self.dot.clone()).map(String::into_bytes);
        let key = self.key.as_ref().map(|key| key.clone().into_bytes()).or_else(|| base64(&self.key_base64));
        let key = key.or(message);
        let text = self.value.as_ref().map(|json| json.get().to_owned()).or_else(|| self.text.clone());
        let value = text.map(String::into_bytes).or_else(|| base64(&self.value_base64));
        let key = printable(&key.unwrap_or_default());
        value.map_or_else(|| format!("{event} {key}"), |value| format!("{event} {key} {}", printable(&value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_change() {
        let line = |event: &str, data: &str| serde_json::from_str::<Shown>(data).expect("data").line(event);
        assert_eq!(line("put", r#"{"key":"k","value":[1,null],"dot":"d"}"#), "put k [1,null]");
        assert_eq!(line("put", r#"{"key":"k","text":"a b"}"#), "put k a b");
        assert_eq!(line("put", r#"{"key_base64":"/w==","value_base64":"/g=="}"#), "put \\xff \\xfe");
        assert_eq!(line("put", r#"{"key":"k","value":null}"#), "put k null");
        assert_eq!(line("delete", r#"{"key":"k","dot":"d"}"#), "delete k");
        assert_eq!(line("message", r#"{"dot":"d:1","context":{"d":1},"text":"hi"}"#), "message d:1 hi");
        assert!(line("missed", r#"{"count":3}"#).starts_with("missed 3: "));
        assert_eq!(line("expired", r#"{"key":"k","expires":7}"#), "expired k");
        assert!(line("resync", r#"{"reason":"truncated"}"#).starts_with("resync (truncated): "));
    }
}
