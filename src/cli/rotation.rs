//! The rotation of the cluster's secret: the file, and how far it has come. Not responsible for carrying the file to the
//! nodes, which is the operator's: a secret that came over a link made with the old one would be known to whoever has that.

use super::args::{ClientArgs, RotateArgs};
use super::client::Client;
use super::cluster::{Member, Members};
use super::failure::Failure;
use super::output::{Output, printable};
use super::replace::{NewFile, write_files};
use super::secrets::{SECRET_FILE, read_secrets};
use super::settings::DATA_DIR_DEFAULT;
use crate::{Secret, Secrets};
use serde::Deserialize;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Puts a new secret before the old one in the file, or drops the old one.
pub(super) fn rotate(args: &RotateArgs, client: &ClientArgs, output: Output) -> Result<(), Failure> {
    let path = args.secret_file.clone().unwrap_or_else(|| Path::new(DATA_DIR_DEFAULT).join(SECRET_FILE));
    let secrets = read_secrets(&path)?;
    if args.finish { finish(&path, &secrets, args.force, client, output) } else { begin(&path, &secrets, output) }
}

fn begin(path: &Path, secrets: &Secrets, output: Output) -> Result<(), Failure> {
    if secrets.len() > 1 {
        return Err(Failure::failed(format!(
            "{}: a rotation is under way, from {} to {}; end it with --finish, or copy the file to the nodes that lack it",
            path.display(),
            names(&secrets.key_ids()[1..]),
            names(&secrets.key_ids()[..1]),
        )));
    }
    let both = secrets.rotated(Secret::random(&mut rand::rng()));
    write_files(&[NewFile::private(path.to_owned(), &both.to_text())])?;
    let next = [
        format!("copy {} to every node that can be reached: each takes it up within seconds", path.display()),
        "see who lacks it: tidings secret status".to_owned(),
        format!("when nobody does: tidings secret rotate --secret-file {} --finish", path.display()),
    ];
    told(path, &both, &next, output)
}

fn finish(path: &Path, secrets: &Secrets, force: bool, client: &ClientArgs, output: Output) -> Result<(), Failure> {
    if secrets.len() == 1 {
        return Err(Failure::failed(format!(
            "{}: no rotation is under way: there is one secret in it, {}",
            path.display(),
            names(&secrets.key_ids())
        )));
    }
    if !force {
        check_all_have(secrets, &Client::open(client)?)?;
    }
    let new = secrets.presented_only();
    write_files(&[NewFile::private(path.to_owned(), &new.to_text())])?;
    let next = [format!(
        "copy {} to every node again: each drops the old one within seconds, and links that were made with it are made anew",
        path.display()
    )];
    told(path, &new, &next, output)
}

/// That no member would be kept out.
fn check_all_have(secrets: &Secrets, client: &Client) -> Result<(), Failure> {
    let seen = Seen::at(client)?;
    let cluster = format!("{:032x}", u128::from_be_bytes(secrets.cluster_id()));
    if seen.cluster != cluster {
        let message = format!(
            "{}: a node of cluster {}, and the secrets are of {cluster}; give a node of theirs with --http",
            client.base(),
            seen.cluster
        );
        return Err(Failure::failed(message));
    }
    let new = names(&secrets.key_ids()[..1]);
    let lacking = seen.without(&new);
    if lacking.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "not yet: these do not present {new}, and would be kept out: {}; copy the file there first, or say --force",
        lacking.iter().map(|member| called(member)).collect::<Vec<_>>().join(", ")
    )))
}

fn told(path: &Path, secrets: &Secrets, next: &[String], output: Output) -> Result<(), Failure> {
    let ids = secrets.key_ids();
    if output.json {
        let accepts: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let file: PathBuf = path.to_owned();
        return output.line(&json!({ "file": file, "presents": names(&ids[..1]), "accepts": accepts }).to_string());
    }
    let old = if ids.len() > 1 { format!(", accepts {} too", names(&ids[1..])) } else { String::new() };
    output.line(&format!("{}: presents {}{old}", path.display(), names(&ids[..1])))?;
    next.iter().try_for_each(|line| output.line(&format!("- {line}")))
}

