//! Where settings come from, and which are refused. Not responsible for what they do.

use crate::common::{Node, Process, code, run, stderr, stdout, tidings};
use crate::refused;
use serde_json::json;
use std::net::{TcpListener, UdpSocket};
use std::process::Stdio;

#[test]
fn a_secret_is_64_hexadecimal_digits() {
    let secret = stdout(&run(["secret", "new"]));
    assert!(secret.trim_end().len() == 64 && secret.trim_end().bytes().all(|b| b.is_ascii_hexdigit()), "{secret}");
    assert_ne!(secret, stdout(&run(["secret", "new"])));
    let node = Node::start_with(&["--in-memory"], &[("TIDINGS_SECRET", &secret)]);
    assert_eq!(node.get("/livez").status, 200);
    assert!(refused(&["--in-memory"], &[("TIDINGS_SECRET", "abc")]).starts_with("TIDINGS_SECRET: "));
}

#[cfg(unix)]
#[test]
fn secret_files_are_their_owners_only() {
    use std::os::unix::fs::PermissionsExt;
    let mut node = Node::start_with(&["--data-dir", "data"], &[]);
    let file = node.directory.path().join("data/secret");
    let mode = std::fs::metadata(&file).expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(node.process.line().starts_with("state is kept in "));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let said = refused(&["--in-memory", "--secret-file", file.to_str().expect("UTF-8")], &[]);
    assert!(said.contains("chmod 600"), "{said}");
    assert!(refused(&["--in-memory", "--secret-file", "no-such-file"], &[]).contains("no-such-file: "));
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("config.toml");
    std::fs::write(&file, "name = \"of-the-file\"\nin_memory = true\njoin = [\"127.0.0.1:9\"]\n").expect("written");
    let file = file.to_str().expect("UTF-8");
    let secret = stdout(&run(["secret", "new"]));
    let name = |flags: &[&str], variables: &[(&str, &str)]| {
        let variables: Vec<_> = variables.iter().copied().chain([("TIDINGS_SECRET", secret.as_str())]).collect();
        Node::start_with(flags, &variables).name.clone()
    };
    let config = ["--config", file];
    assert_eq!(name(&config, &[]), "of-the-file");
    assert_eq!(name(&["-c", file], &[("TIDINGS_NAME", "of-the-environment")]), "of-the-environment");
    assert_eq!(name(&["-c", file, "--name", "of-the-flag"], &[("TIDINGS_NAME", "x")]), "of-the-flag");
    assert_eq!(name(&[], &[("TIDINGS_CONFIG", file)]), "of-the-file");
}

#[test]
fn unknown_settings_are_errors_in_the_file_and_warnings_in_the_environment() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("config.toml");
    std::fs::write(&file, "data_dri = \"x\"\n").expect("written");
    let said = refused(&["--config", file.to_str().expect("UTF-8")], &[]);
    assert!(
        said.contains("config.toml") && said.contains("unknown key \"data_dri\"; did you mean \"data_dir\"?"),
        "{said}"
    );
    assert!(refused(&["--config", "no-such-file"], &[]).contains("no-such-file: "));
    assert!(refused(&[], &[("TIDINGS_PROFILE", "fast")]).starts_with("TIDINGS_PROFILE: \"fast\" is none of: lan"));
    let warned = tidings().args(["secret", "new"]).env("TIDINGS_DATA_DRI", "x").output().expect("the binary runs");
    assert_eq!(code(&warned), 0);
    assert!(stderr(&warned).starts_with("warning: TIDINGS_DATA_DRI is no setting"), "{}", stderr(&warned));
}

#[test]
fn beyond_loopback_somebody_must_have_decided_who_comes_in() {
    let far = ["--in-memory", "--http", "0.0.0.0:0"];
    let directory = tempfile::tempdir().expect("a directory");
    // a later --http wins nothing: it may be given once
    let start = |more: &[&str]| {
        let mut command = tidings();
        command.current_dir(directory.path()).args(["node", "--listen", "127.0.0.1:0"]).args(far).args(more);
        command.stderr(Stdio::piped());
        command
    };
    let output = start(&[]).output().expect("the binary runs");
    assert_eq!(code(&output), 2);
    let said = stderr(&output);
    assert!(said.contains("--http-token-file") && said.contains("--http-allow-anonymous"), "{said}");
    let mut open = Process::start(&mut start(&["--http-allow-anonymous"]));
    assert!(open.line().contains("http://0.0.0.0:"));
}

#[test]
fn a_view_of_others_needs_their_secret_and_the_own_address_is_no_other() {
    let others = ("VIEW", "127.0.0.1:9,127.0.0.1:10");
    let said = refused(&[], &[others]);
    assert!(said.contains("--secret-file") && said.contains("TIDINGS_SECRET"), "{said}");
    assert!(refused(&["--join", "127.0.0.1:9"], &[]).contains("TIDINGS_SECRET"));
    let address = free_address();
    let directory = tempfile::tempdir().expect("a directory");
    let mut alone = tidings();
    alone.args(["node", "--in-memory"]).envs([("SOCKET_ADDRESS", address.as_str()), ("VIEW", address.as_str())]);
    let node = Node::of(Process::start(&mut alone), directory);
    assert_eq!((node.http.as_str(), node.quic.as_str()), (format!("http://{address}").as_str(), address.as_str()));
    assert_eq!(node.get("/v1/peers").json(), json!({ "peers": [] }));
}

/// Free for both protocols, and none of those that the system gives to whoever asks for any: another test could have it before
/// the node does.
fn free_address() -> String {
    let free =
        |port: &u16| UdpSocket::bind(("127.0.0.1", *port)).is_ok() && TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let first = 20_000 + (std::process::id() % 5_000) as u16;
    let port = (first..30_000).find(free).expect("a free port");
    format!("127.0.0.1:{port}")
}
