//! The dashboard in a real browser, at a real demo: what is seen, and what the buttons do. Not responsible for looks: the
//! pictures that it takes are for people.
#![cfg(all(feature = "cli", unix))]

mod common;

mod browser {
    pub(crate) mod devtools;
}

use browser::devtools::Browser;
use common::{Node, Process, agent, announced, ask, eventually, tidings};
use serde_json::json;
use std::path::{Path, PathBuf};

struct Demo {
    process: Process,
    nodes: Vec<String>,
    dashboard: String,
}

impl Demo {
    fn start() -> Self {
        let mut process = Process::start(tidings().args(["demo", "--nodes", "3"]));
        let nodes: Vec<_> = (0..3).map(|_| announced(&process.line()).1).collect();
        let dashboard = process.line().strip_prefix("dashboard  ").expect("its address").to_owned();
        assert_eq!(dashboard, format!("{}/ui/", nodes[0]));
        Self { process, nodes, dashboard }
    }

    fn put(&self, node: usize, key: &str, value: &str) {
        let path = format!("/v1/kv/{key}");
        let answer = ask(&agent(), &self.nodes[node - 1], "PUT", &path, &[], value.as_bytes()).expect("an answer");
        assert!([201, 204].contains(&answer.status), "{answer:?}");
    }
}

/// Where people find the pictures afterwards.
fn picture(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
    std::fs::create_dir_all(&directory).expect("a directory");
    directory.join(format!("{name}.png"))
}

fn row(node: &str, rest: &str) -> String {
    format!("document.querySelector('tr[data-member={node}]{rest}')")
}

const CONVERGED: &str = "document.querySelector('#convergence').dataset.converged";
const LINKS: &str = "document.querySelectorAll('#picture .link').length";

#[test]
fn a_node_is_cut_off_and_healed_by_its_button() {
    let Some(mut page) = Browser::start() else { return };
    let demo = Demo::start();
    demo.put(1, "kettle", "on");
    for number in 0..60 {
        demo.put(2, &format!("lamps/{number:02}"), &json!({ "on": true, "level": number }).to_string());
    }
    page.size(1280, 900);
    page.scheme("light");
    page.open(&demo.nodes[0]);
    page.until("location.pathname === '/ui/'");

    // All three, linked each to each, and of one mind.
    page.until(&format!("{LINKS} === 3 && {CONVERGED} === 'true'"));
    for node in ["node1", "node2", "node3"] {
        page.until(&row(node, "[data-state=alive]"));
    }
    page.shoot(&picture("light"));
    page.scheme("dark");
    page.shoot(&picture("dark"));
    page.scheme("light");

    // Cut off, the others find out that it is gone; both sides take writes.
    page.press("tr[data-member=node2] button");
    page.until(&row("node2", "[data-cut=true]"));
    demo.put(1, "heating", "\"low\"");
    demo.put(2, "heating", "\"high\"");
    page.until(&row("node2", "[data-state=down]"));
    page.until(&format!("{LINKS} === 1 && {CONVERGED} === 'false'"));
    page.until("document.querySelector('#convergence').textContent.includes('node2 differs')");
    page.until("document.querySelector('#change-list [data-change=heating]')");
    page.shoot(&picture("cut"));

    // Healed, all hold the same again, both values among it.
    page.press("tr[data-member=node2] button");
    page.until(&row("node2", "[data-state=alive][data-cut=false]"));
    page.until(&format!("{LINKS} === 3 && {CONVERGED} === 'true'"));
    page.fill("#prefix", "hea");
    page.press("#key-form button");
    page.until("document.querySelector('tr[data-item=heating] .siblings')?.textContent === '+1'");
    page.press("tr[data-item=heating] button");
    page.until("document.querySelectorAll('#key-detail [data-value]').length === 2");
    let values =
        page.value("[...document.querySelectorAll('#key-detail pre')].map((value) => value.textContent).sort()");
    assert_eq!(values, json!(["\"high\"", "\"low\""]));
    page.shoot(&picture("healed"));
    assert_eq!(page.complaints, Vec::<String>::new());
}

