//! A data directory that is no longer what was written: a node starts with all of it, or refuses, and says what to do. Not
//! responsible for a last batch that was torn by a power cut, which nobody was told of.

use super::place::{Place, secret};
use crate::dice::{Dice, for_each_seed};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A damaged length makes an engine ask for all the memory there is: it shall not get it.
const ADDRESS_SPACE_KILOBYTES: u64 = 6 << 20;
const PAGE: usize = 4096;

/// What may happen to a file.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Flip,
    Zeros,
    Cut,
    Empty,
    Removed,
}

/// What a start made of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Whole,
    Refused,
    /// What must not be.
    Wrong(String),
}

/// A directory with all kinds of files that there are, and what is in it.
struct Template {
    place: Place,
    secret: String,
    exported: Vec<u8>,
    files: Vec<PathBuf>,
}

impl Template {
    fn make() -> Self {
        let secret = secret();
        let mut place = Place::new(&secret);
        // So that there are tables, and journals: what is in memory goes to a table when it is more than 16 MiB.
        for round in 0..3 {
            place.start(&[]);
            for number in 0..60 {
                place.client().put(&format!("large/{round}/{number}"), vec![b'a' + round; 100_000]);
                place.client().put(&format!("small/{number}"), format!("in round {round}"));
            }
            if round == 1 { place.end() } else { place.kill() }
        }
        place.start(&[]);
        place.client().put("last", "one");
        let exported = place.client().get("/v1/export").body;
        place.kill();
        let mut files = Vec::new();
        list(place.data(), &mut files);
        files.retain(|file| !file.ends_with("lock"));
        files.sort();
        Self { place, secret, exported, files }
    }

    /// Starts a node on a copy with one file harmed.
    fn start_harmed(&self, file: &Path, harm: Harm, dice: &mut Dice) -> Outcome {
        let mut place = Place::new(&self.secret).with_address_space(ADDRESS_SPACE_KILOBYTES);
        let copied =
            Command::new("cp").args(["-r", "--sparse=always"]).arg(self.place.data()).arg(place.data()).status();
        assert!(copied.expect("cp runs").success());
        let harmed = place.data().join(file.strip_prefix(self.place.data()).expect("below"));
        do_harm(&harmed, harm, dice);
        // Whoever starts it starts it again: the first start must not have made it worse.
        let outcome = self.start(&mut place);
        if place.is_running() {
            place.kill();
        }
        let again = self.start(&mut place);
        // What the first start has mended may be whole in the second; what was whole stays so.
        match (outcome, again) {
            (Outcome::Refused, Outcome::Whole | Outcome::Refused) => Outcome::Refused,
            (Outcome::Whole, Outcome::Whole) => Outcome::Whole,
            (first, again) => Outcome::Wrong(format!("first {first:?}, then {again:?}")),
        }
    }

    fn start(&self, place: &mut Place) -> Outcome {
        match place.try_start(&[]) {
            Ok(()) if place.client().get("/v1/export").body == self.exported => Outcome::Whole,
            Ok(()) => Outcome::Wrong("it has started with something else".to_owned()),
            Err(Some(1)) => refusal(place),
            Err(code) => Outcome::Wrong(format!("ended with {code:?}: {}", place.stderr())),
        }
    }
}

fn refusal(place: &Place) -> Outcome {
    let said = place.stderr();
    let names_it = said.contains(place.data().to_str().expect("UTF-8"));
    let way_out = said.contains("tidings restore") && said.contains("move the directory away");
    if names_it && way_out && !said.contains("panicked") { Outcome::Refused } else { Outcome::Wrong(said) }
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { list(&path, files) } else { files.push(path) }
    }
}

fn do_harm(file: &Path, harm: Harm, dice: &mut Dice) {
    if matches!(harm, Harm::Removed) {
        return std::fs::remove_file(file).expect("there");
    }
    let mut bytes = std::fs::read(file).expect("there");
    // The engine sets room aside behind what it has written: nothing is there to be harmed.
    let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let at = dice.below(used.max(1));
    match harm {
        Harm::Flip => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 0x55),
        Harm::Zeros => bytes.iter_mut().skip(at / PAGE * PAGE).take(PAGE).for_each(|byte| *byte = 0),
        Harm::Cut => bytes.truncate(at),
        Harm::Empty | Harm::Removed => bytes.clear(),
    }
    std::fs::write(file, bytes).expect("written");
}

/// Which files are alike.
fn kind(file: &Path) -> String {
    let name = file.file_name().and_then(|name| name.to_str()).expect("UTF-8");
    let below = file.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
    match below {
        "tables" => "table".to_owned(),
        _ if name.ends_with(".jnl") => "journal".to_owned(),
        _ => name.to_owned(),
    }
}

/// How often each is tried: more where there is more to hit.
fn harms(kind: &str) -> Vec<Harm> {
    let (flips, zeros, cuts) = if matches!(kind, "table" | "journal") { (6, 2, 2) } else { (4, 1, 1) };
    let several = [(Harm::Flip, flips), (Harm::Zeros, zeros), (Harm::Cut, cuts), (Harm::Empty, 1), (Harm::Removed, 1)];
    several.into_iter().flat_map(|(harm, count)| std::iter::repeat_n(harm, count)).collect()
}

#[test]
fn damage_is_refused_or_does_not_matter() {
    let template = Template::make();
    let mut tally = BTreeMap::<(String, String, Outcome), u32>::new();
    for_each_seed(1, |dice| {
        for file in &template.files {
            for harm in harms(&kind(file)) {
                let outcome = template.start_harmed(file, harm, dice);
                *tally.entry((kind(file), format!("{harm:?}"), outcome)).or_default() += 1;
            }
        }
    });
    for ((kind, harm, outcome), count) in &tally {
        println!("{count:>4}  {kind:<12} {harm:<8} {outcome:?}");
    }
    assert!(tally.values().sum::<u32>() >= 60, "too few to tell");
    assert!(tally.keys().all(|(_, _, outcome)| matches!(outcome, Outcome::Whole | Outcome::Refused)));
}

#[test]
fn a_state_that_is_gone_is_not_begun_anew() {
    let secret = secret();
    let mut place = Place::new(&secret);
    place.start(&[]);
    assert_eq!(place.client().put("kettle", "on").status, 201);
    place.end();
    for gone in ["format", "state-1"] {
        let (there, aside) = (place.data().join(gone), place.data().join("aside"));
        std::fs::rename(&there, &aside).expect("moved");
        assert_eq!(place.try_start(&[]), Err(Some(1)), "without {gone}");
        assert_eq!(refusal(&place), Outcome::Refused, "without {gone}");
        std::fs::rename(&aside, &there).expect("moved back");
    }
    place.start(&[]);
    assert_eq!(place.client().value("kettle").as_deref(), Some(&b"on"[..]));
}