fn names(ids: &[crate::KeyId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// How far a rotation has come.
pub(super) fn status(client: &Client, output: Output) -> Result<(), Failure> {
    let seen = Seen::at(client)?;
    let newest = seen.newest();
    let waiting = seen.without(&newest);
    if output.json {
        let own = seen.own().map(|member| member.keys.as_slice()).unwrap_or_default();
        let member = |m: &&Member| json!({ "id": m.id, "name": m.name, "state": m.state, "keys": m.keys });
        let shown = json!({
            "cluster": seen.cluster,
            "presents": own.first(),
            "accepts": own,
            "newest": newest,
            "members": seen.present().iter().map(member).collect::<Vec<_>>(),
            "waiting": waiting.iter().map(|member| &member.id).collect::<Vec<_>>(),
        });
        return output.line(&shown.to_string());
    }
    let rows = seen.present().into_iter().map(|m| {
        let (first, others) =
            m.keys.split_first().map_or((String::new(), &[][..]), |(first, rest)| (first.clone(), rest));
        vec![printable(m.name.as_bytes()), m.id.clone(), m.state.clone(), first, others.join(" ")]
    });
    output.table(&["name", "id", "state", "presents", "also accepts"], rows)?;
    output.line(&format!("cluster {}", seen.cluster))?;
    output.line(&seen.summary(&newest, &waiting))
}

/// The members as a node sees them.
struct Seen {
    cluster: String,
    members: Vec<Member>,
}

#[derive(Deserialize)]
struct Status {
    cluster: String,
}

impl Seen {
    fn at(client: &Client) -> Result<Self, Failure> {
        let Status { cluster } = client.parse(client.get_text("/v1/status")?.as_bytes())?;
        let Members { members } = client.parse(client.get_text("/v1/members")?.as_bytes())?;
        Ok(Self { cluster, members })
    }

    /// Without those that have left for good.
    fn present(&self) -> Vec<&Member> {
        self.members.iter().filter(|member| member.state != "left").collect()
    }

    fn own(&self) -> Option<&Member> {
        self.members.iter().find(|member| member.is_self)
    }

    /// What the asked node presents; or, if it has not got that yet, what those present that accept its own as an old one.
    fn newest(&self) -> String {
        let own = self.own().map(|member| member.keys.as_slice()).unwrap_or_default();
        let Some(first) = own.first() else { return String::new() };
        let newer = |member: &&Member| {
            member.keys.iter().skip(1).any(|key| key == first)
                && member.keys.iter().all(|key| key == first || !own.contains(key))
        };
        let newer = self.members.iter().find(newer).and_then(|member| member.keys.first());
        newer.unwrap_or(first).clone()
    }

    fn without(&self, key: &str) -> Vec<&Member> {
        self.present().into_iter().filter(|member| member.keys.first().is_none_or(|first| first != key)).collect()
    }

    fn summary(&self, newest: &str, waiting: &[&Member]) -> String {
        let called = |members: &[&Member]| members.iter().map(|m| called(m)).collect::<Vec<_>>().join(", ");
        let accepting: Vec<&Member> = self.present().into_iter().filter(|member| member.keys.len() > 1).collect();
        match (waiting.is_empty(), accepting.is_empty()) {
            (false, _) => format!("not yet with {newest}: {}; bring the new files there", called(waiting)),
            (true, false) => format!(
                "all present {newest}; others are still accepted by {}: end the rotation there, too",
                called(&accepting)
            ),
            (true, true) => format!("all present {newest}, and accept nothing else"),
        }
    }
}

fn called(member: &Member) -> String {
    let state = if member.state == "alive" { String::new() } else { format!(" ({})", member.state) };
    format!("{}{state}", printable(member.name.as_bytes()))
}