#[test]
fn keys_are_browsed_page_by_page_and_shown_as_the_bytes_they_are() {
    let Some(mut page) = Browser::start() else { return };
    let node = Node::start();
    for number in 0..120 {
        node.put(&format!("/v1/kv/lamps/{number:03}"), "on");
    }
    node.put("/v1/kv/exact", "{\"id\":12345678901234567890,\"half\":1.50}");
    node.put("/v1/kv/%3Cb%3Emarkup", "<script>document.title='no'</script>");
    node.put("/v1/kv/bytes%ff", b"\x00\xff");
    page.open(&format!("{}/ui/", node.http));
    let listed = "document.querySelectorAll('#key-list tr').length";
    page.until(&format!("{listed} === 50 && document.querySelector('#first').disabled"));
    page.press("#next");
    page.until(&format!("{listed} === 50 && !document.querySelector('#first').disabled"));
    page.press("#next");
    page.until(&format!("{listed} === 23 && document.querySelector('#next').disabled"));
    page.fill("#prefix", "exact");
    page.press("#prefix");
    page.until(&format!("{listed} === 1"));
    page.press("tr[data-item=exact] button");
    let shown = "document.querySelector('#key-detail pre')?.textContent";
    page.until(&format!("{shown} === '{{\"id\":12345678901234567890,\"half\":1.50}}'"));
    // A list that is read again leaves the focus on the key that has it.
    page.value(
        "document.querySelector('#key-list button').focus(), document.querySelector('#key-form').requestSubmit()",
    );
    page.until("document.querySelector('#page-note').textContent === '1 key'");
    assert_eq!(page.value("document.activeElement.textContent"), "exact");
    page.fill("#prefix", "<");
    page.press("#prefix");
    page.until("document.querySelector('#key-list .value')?.textContent.startsWith('<script>')");
    page.fill("#prefix", "bytes");
    page.press("#prefix");
    page.until("document.querySelector('#key-list .value')?.textContent === 'AP8='");
    page.press("#key-list button");
    page.until(&format!("{shown} === 'AP8='"));
    // A demo's buttons are the demo's alone.
    page.until("document.querySelector('#demo-title').hidden && document.querySelector('#members tr td').hidden");
    page.until("document.querySelector('#convergence').textContent === 'This node is alone'");
    assert_eq!(page.complaints, Vec::<String>::new());
}

#[test]
fn on_a_phone_nothing_is_wider_than_the_screen_and_every_control_has_a_name() {
    let Some(mut page) = Browser::start() else { return };
    let demo = Demo::start();
    demo.put(1, "a-key-with-a-long-name/that-goes-on/and-on/and-on/until-it-is-far-too-long", &"long ".repeat(200));
    page.size(360, 740);
    page.open(&demo.dashboard);
    page.until(&format!("{LINKS} === 3 && {CONVERGED} === 'true'"));
    page.press("#key-form button");
    page.press("#key-list button");
    page.until("document.querySelector('#key-detail pre')");
    assert_eq!(page.value("document.documentElement.scrollWidth <= innerWidth"), true);
    let unnamed = "[...document.querySelectorAll('button, input, select')].filter((control) => \
        !(control.textContent.trim() || control.ariaLabel || control.labels?.length)).map((control) => control.outerHTML)";
    assert_eq!(page.value(unnamed), json!([]));
    page.shoot(&picture("phone"));
    // By hand, against what the system says; it stays when the page is loaded anew.
    page.scheme("light");
    let ground = "getComputedStyle(document.body).backgroundColor";
    let light = page.value(ground);
    page.press("#theme");
    page.press("#theme");
    assert_ne!(page.value(ground), light);
    page.open(&demo.dashboard);
    page.until("document.querySelector('#theme').textContent === 'Theme: dark'");
    assert_ne!(page.value(ground), light);
    assert_eq!(page.complaints, Vec::<String>::new());
}

#[test]
fn it_says_that_the_node_is_away_and_goes_on_when_it_is_back() {
    let Some(mut page) = Browser::start() else { return };
    let mut node = Node::start_with(&["--data-dir", "data"], &[]);
    page.open(&format!("{}/ui/", node.http));
    page.until("document.querySelector('#contact').dataset.contact === 'up'");
    page.until("document.querySelector('#watch-note').textContent === 'watching'");
    node.process.signal("TERM");
    node.process.wait();
    page.until("document.querySelector('#contact').dataset.contact === 'lost'");
    page.until("document.querySelector('#watch-note').textContent.includes('away')");
    let (http, data) = (node.http.trim_start_matches("http://").to_owned(), node.path("data"));
    let flags = ["node", "--listen", "127.0.0.1:0", "--http", &http, "--data-dir", &data];
    let again = Process::start(tidings().args(flags));
    page.until("document.querySelector('#contact').dataset.contact === 'up'");
    node.put("/v1/kv/kettle", "on");
    page.until("document.querySelector('#change-list [data-change=kettle]')");
    // Another cluster at the same address: where the page would go on from is of no use there.
    drop(again);
    page.until("document.querySelector('#contact').dataset.contact === 'lost'");
    let flags = ["node", "--listen", "127.0.0.1:0", "--http", &http, "--in-memory"];
    let other = Process::start(tidings().args(flags));
    page.until("document.querySelector('#watch-note').textContent === 'watching'");
    node.put("/v1/kv/lamp", "on");
    page.until("document.querySelector('#change-list [data-change=lamp]')");
    drop(other);
}

