//! Small stories of one view, and what holds for any number of them over random runs. Not responsible for what thousands of views
//! come to: `tests/sampling.rs` is.

use super::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::BTreeSet;
use std::time::Duration;

/// A node of these stories, and how often it has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(u32, u32);

impl Peer for Place {
    type Id = u32;

    fn id(&self) -> u32 {
        self.0
    }
}

const ME: u32 = 0;

fn rng() -> StdRng {
    StdRng::seed_from_u64(7)
}

fn small(size: usize, heal: usize, swap: usize) -> ViewConfig {
    ViewConfig { size, heal, swap, ..ViewConfig::default() }
}

fn aged(id: u32, age: u32) -> Descriptor<Place> {
    Descriptor { peer: Place(id, 0), age }
}

/// A view of these ids and ages, in this order.
fn view(config: ViewConfig, held: &[(u32, u32)]) -> View<Place> {
    View { config, held: held.iter().map(|(id, age)| aged(*id, *age)).collect() }
}

fn ids(descriptors: &[Descriptor<Place>]) -> BTreeSet<u32> {
    descriptors.iter().map(|descriptor| descriptor.peer.0).collect()
}

fn age_of(view: &View<Place>, id: u32) -> Option<u32> {
    view.descriptors().iter().find(|descriptor| descriptor.peer.0 == id).map(|descriptor| descriptor.age)
}

// --- By other means

#[test]
fn who_is_heard_of_is_young_and_the_oldest_makes_room() {
    let mut view = view(small(3, 1, 0), &[(1, 5), (2, 9), (3, 1)]);
    view.insert(Place(4, 0));
    assert_eq!(ids(view.descriptors()), [1, 3, 4].into());
    view.insert(Place(1, 1));
    assert_eq!((view.len(), age_of(&view, 1)), (3, Some(0)));
    let moved = view.descriptors().iter().find(|descriptor| descriptor.peer.0 == 1).expect("it is held");
    assert_eq!(moved.peer, Place(1, 1), "it listens elsewhere now");
}

#[test]
fn who_is_evicted_stays_out_until_told_anew() {
    let mut view = view(small(4, 1, 1), &[(1, 0), (2, 3)]);
    assert!(view.evict(2));
    assert!(!view.evict(2));
    for _ in 0..20 {
        view.offer(Place(ME, 0), &mut rng());
        view.merge(vec![aged(3, 0)], ME, &mut rng());
        view.next_cycle();
        assert!(!view.contains(2));
    }
    view.merge(vec![aged(2, 1)], ME, &mut rng());
    assert_eq!(age_of(&view, 2), Some(1));
}

// --- Whom to shuffle with

#[test]
fn the_oldest_is_asked_or_anybody_and_nobody_if_there_is_none() {
    let held = [(1, 5), (2, 9), (3, 1)];
    let asked = |select, held: &[(u32, u32)]| {
        let view = view(ViewConfig { select, ..small(4, 1, 1) }, held);
        let mut rng = rng();
        (0..50).filter_map(|_| view.select(&mut rng).map(Peer::id)).collect::<BTreeSet<_>>()
    };
    assert_eq!(asked(Select::Oldest, &held), [2].into());
    assert_eq!(asked(Select::Random, &held), [1, 2, 3].into());
    assert!(asked(Select::Oldest, &[]).is_empty());
    assert!(asked(Select::Random, &[]).is_empty());
}

// --- What is sent

#[test]
fn an_offer_begins_with_the_own_descriptor_and_withholds_the_oldest() {
    let held: Vec<(u32, u32)> = (1..=12).map(|id| (id, id)).collect();
    for seed in 0..50 {
        let mut view = view(small(12, 5, 1), &held);
        let sent = view.offer(Place(ME, 3), &mut StdRng::seed_from_u64(seed));
        assert_eq!(sent[0], Descriptor { peer: Place(ME, 3), age: 0 });
        assert_eq!(sent.len(), 6, "half of the view, the own one included");
        assert!(ids(&sent[1..]).iter().all(|id| *id <= 7), "{sent:?}: 8 to 12 are the oldest");
        assert_eq!(view.descriptors()[..5], sent[1..], "what was sent stands at the head");
        assert_eq!(view.len(), 12);
    }
}

