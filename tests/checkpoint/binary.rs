//! The three commands and their route, at the real binary. Not responsible for the format.

use crate::common::{Node, Process, announced, code, command, eventually, run, stderr, stdout};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

fn parsed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON on stdout")
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn node_with_records(count: usize) -> Node {
    let node = Node::start_with(&["--data-dir", "data"], &[]);
    let line = |i| format!("{{\"key\":\"key/{i}\",\"text\":\"{}\"}}\n", "v".repeat(400));
    let lines: String = (0..count).map(line).collect();
    assert_eq!(code(&node.run_with_input(&["import", "-"], lines.as_bytes())), 0);
    node
}

#[test]
fn a_backup_is_taken_verified_restored_and_started() {
    let node = node_with_records(1_200);
    let (backup, data) = (node.path("backup"), node.path("data-2"));
    let taken = node.run(&["checkpoint", &backup]);
    assert_eq!(code(&taken), 0, "{}", stderr(&taken));
    let last = stdout(&taken);
    assert!(last.starts_with("checkpoint of 1,201 entries (") && last.ends_with(&format!(" in {backup}\n")), "{last}");
    assert!(stderr(&taken).contains("secret is not in a checkpoint"), "{}", stderr(&taken));
    assert_eq!(names(Path::new(&backup)), ["manifest.json", "records-000001"]);

    let verified = run(["verify", &backup]);
    assert_eq!(code(&verified), 0, "{}", stderr(&verified));
    assert!(stdout(&verified).starts_with("whole: checkpoint of replica "), "{}", stdout(&verified));
    assert!(stdout(&verified).contains("1,201 entries"), "{}", stdout(&verified));

    let restored = run(["restore", &backup, "--data-dir", &data]);
    assert_eq!(code(&restored), 0, "{}", stderr(&restored));
    let said = stdout(&restored);
    assert!(said.starts_with("restored 1,201 entries of replica ") && said.contains("secret is not in"), "{said}");
    let next = said.lines().last().expect("a line").trim();
    assert!(next.ends_with(&format!("node --data-dir {data} --secret-file FILE --join HOST:PORT")), "{next}");

    // The printed command, with what its words stand for.
    let mut second = command(node.directory.path());
    second.args(["--data-dir", &data, "--secret-file", &node.path("data/secret"), "--join", &node.quic]);
    let mut second = Process::start(&mut second);
    let (_, http, _) = announced(&second.line());
    let id = |http: &str| parsed(&run(["status", "--json", "--http", http]))["id"].clone();
    assert_ne!(id(&node.http), id(&http));
    assert_eq!(code(&node.run(&["put", "after", "1"])), 0);
    eventually("it catches up", || run(["get", "after", "--http", &http]).stdout == b"1");
    assert_eq!(run(["get", "key/7", "--http", &http]).stdout, vec![b'v'; 400]);
}

#[test]
fn the_same_is_said_to_programs() {
    let node = node_with_records(3);
    let (backup, data) = (node.path("backup"), node.path("data-2"));
    let taken = parsed(&node.run(&["checkpoint", &backup, "--json"]));
    let id = parsed(&node.run(&["status", "--json"]))["id"].clone();
    assert_eq!((&taken["directory"], &taken["replica"]), (&backup.clone().into(), &id));
    assert!(taken["entries"] == 4 && taken["bytes"].is_u64() && taken["taken"].is_u64(), "{taken}");
    let verified = parsed(&run(["verify", &backup, "--json"]));
    assert_eq!((&verified["whole"], &verified["kind"]), (&true.into(), &"checkpoint".into()));
    assert_eq!((&verified["entries"], &verified["bytes"]), (&taken["entries"], &taken["bytes"]));
    let restored = parsed(&run(["restore", &backup, "--data-dir", &data, "--json"]));
    assert_eq!((&restored["copied"], &restored["entries"]), (&id, &4.into()));
    assert_ne!(restored["replica"], id);
    let verified = parsed(&run(["verify", &data, "--json"]));
    assert_eq!((&verified["kind"], &verified["replica"]), (&"data directory".into(), &restored["replica"]));

    fs::write(Path::new(&backup).join("extra"), "").expect("written");
    let damaged = run(["verify", &backup, "--json"]);
    assert_eq!((code(&damaged), &parsed(&damaged)["damaged"][0]["file"]), (1, &"extra".into()));
}

#[test]
fn damage_is_named_and_ends_with_1() {
    let node = node_with_records(300);
    let (backup, data) = (node.path("backup"), node.path("data-2"));
    assert_eq!(code(&node.run(&["checkpoint", &backup])), 0);
    let file = Path::new(&backup).join("records-000001");
    let mut bytes = fs::read(&file).expect("it is there");
    bytes[70_000] ^= 1;
    fs::write(&file, bytes).expect("written");
    let verified = run(["verify", &backup]);
    assert_eq!(code(&verified), 1);
    assert!(stdout(&verified).starts_with("records-000001, at byte 6"), "{}", stdout(&verified));
    assert!(stderr(&verified).contains("is damaged: restore another checkpoint"), "{}", stderr(&verified));
    let restored = run(["restore", &backup, "--data-dir", &data]);
    assert_eq!(code(&restored), 1);
    assert!(stderr(&restored).contains("records-000001, at byte 6") && stderr(&restored).contains("tidings verify"));
    assert!(!Path::new(&data).exists());
}

