//! Many nodes in virtual time: `cargo bench --bench many`. Not responsible for one or two.

use std::time::Instant;
use tidings::simulate::{Network, Plan, Run, Settings, Writers};

fn main() {
    let arg = |at: usize, default: f64| std::env::args().nth(at).and_then(|a| a.parse().ok()).unwrap_or(default);
    let nodes = arg(1, 100.0) as usize;
    let settings = Settings { nodes, seed: 1, network: Network::default(), ..Settings::default() };
    let plan = Plan {
        settings,
        gather_s: arg(2, 30.0),
        seconds: arg(3, 10.0),
        writes_per_second: arg(4, 10.0),
        writers: Writers::Any,
        ..Plan::default()
    };
    let start = Instant::now();
    let mut run = Run::new(plan);
    let outcome = run.go(|p| {
        eprintln!("{:.1}s {p:?} events {} planned {}", start.elapsed().as_secs_f64(), 0, 0);
        true
    });
    let c = outcome.figures.total();
    println!(
        "{:?} {:?} {:?} writes {} copies {:.2} {c:?}",
        outcome.gathered_us,
        outcome.converged_us,
        outcome.wrong,
        outcome.writes,
        c.copies()
    );
    println!("gathering {:?} copies {}", outcome.gathering.total(), outcome.gathering.total().copies());
    let mut last: Vec<u64> = run.cluster.spread().curves().iter().map(|c| c.last_us()).collect();
    last.sort_unstable();
    println!(
        "last p50 {:?} p99 {:?} digest {:x} events {} {:.1}s",
        last.get(last.len() / 2),
        last.get(last.len() * 99 / 100),
        run.cluster.digest(),
        run.cluster.events(),
        start.elapsed().as_secs_f64()
    );
}
