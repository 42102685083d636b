//! The command `node`. Not responsible for what a node is.

use super::client::Client;
use super::failure::Failure;
use super::layers::Layers;
use super::manager;
use super::output::Output;
use super::plan::Plan;
use super::process;
use super::progress::Reading;
use super::rejoin::JoinFile;
use super::rekey::{KeyFiles, TokenFile};
use super::running::{Running, bind_http};
use super::secrets::{CertificateFiles, Origin};
use super::settings::Settings;
use super::shell;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use tokio_util::sync::CancellationToken;

pub(super) fn run(flags: Settings, output: Output) -> Result<(), Failure> {
    let layers = Layers::of(flags)?;
    let settings = layers.effective();
    let format = settings.log_format.unwrap_or_default();
    let plan = Plan::of(settings.clone()).map_err(|failure| failure.located(|name| layers.place(name)))?;
    let file = layers.file().filter(|_| layers.joins_by_file());
    let file = file.map(|path| JoinFile::new(path.to_owned(), settings));
    process::log("warn", format);
    process::block_on(serve(plan, file, output))
}

async fn serve(plan: Plan, file: Option<JoinFile>, output: Output) -> Result<(), Failure> {
    let ending = CancellationToken::new();
    let keys = KeyFiles::of(&plan.origin);
    let token = plan.token_file.map(|path| TokenFile { path, access: plan.access.clone() });
    let follows = file.is_some() || keys.is_some() || token.is_some();
    process::end_on_signals(ending.clone(), if follows { process::Hangup::Reloads } else { process::Hangup::Ends })?;
    let listener = bind_http(plan.http).await?;
    let reading = Reading::new(output);
    let node = Running::start(plan.config, listener, plan.access, plan.compat, None, ending.clone(), reading).await?;
    if let Some(file) = file {
        tokio::spawn(file.follow(node.store.clone()));
    }
    if let Some(keys) = keys {
        tokio::spawn(keys.follow(node.store.clone()));
    }
    if let Some(token) = token {
        tokio::spawn(token.follow());
    }
    node.announce(output)?;
    manager::tell_ready(&format!("serves http://{}", node.http));
    let ended = ending.clone();
    tokio::spawn(async move {
        ended.cancelled().await;
        manager::tell_stopping();
    });
    if !output.json {
        introduce(&node, plan.data_dir.as_deref(), &plan.origin, output)?;
    }
    if plan.shell {
        let client = Client::at(&node.http.to_string(), plan.token)?;
        shell::spawn(shell::Shell::on_node(client, output), ending);
    }
    node.end().await
}

/// What somebody who has just started a node wants to know next.
fn introduce(node: &Running, data_dir: Option<&Path>, origin: &Origin, output: Output) -> Result<(), Failure> {
    if let Some(directory) = data_dir {
        output.line(&format!("state is kept in {}", directory.display()))?;
    }
    match second_node(node, data_dir, origin) {
        Some(command) => output.line(&format!("a second node on this machine:\n  {command}")),
        None => Ok(()),
    }
}

/// The complete command that starts one more node beside this; none where the secret is known to be handed out already.
fn second_node(node: &Running, data_dir: Option<&Path>, origin: &Origin) -> Option<String> {
    let program = std::env::args().next().unwrap_or_else(|| "tidings".to_owned());
    let quic = near(node.store.listen_addr());
    let (listen, http) = (free_udp(quic)?, free_tcp(near(node.http))?);
    let (variable, secret) = match origin {
        Origin::Environment => return None,
        Origin::File(path) => (String::new(), format!(" --secret-file {}", quoted(&path.display().to_string()))),
        Origin::Certificates(CertificateFiles { ca, cert, key }) => {
            let flag = |name, path: &Path| format!(" --tls-{name} {}", quoted(&path.display().to_string()));
            (String::new(), [flag("ca", ca), flag("cert", cert), flag("key", key)].concat())
        }
        // the only way to tell it: it is in no file, and flags can be seen by everybody on the machine
        Origin::Fresh(secret) => (format!("TIDINGS_SECRET={} ", *secret.to_hex()), String::new()),
    };
    let storage = match data_dir {
        Some(directory) => format!("--data-dir {}", quoted(&format!("{}-2", directory.display()))),
        None => "--in-memory".to_owned(),
    };
    let program = quoted(&program);
    Some(format!(
        "{variable}{program} node --name node2 --listen {listen} --http {http} --join {quic} {storage}{secret}"
    ))
}

/// An address that listens everywhere is dialled on loopback.
fn near(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    address
}

fn free_udp(near: SocketAddr) -> Option<SocketAddr> {
    free(near, |address| UdpSocket::bind(address).is_ok())
}

fn free_tcp(near: SocketAddr) -> Option<SocketAddr> {
    free(near, |address| TcpListener::bind(address).is_ok())
}

/// The next free port upwards, on loopback, whatever the first node listens on.
fn free(near: SocketAddr, is_free: impl Fn(SocketAddr) -> bool) -> Option<SocketAddr> {
    let ports = near.port().saturating_add(1)..=near.port().saturating_add(100);
    ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).find(|&address| is_free(address))
}

/// As a shell reads it back.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_a_shell_needs_it() {
        assert_eq!(quoted("./tidings-data/secret"), "./tidings-data/secret");
        assert_eq!(quoted("it's here"), r"'it'\''s here'");
    }
}
