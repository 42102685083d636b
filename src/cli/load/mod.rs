//! The command `load`: many clients at several nodes. Not responsible for what a node does with them: it cannot tell them
//! from others.
//!
//! | file | |
//! | --- | --- |
//! | `work` | one client, and one who waits for writes to arrive elsewhere |
//! | `histogram` | durations, many in little room |
//! | `report` | what came of it, as a table or JSON |

mod histogram;
mod report;
mod work;

use super::args::LoadArgs;
use super::client::Client;
use super::failure::Failure;
use super::output::Output;
use super::process;
use super::secrets::read_token;
use super::settings::HTTP_DEFAULT;
use indicatif::{ProgressBar, ProgressStyle};
use rand::RngExt;
use report::{Measured, Report};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use work::{Arrivals, Writer};

/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Writes that wait to be looked for at a node; further ones are not looked for.
const SAMPLES_MAX: usize = 16;
const TICK: Duration = Duration::from_millis(100);

/// What all clients have in common.
#[derive(Clone, Debug)]
struct Plan {
    nodes: Vec<String>,
    token: Option<String>,
    args: LoadArgs,
    /// Their keys begin with it: no two loads write the same.
    prefix: String,
    start: Instant,
    ending: CancellationToken,
}

/// A write that was answered, to be looked for elsewhere.
#[derive(Clone, Debug)]
struct Sample {
    key: String,
    value: Vec<u8>,
    /// At which node.
    node: usize,
    answered: Instant,
}

pub(super) fn run(args: &LoadArgs, output: Output) -> Result<(), Failure> {
    let nodes: Vec<String> =
        args.http.iter().map(|address| address.trim().to_owned()).filter(|a| !a.is_empty()).collect();
    let nodes = if nodes.is_empty() { vec![HTTP_DEFAULT.to_owned()] } else { nodes };
    let token = args.http_token_file.as_deref().map(read_token).transpose()?;
    for node in &nodes {
        // Who is not there, or does not let us in, is told before anything is measured.
        let client = Client::at(node, token.clone())?;
        client.expect(client.get("/v1/status")?)?;
    }
    let prefix = format!("load/{:08x}", rand::rng().random::<u32>());
    let args = args.clone();
    let report = process::block_on(async move {
        let ending = CancellationToken::new();
        process::end_on_signals(ending.clone(), process::Hangup::Ends)?;
        let plan = Plan { nodes, token, args, prefix, start: Instant::now(), ending };
        let measured = tokio::task::spawn_blocking(move || measure(&plan)).await;
        measured.map_err(|error| Failure::failed(format!("the load has ended by itself: {error}")))?
    })?;
    report.show(output)?;
    match report.errors() {
        0 => Ok(()),
        1 => Err(Failure::failed("1 request failed")),
        errors => Err(Failure::failed(format!("{errors} requests failed"))),
    }
}

/// Until the time is over, or somebody has had enough.
fn measure(plan: &Plan) -> Result<Report, Failure> {
    let (arrivals, samples) = watchers(plan)?;
    let clients: Vec<Writer> =
        (0..plan.args.clients).map(|number| Writer::new(plan, number, &samples)).collect::<Result<_, _>>()?;
    drop(samples);
    let clients: Vec<_> = clients.into_iter().map(|client| thread::spawn(move || client.run())).collect();
    let arrivals: Vec<_> = arrivals.into_iter().map(|arrivals| thread::spawn(move || arrivals.run())).collect();
    wait(plan);
    let seconds = plan.start.elapsed().as_secs_f64();
    let gone = |_: Box<dyn std::any::Any + Send>| Failure::failed("a client has ended by a bug");
    let (mut all, mut lags) = (Measured::default(), Vec::new());
    for client in clients {
        all = all.plus(client.join().map_err(gone)?);
    }
    for (node, arrivals) in plan.nodes.iter().zip(arrivals) {
        let (lag, errors) = arrivals.join().map_err(gone)?;
        all = all.plus(Measured { errors, ..Measured::default() });
        lags.push((node.clone(), lag));
    }
    Ok(Report { seconds, all, lags: if plan.nodes.len() > 1 { lags } else { Vec::new() } })
}

/// One for each node, who waits there for what was written elsewhere.
fn watchers(plan: &Plan) -> Result<(Vec<Arrivals>, Vec<SyncSender<Sample>>), Failure> {
    let mut watchers = (Vec::new(), Vec::new());
    for node in &plan.nodes {
        let (sender, samples) = sync_channel(SAMPLES_MAX);
        watchers.0.push(Arrivals::new(Client::lasting(node, plan.token.clone(), PATIENCE)?, samples));
        watchers.1.push(sender);
    }
    Ok(watchers)
}

/// Shows how far it is, where stderr is a terminal.
fn wait(plan: &Plan) {
    let template = "{wide_bar} {pos} of {len} s";
    let style = ProgressStyle::with_template(template).expect("a template");
    let progress = ProgressBar::new(plan.args.seconds.into()).with_style(style);
    while !plan.is_over() {
        thread::sleep(TICK);
        progress.set_position(plan.start.elapsed().as_secs());
    }
    progress.finish_and_clear();
}

impl Plan {
    fn is_over(&self) -> bool {
        self.ending.is_cancelled() || self.start.elapsed() >= Duration::from_secs(self.args.seconds.into())
    }

    /// When a client's next request is due; none where each follows the one before at once.
    fn due(&self, client: u16, request: u64) -> Option<Instant> {
        let apart = Duration::from_secs(1).checked_div(self.args.rate)?;
        let number = request * u64::from(self.args.clients) + u64::from(client);
        Some(self.start + Duration::from_nanos((apart.as_nanos() as u64).saturating_mul(number)))
    }
}