#[test]
fn an_offer_is_a_random_part() {
    let held: Vec<(u32, u32)> = (1..=12).map(|id| (id, 0)).collect();
    let mut view = view(small(12, 2, 4), &held);
    let mut rng = rng();
    let sent = (0..50).flat_map(|_| ids(&view.offer(Place(ME, 0), &mut rng)));
    assert_eq!(sent.collect::<BTreeSet<_>>(), (0..=12).collect());
}

// --- What is taken in

#[test]
fn of_two_of_one_peer_the_younger_stays() {
    let mut view = view(small(4, 1, 1), &[(1, 5), (2, 2)]);
    view.merge(vec![aged(1, 3), aged(2, 6)], ME, &mut rng());
    assert_eq!((age_of(&view, 1), age_of(&view, 2), view.len()), (Some(3), Some(2), 2));
    view.merge(vec![aged(3, 4), aged(3, 1)], ME, &mut rng());
    assert_eq!((age_of(&view, 3), view.len()), (Some(1), 3), "also within what one sends");
}

#[test]
fn the_oldest_go_first_then_those_that_were_sent_then_any() {
    let held = [(1, 1), (2, 1), (3, 1), (4, 1), (5, 8), (6, 9)];
    let received = || (11..14).map(|id| aged(id, 7)).collect::<Vec<_>>();
    let kept = |heal, swap| {
        let mut view = view(small(6, heal, swap), &held);
        view.merge(received(), ME, &mut rng());
        assert_eq!(view.len(), 6);
        ids(view.descriptors())
    };
    assert_eq!(kept(3, 0), [1, 2, 3, 4, 12, 13].into(), "6 and 5, then one of those of age 7");
    assert_eq!(kept(1, 2), [3, 4, 5, 11, 12, 13].into());
    assert_eq!(kept(0, 3), [4, 5, 6, 11, 12, 13].into());
}

#[test]
fn none_is_dropped_while_there_is_room() {
    let mut view = view(small(6, 3, 0), &[(1, 9), (2, 9)]);
    view.merge(vec![aged(3, 9), aged(4, 0), aged(1, 9)], ME, &mut rng());
    assert_eq!(ids(view.descriptors()), [1, 2, 3, 4].into());
}

#[test]
fn a_view_is_kept_young_old_or_blind() {
    let held: Vec<(u32, u32)> = (1..=10).map(|id| (id, 10 + id)).collect();
    let kept = |keep, seed| {
        let mut view = view(ViewConfig { keep, ..small(10, 2, 3) }, &held);
        view.merge((1..=5).map(|n| aged(20 + n, n)).collect(), ME, &mut StdRng::seed_from_u64(seed));
        ids(view.descriptors())
    };
    assert_eq!(kept(Keep::Head, 1), (1..=5).chain(21..=25).collect());
    assert_eq!(kept(Keep::Tail, 1), (1..=10).collect());
    let blind: BTreeSet<BTreeSet<u32>> = (0..20).map(|seed| kept(Keep::Random, seed)).collect();
    assert!(blind.len() > 10, "by chance alone");
}

#[test]
fn more_than_half_a_view_and_great_ages_are_not_taken_in() {
    let mut flooded = View::new(small(10, 2, 3));
    flooded.merge((1..1_000).map(|id| aged(id, u32::MAX)).collect(), ME, &mut rng());
    assert_eq!(ids(flooded.descriptors()), (1..=5).collect());
    flooded.next_cycle();
    assert!(flooded.descriptors().iter().all(|descriptor| descriptor.age == View::<Place>::AGE_MAX));
}

// --- Settings

#[test]
fn the_defaults_of_all_sizes_can_work() {
    assert_eq!(ViewConfig::of_size(30), ViewConfig::default());
    assert_eq!(ViewConfig::metered().check(), Ok(()));
    assert!((1..=ViewConfig::SIZE_MAX).all(|size| ViewConfig::of_size(size).check().is_ok()));
}

