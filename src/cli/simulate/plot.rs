//! How writes spread, as a picture: the share of nodes that have one, over time. Not responsible for the figures.

use crate::simulate::{Curve, SHARES};
use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 48.0;
const RIGHT: f64 = 24.0;
const BOTTOM: f64 = 56.0;
/// About so many labels stand below the time axis.
const TICKS: f64 = 8.0;
const MEDIAN: &str = "#1b6ca8";
const WORST: &str = "#c8553d";

/// A file of its own, with nothing in it from elsewhere.
pub(super) fn svg(curves: &[Curve]) -> String {
    let median: [u64; SHARES] =
        std::array::from_fn(|point| median(curves.iter().map(|curve| curve.0[point]).collect()));
    let worst = curves.iter().max_by_key(|curve| curve.last_us()).map_or([0; SHARES], |curve| curve.0);
    let most_ms = (worst[SHARES - 1].max(median[SHARES - 1]) as f64 / 1_000.0).max(1.0);
    let step_ms = step(most_ms / TICKS);
    let end_ms = (most_ms / step_ms).ceil() * step_ms;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>How writes spread</title>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"28\" font-size=\"16\">Share of nodes that have a write ({} writes)</text>\n",
        curves.len()
    );
    axes(&mut svg, step_ms, end_ms);
    line(&mut svg, &worst, end_ms, WORST);
    line(&mut svg, &median, end_ms, MEDIAN);
    legend(&mut svg, 0.0, MEDIAN, "median of all writes");
    legend(&mut svg, 18.0, WORST, "slowest write");
    svg + "</svg>\n"
}

fn median(mut all: Vec<u64>) -> u64 {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or(0)
}

/// 1, 2 or 5 times a power of ten, and not less than this.
fn step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= least).unwrap_or(10.0 * power)
}

fn x(ms: f64, end_ms: f64) -> f64 {
    LEFT + ms / end_ms * (WIDTH - LEFT - RIGHT)
}

fn y(share: f64) -> f64 {
    HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
}

fn axes(svg: &mut String, step_ms: f64, end_ms: f64) {
    for quarter in 0..=4 {
        let (y, percent) = (y(f64::from(quarter) / 4.0), quarter * 25);
        put(svg, format_args!("<path d=\"M{LEFT} {y:.1}H{}\" stroke=\"#ddd\"/>", WIDTH - RIGHT));
        put(
            svg,
            format_args!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{percent} %</text>", LEFT - 8.0, y + 4.0),
        );
    }
    for tick in 0..=(end_ms / step_ms).round() as u32 {
        let ms = f64::from(tick) * step_ms;
        let (x, bottom) = (x(ms, end_ms), y(0.0));
        put(svg, format_args!("<path d=\"M{x:.1} {bottom:.1}v5\" stroke=\"#444\"/>"));
        put(svg, format_args!("<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{ms}</text>", bottom + 20.0));
    }
    let (bottom, middle) = (y(0.0), x(end_ms / 2.0, end_ms));
    put(
        svg,
        format_args!("<path d=\"M{LEFT} {:.1}V{bottom:.1}H{}\" fill=\"none\" stroke=\"#444\"/>", y(1.0), WIDTH - RIGHT),
    );
    put(
        svg,
        format_args!(
            "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">milliseconds after the write</text>",
            HEIGHT - 12.0
        ),
    );
}

fn line(svg: &mut String, times_us: &[u64; SHARES], end_ms: f64, colour: &str) {
    let points = times_us.iter().enumerate().map(|(point, us)| {
        let share = point as f64 / (SHARES - 1) as f64;
        format!("{:.1},{:.1}", x(*us as f64 / 1_000.0, end_ms), y(share))
    });
    let points = points.collect::<Vec<_>>().join(" ");
    put(svg, format_args!("<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"));
}

fn legend(svg: &mut String, down: f64, colour: &str, name: &str) {
    let (x, y) = (WIDTH - RIGHT - 170.0, y(0.0) - 40.0 + down);
    put(svg, format_args!("<path d=\"M{x} {y}h24\" stroke=\"{colour}\" stroke-width=\"2\"/>"));
    put(svg, format_args!("<text x=\"{}\" y=\"{}\">{name}</text>", x + 32.0, y + 4.0));
}

fn put(svg: &mut String, element: std::fmt::Arguments<'_>) {
    // A string takes all that is written to it.
    let _ = writeln!(svg, "{element}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_ones_that_people_count_in() {
        assert_eq!([0.3, 1.0, 12.0, 45.0, 51.0].map(step), [0.5, 1.0, 20.0, 50.0, 100.0]);
    }

    #[test]
    fn it_has_both_curves_axes_and_labels_also_of_nothing() {
        let curve = |last: u64| Curve(std::array::from_fn(|point| point as u64 * last / 40));
        for curves in [vec![curve(300_000), curve(500_000), curve(310_000)], Vec::new()] {
            let svg = svg(&curves);
            assert_eq!(svg.matches("<polyline").count(), 2);
            for label in ["slowest write", "median of all writes", "milliseconds after the write", "100 %"] {
                assert!(svg.contains(label), "{label}: {svg}");
            }
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