#[test]
fn a_node_in_memory_has_nothing_to_copy() {
    let node = Node::start();
    let answer = node.get("/v1/checkpoint");
    assert_eq!((answer.status, answer.error()), (409, "in_memory".to_owned()));
    let refused = node.run(&["checkpoint", &node.path("backup")]);
    assert_eq!(code(&refused), 1);
    assert!(stderr(&refused).contains("start it with a data directory"), "{}", stderr(&refused));
    assert_eq!(node.post("/v1/checkpoint", "").status, 405);
    assert_eq!(node.get("/v1/checkpoint?dir=x").status, 400);
    assert!(names(node.directory.path()).is_empty());
}

#[test]
fn what_stands_in_the_way_is_told_before_a_node_is_asked() {
    let home = tempfile::tempdir().expect("a directory");
    let path = |name: &str| home.path().join(name).to_str().expect("UTF-8").to_owned();
    fs::create_dir_all(path("full/x")).expect("made");
    let refused = run(["checkpoint", &path("full"), "--http", "127.0.0.1:1"]);
    assert_eq!(code(&refused), 1);
    assert!(stderr(&refused).contains("it is not empty; give a directory"), "{}", stderr(&refused));
    fs::create_dir(path("new.partial")).expect("made");
    let refused = run(["checkpoint", &path("new"), "--http", "127.0.0.1:1"]);
    assert!(stderr(&refused).contains("new.partial: it is left of a checkpoint"), "{}", stderr(&refused));
    let refused = run(["checkpoint", &path("other"), "--http", "127.0.0.1:1"]);
    assert!(stderr(&refused).contains("no node at http://127.0.0.1:1"), "{}", stderr(&refused));
    for (command, said) in [
        (vec!["verify", "DIR"], "it is neither a checkpoint nor the data directory of a node"),
        (vec!["restore", "DIR", "--data-dir", "NEW"], "it is neither a checkpoint nor the data directory of a node"),
    ] {
        let (full, new) = (path("full"), path("restored"));
        let words = command.iter().map(|word| {
            if *word == "DIR" {
                &full
            } else if *word == "NEW" {
                &new
            } else {
                *word
            }
        });
        let refused = run(words);
        assert_eq!(code(&refused), 1);
        assert!(stderr(&refused).contains(said), "{}", stderr(&refused));
    }
    assert_eq!(code(&run(["restore", &path("full")])), 2, "--data-dir is needed");
    for command in ["checkpoint", "restore", "verify"] {
        let help = stdout(&run([command, "--help"]));
        assert!(help.contains("Example") && help.contains("data directory") | help.contains("secret"), "{help}");
    }
}

/// A node that answers every request with these bytes, and closes.
fn impostor(body: Vec<u8>, whole: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request);
            let length = if whole { body.len() } else { body.len() + 1 };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    address
}

#[test]
fn a_stream_that_breaks_off_is_never_taken_for_its_end() {
    let node = node_with_records(1_000);
    let body = node.get("/v1/checkpoint").body;
    assert!(body.len() > 400_000);
    let backup = node.path("backup");
    for (length, whole) in
        [(0, true), (20, true), (body.len() / 2, true), (body.len() / 2, false), (body.len() - 1, true)]
    {
        let http = impostor(body[..length].to_vec(), whole);
        let broken = run(["checkpoint", &backup, "--http", &http]);
        assert_eq!(code(&broken), 1, "{length} bytes");
        assert!(stderr(&broken).contains(&http) && stderr(&broken).contains("broke off"), "{}", stderr(&broken));
        assert_eq!(names(node.directory.path()), ["data"], "{length} bytes");
    }
    let mut changed = body.clone();
    changed[200_000] ^= 1;
    let broken = run(["checkpoint", &backup, "--http", &impostor(changed, true)]);
    assert!(code(&broken) == 1 && stderr(&broken).contains("checksum"), "{}", stderr(&broken));
    let http = impostor(body, true);
    assert_eq!(code(&run(["checkpoint", &backup, "--http", &http])), 0);
    assert_eq!(code(&run(["verify", &backup])), 0);
}

/// Its clients are served on, and a second of two checkpoints at once is as good as the first.
#[test]
fn a_client_that_takes_its_time_holds_up_nobody() {
    let node = node_with_records(20_000);
    let http = node.http.strip_prefix("http://").expect("a scheme");
    let mut slow = std::net::TcpStream::connect(http).expect("it listens");
    write!(slow, "GET /v1/checkpoint HTTP/1.1\r\nHost: {http}\r\n\r\n").expect("sent");
    let mut first = [0; 100];
    slow.read_exact(&mut first).expect("it answers");
    assert_eq!(code(&node.run(&["put", "meanwhile", "1"])), 0);
    let taken = node.run(&["checkpoint", &node.path("backup")]);
    assert_eq!(code(&taken), 0, "{}", stderr(&taken));
    assert_eq!(code(&run(["verify", &node.path("backup")])), 0);
    drop(slow);
    assert_eq!(code(&node.run(&["put", "afterwards", "1"])), 0);
}
