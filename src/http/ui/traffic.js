// Bytes a second by purpose over the last two minutes, as a stack. What is counted comes from the node; here it is only
// divided by time.

import { byId, bytes, make, makeSvg, reconcile, say, set } from "./dom.js";

const SAMPLES_MAX = 120;
const [WIDTH, HEIGHT] = [480, 120];
// From the bottom of the stack: what users wrote first.
const PURPOSES = [
  ["values", "keys and values"],
  ["metadata", "what goes with them"],
  ["contexts", "who knows what"],
  ["symbols", "finding what differs"],
  ["membership", "the cluster's records"],
  ["transport", "QUIC, UDP and IP"],
];

export function startTraffic() {
  const samples = { sent: [], received: [] };
  let direction = "sent";
  let last = null;
  const draw = () => drawStack(samples[direction]);
  for (const name of ["sent", "received"]) {
    byId(`traffic-${name}`).onclick = () => {
      direction = name;
      ["sent", "received"].forEach((one) => set(byId(`traffic-${one}`), { "aria-pressed": String(one === name) }));
      draw();
    };
  }
  const area = ([name]) => makeSvg("path", { class: `area ${name}` });
  byId("chart").append(...PURPOSES.map(area));
  return {
    // Takes the node's counters as they stand now.
    add(counters) {
      const now = { at: performance.now(), counters };
      const seconds = last ? (now.at - last.at) / 1000 : 0;
      if (seconds > 0.3) {
        for (const way of ["sent", "received"]) {
          const rate = ([name]) => Math.max(0, (counters[way][name] ?? 0) - (last.counters[way][name] ?? 0)) / seconds;
          samples[way].push(PURPOSES.map(rate));
          samples[way].splice(0, samples[way].length - SAMPLES_MAX);
        }
      }
      if (!last || seconds > 0.3) {
        last = now;
        draw();
      }
    },
  };
}

function drawStack(samples) {
  const totals = samples.map((rates) => rates.reduce((sum, rate) => sum + rate, 0));
  const top = niceAbove(Math.max(1, ...totals));
  const x = (index) => ((SAMPLES_MAX - samples.length + index) / (SAMPLES_MAX - 1)) * WIDTH;
  const y = (rate) => HEIGHT - (rate / top) * HEIGHT;
  let below = samples.map(() => 0);
  [...byId("chart").children].forEach((path, purpose) => {
    const upper = samples.map((rates, index) => below[index] + rates[purpose]);
    const point = (rate, index) => `${x(index).toFixed(1)} ${y(rate).toFixed(1)}`;
    const there = upper.map(point);
    const back = below.map(point).reverse();
    set(path, { d: samples.length > 1 ? `M${[...there, ...back].join("L")}Z` : "M0 0" });
    below = upper;
  });
  say(byId("chart-top"), `top: ${bytes(top)}/s`);
  const latest = samples.at(-1) ?? PURPOSES.map(() => 0);
  reconcile(byId("purposes"), PURPOSES, ([name]) => name, makePurpose, (item, [name]) => {
    const index = PURPOSES.findIndex(([one]) => one === name);
    say(item.lastElementChild, `${bytes(latest[index])}/s`);
  });
}

function makePurpose([name, meaning]) {
  const mark = make("i", { class: `swatch ${name}`, "aria-hidden": "true" });
  return make("li", { title: meaning }, mark, make("span", {}, name), make("b", { class: "number" }));
}

// 1, 2 or 5 and zeros: a scale that does not jump at each sample.
function niceAbove(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}
