//! A cluster that does not exist, in virtual time: thirty nodes on a poor network, half of them cut off for a minute.
//! `cargo run --example simulate`. The command `tidings simulate` is the same with flags, tables and curves.

use tidings::simulate::{Cluster, Network, Settings};

const SECOND_US: u64 = 1_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let network = Network { latency_us: (20_000, 80_000), loss: 0.05, ..Network::default() };
    let mut cluster = Cluster::new(Settings { nodes: 30, seed: 7, network, ..Settings::default() });
    cluster.run_for(20 * SECOND_US);
    println!("{} nodes, node 0 has {} links", cluster.up().len(), cluster.links(0));

    let before = cluster.figures();
    cluster.put(3, 0, 64).ok_or("node 3 runs")?;
    let took_us = cluster.run_until_converged(30 * SECOND_US).ok_or("it is everywhere")?;
    let spent = cluster.figures().since(&before).total();
    println!("a write is everywhere after {} ms, in {} frames", took_us / 1_000, spent.frames);

    // Half of them are cut off for far longer than any timeout; both halves write, one of them deletes.
    let (left, right): (Vec<usize>, Vec<usize>) = (0..30).partition(|who| who % 2 == 0);
    cluster.cut(&left, &right, true);
    cluster.run_for(SECOND_US);
    cluster.put(1, 1, 64).ok_or("node 1 runs")?;
    cluster.delete(2, 0).ok_or("there was something")?;
    cluster.run_for(60 * SECOND_US);
    assert!(!cluster.is_converged());

    cluster.heal();
    let took_us = cluster.run_until_converged(120 * SECOND_US).ok_or("they find each other again")?;
    println!("cut in halves for a minute, healed: all agree {:.1} s later", took_us as f64 / SECOND_US as f64);
    cluster.check()?;
    println!("no write is lost, nothing deleted is back; {} events", cluster.events());
    Ok(())
}
