//! The command `demo`: a cluster in one process. Not responsible for anything that a cluster does: these are real
//! nodes, over real sockets.

use super::args::DemoArgs;
use super::failure::Failure;
use super::output::Output;
use super::process;
use super::progress::Reading;
use super::running::Running;
use super::settings::LogFormat;
use super::shell::{self, DemoNode, Shell};
use crate::http::{Access, Compat, Demo};
use crate::{Config, ConfigBuilder, Secret};
use serde_json::json;
use std::io::{self, IsTerminal};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

const HTTP_PORT_FIRST: u16 = 7480;
const QUIC_PORT_FIRST: u16 = 7400;
/// Ports tried for each node before any other is taken.
const PORTS_TRIED: u16 = 100;
/// So often all of them are started before it is given up.
const ATTEMPTS: u32 = 5;

pub(super) fn run(args: &DemoArgs, output: Output) -> Result<(), Failure> {
    process::log("error", LogFormat::Text);
    process::block_on(serve(args.nodes, output))
}

async fn serve(count: u16, output: Output) -> Result<(), Failure> {
    let ending = CancellationToken::new();
    process::end_on_signals(ending.clone(), process::Hangup::Ends)?;
    let nodes = start_somewhere(count, &ending, output).await?;
    nodes.iter().try_for_each(|node| node.announce(output))?;
    announce_dashboard(&nodes, output)?;
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        shell::spawn(Shell::on_demo(nodes.iter().map(shown).collect::<Result<_, _>>()?, output), ending.clone());
    }
    ending.cancelled().await;
    end(nodes).await
}

fn shown(node: &Running) -> Result<DemoNode, Failure> {
    DemoNode::new(node.name.clone(), node.http, node.store.cut_switch())
}

fn announce_dashboard(nodes: &[Running], output: Output) -> Result<(), Failure> {
    let Some(first) = nodes.first() else { return Ok(()) };
    let dashboard = format!("http://{}/ui/", first.http);
    match output.json {
        true => output.line(&json!({ "dashboard": dashboard }).to_string()),
        false => output.line(&format!("dashboard  {dashboard}")),
    }
}

/// Starts the nodes. Another process may take a port of theirs in the moment that it is free: then all begin anew.
async fn start_somewhere(count: u16, ending: &CancellationToken, output: Output) -> Result<Vec<Running>, Failure> {
    for _ in 1..ATTEMPTS {
        if let Ok(nodes) = start(count, ending, output).await {
            return Ok(nodes);
        }
    }
    start(count, ending, output).await
}

/// Starts the nodes, each with all others to join; all of them or none.
async fn start(count: u16, ending: &CancellationToken, output: Output) -> Result<Vec<Running>, Failure> {
    let secret = Secret::random(&mut rand::rng());
    let http = reserve(count, HTTP_PORT_FIRST, TcpListener::bind)?;
    let quic = reserve(count, QUIC_PORT_FIRST, UdpSocket::bind)?;
    let addresses = quic.iter().map(UdpSocket::local_addr).collect::<Result<Vec<_>, _>>()?;
    let (mut nodes, demo, ending) = (Vec::new(), Demo::default(), ending.child_token());
    for (index, ((listener, socket), &address)) in http.into_iter().zip(quic).zip(&addresses).enumerate() {
        let others = addresses.iter().filter(|&&other| other != address).map(SocketAddr::to_string);
        let config = Config::builder().in_memory().name(format!("node{}", index + 1)).listen(address.to_string());
        let config = config.join(others).secret(secret.clone());
        // held until now, so that no other node was given the same one
        drop(socket);
        match start_one(config, listener, &demo, &ending, output).await {
            Ok(node) => nodes.push(node),
            Err(failure) => {
                ending.cancel();
                end(nodes).await?;
                return Err(failure);
            }
        }
    }
    Ok(nodes)
}

async fn start_one(
    config: ConfigBuilder,
    listener: TcpListener,
    demo: &Demo,
    ending: &CancellationToken,
    output: Output,
) -> Result<Running, Failure> {
    listener.set_nonblocking(true)?;
    let access = Access::anonymous(listener.local_addr()?);
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let reading = Reading::new(output);
    Running::start(config, listener, access, Compat::default(), Some(demo), ending.child_token(), reading).await
}

async fn end(nodes: Vec<Running>) -> Result<(), Failure> {
    for node in nodes {
        node.end().await?;
    }
    Ok(())
}

/// Sockets on ports from `first` upwards where free, else on any.
fn reserve<T>(count: u16, first: u16, bind: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<Vec<T>> {
    let at = |port| bind((Ipv4Addr::LOCALHOST, port).into());
    let mut free = (first..first.saturating_add(PORTS_TRIED + count)).filter_map(|port| at(port).ok());
    (0..count).map(|_| free.next().map_or_else(|| at(0), Ok)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_go_upwards_around_those_that_are_taken() {
        let taken = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let first = taken.local_addr().expect("bound").port();
        let sockets = reserve(3, first, UdpSocket::bind).expect("ports");
        let ports: Vec<_> = sockets.iter().map(|s| s.local_addr().expect("bound").port()).collect();
        assert!(ports[0] > first || first > u16::MAX - 3);
        assert!(ports.is_sorted() || first > u16::MAX - 3);
    }
}