#[test]
fn where_a_token_is_demanded_it_is_asked_for_and_kept_for_the_tab() {
    let Some(mut page) = Browser::start() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, "open-sesame\n").expect("written");
    let node = Node::start_with(&["--in-memory", "--http-token-file", file.to_str().expect("UTF-8")], &[]);
    let token = [("Authorization", "Bearer open-sesame")];
    let put = || node.send("PUT", "/v1/kv/kettle", &token, &b"on"[..]).status;
    page.open(&format!("{}/ui/", node.http));
    page.until("document.querySelector('#token-dialog').open");
    page.fill("#token", "sesame-open");
    page.press("#token-form button");
    page.until("document.querySelector('#token-title').textContent.startsWith('That token is not')");
    page.fill("#token", "open-sesame");
    page.press("#token-form button");
    page.until(
        "!document.querySelector('#token-dialog').open && document.querySelector('#contact').dataset.contact === 'up'",
    );
    page.until("document.querySelector('#watch-note').textContent === 'watching'");
    assert_eq!(put(), 201);
    page.until("document.querySelector('#change-list [data-change=kettle]')");
    page.open(&format!("{}/ui/", node.http));
    page.until("document.querySelector('#contact').dataset.contact === 'up'");
    assert_eq!(page.value("localStorage.getItem('tidings-token')"), json!(null));
}

#[test]
fn a_demo_has_its_switches_and_no_node_has() {
    let node = Node::start();
    assert_eq!(node.get("/v1/demo").status, 404);
    assert_eq!(node.post("/v1/demo/cut?node=1", "").status, 404);
    let demo = Demo::start();
    let turn =
        |query: &str| ask(&agent(), &demo.nodes[2], "POST", &format!("/v1/demo/{query}"), &[], ()).expect("an answer");
    for wrong in ["cut", "cut?node=0", "cut?node=4", "heal?node=x", "cut?nod=1"] {
        assert_eq!((turn(wrong).status, turn(wrong).error().as_str()), (400, "bad_request"), "{wrong}");
    }
    let cut = |answer: common::Answer| {
        answer.json()["nodes"].as_array().expect("nodes").iter().map(|n| n["cut"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(cut(turn("cut?node=2")), [false, true, false]);
    eventually("it is noticed", || {
        let members = ask(&agent(), &demo.nodes[0], "GET", "/v1/members", &[], ()).expect("an answer").json();
        members["members"].as_array().expect("members").iter().any(|m| m["name"] == "node2" && m["state"] == "down")
    });
    assert_eq!(cut(turn("heal?node=2")), [false, false, false]);
    demo.process.signal("INT");
}

#[test]
fn the_root_leads_to_the_dashboard_unless_the_cache_routes_own_it() {
    let browser = [("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
    let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build();
    let agent: ureq::Agent = config.into();
    let root = |node: &Node, headers: &[(&str, &str)]| {
        let answer = ask(&agent, &node.http, "GET", "/", headers, ()).expect("an answer");
        (answer.status, answer.header("Location").map(str::to_owned))
    };
    let to_page = (307, Some("/ui/".to_owned()));
    let node = Node::start();
    assert_eq!((root(&node, &[]), root(&node, &browser)), (to_page.clone(), to_page.clone()));
    let cache = Node::start_with(&["--in-memory", "--compat", "cache"], &[]);
    assert_eq!((root(&cache, &[]), root(&cache, &browser)), ((200, None), to_page));
    for part in ["/ui/", "/ui/style.css", "/ui/main.js"] {
        let answer = cache.get(part);
        assert_eq!(answer.status, 200, "{part}");
        let policy = answer.header("Content-Security-Policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    }
    assert_eq!((node.get("/ui/none").status, node.get("/ui").status), (404, 200));
}