#[test]
fn what_cannot_work_is_named_with_what_would() {
    let says = |config: ViewConfig| config.check().expect_err("it cannot work").to_string();
    assert_eq!(says(small(0, 0, 0)), "view_size: a view without peers is none; give 1 or more, as 30 is");
    assert!(says(small(257, 4, 11)).starts_with("view_size: 257 is more than 256"));
    assert_eq!(says(small(9, 5, 0)), "view_heal: heal may take at most 4, half of size 9, and not 5");
    assert_eq!(says(small(30, 4, 12)), "view_swap: heal and swap may take at most 15, half of size 30, and not 16");
    assert!(says(small(30, 4, usize::MAX)).starts_with("view_swap: "));
    let hasty = ViewConfig { period: Duration::from_millis(99), ..ViewConfig::default() };
    assert_eq!(says(hasty), "view_period: 99ms is too short; give 100ms or more");
    assert_eq!(small(1, 0, 0).check(), Ok(()));
    assert_eq!(small(ViewConfig::SIZE_MAX, 64, 64).check(), Ok(()));
}

// --- Any story

/// Any settings: those that cannot work too, which must do no harm.
fn any_config(rng: &mut StdRng) -> ViewConfig {
    ViewConfig {
        size: rng.random_range(0..12),
        heal: rng.random_range(0..8),
        swap: rng.random_range(0..8),
        select: [Select::Random, Select::Oldest][rng.random_range(0..2)],
        keep: [Keep::Policy, Keep::Random, Keep::Head, Keep::Tail][rng.random_range(0..4)],
        ..ViewConfig::default()
    }
}

fn any_step(view: &mut View<Place>, rng: &mut StdRng) {
    match rng.random_range(0..6) {
        0 => view.insert(Place(rng.random_range(1..40), 0)),
        1 => {
            let id = rng.random_range(1..40);
            view.evict(id);
            assert!(!view.contains(id));
        }
        2 => view.next_cycle(),
        3 => drop(view.offer(Place(ME, 0), rng)),
        _ => {
            let count = rng.random_range(0..20);
            let any = |rng: &mut StdRng| aged(rng.random_range(0..40), rng.random_range(0..30));
            let received = (0..count).map(|_| any(rng)).collect();
            view.merge(received, ME, rng);
        }
    }
}

#[test]
fn whatever_happens_it_holds_others_only_each_once_and_no_more_than_it_may() {
    for seed in 0..500 {
        let mut rng = StdRng::seed_from_u64(seed);
        let config = any_config(&mut rng);
        let mut view = View::new(config);
        for step in 0..100 {
            any_step(&mut view, &mut rng);
            let held = ids(view.descriptors());
            assert_eq!(held.len(), view.len(), "seed {seed}, step {step}: one is held twice");
            assert!(!held.contains(&ME), "seed {seed}, step {step}: it holds itself");
            assert!(view.len() <= config.size.max(1), "seed {seed}, step {step}: more than {config:?} allows");
            let asked = view.select(&mut rng).map(Peer::id);
            assert_eq!(asked.is_none(), view.is_empty(), "seed {seed}, step {step}");
            assert!(asked.is_none_or(|id| held.contains(&id)), "seed {seed}, step {step}");
        }
    }
}

#[test]
fn a_full_view_stays_full() {
    for seed in 0..200 {
        let mut rng = StdRng::seed_from_u64(seed);
        let config = ViewConfig { keep: any_config(&mut rng).keep, ..small(8, 2, 2) };
        let mut view = View::new(config);
        (1..=8).for_each(|id| view.insert(Place(id, 0)));
        for _ in 0..50 {
            view.offer(Place(ME, 0), &mut rng);
            view.merge((0..4).map(|_| aged(rng.random_range(0..40), 1)).collect(), ME, &mut rng);
            view.next_cycle();
            assert_eq!(view.len(), 8, "seed {seed}: no more goes than has come");
        }
    }
}
