// The page: asks the node how it is doing, once a second, and shows that; goes on asking when nobody answers.

import { get, post } from "./api.js";
import { byId, bytes, count, make, millis, number, reconcile, say, set } from "./dom.js";
import { startChanges } from "./changes.js";
import { startKeys } from "./keys.js";
import { drawPicture } from "./picture.js";
import { startTraffic } from "./traffic.js";

const EVERY_MS = 1000;
const RETRY_MAX_MS = 5000;

const traffic = startTraffic();
let isDemo = null;
let failures = 0;

async function look() {
  const [status, members, demo] = await Promise.all([get("v1/status"), get("v1/members"), lookAtDemo()]);
  const cluster = describe(status, members.members, demo?.nodes);
  say(byId("node-name"), status.name);
  document.title = `Tidings: ${status.name}`;
  drawPicture(cluster);
  showMembers(cluster);
  showConvergence(cluster);
  showFigures(status);
  traffic.add(status.bytes);
}

// Only a demo knows all of its nodes.
async function lookAtDemo() {
  isDemo ??= await get("ui/demo.json");
  return isDemo ? get("v1/demo") : null;
}

// Members and links in one shape, from what this node sees or, in a demo, from what all of them see.
function describe(status, members, demo) {
  const seen = demo ? demo.map((node) => node.status) : [status];
  const links = new Map();
  for (const one of seen) {
    for (const link of one.links) {
      const [a, b] = [one.id, link.id].sort();
      const known = links.get(`${a} ${b}`);
      const lag = Math.max(link.lag, known?.lag ?? 0);
      const eager = link.mode === "eager" || known?.mode === "eager";
      const sum = (bytes) => Object.values(bytes).reduce((all, some) => all + some, 0);
      const moved = Math.max(sum(link.bytes.sent) + sum(link.bytes.received), known?.moved ?? 0);
      links.set(`${a} ${b}`, { a, b, lag, moved, rtt: link.rtt_ms, mode: eager ? "eager" : "lazy" });
    }
  }
  const own = new Map(status.links.map((link) => [link.id, link]));
  const nodes = members.map((member) => {
    const number = demo ? demo.findIndex((node) => node.status.id === member.id) + 1 : 0;
    const link = own.get(member.id);
    return { ...member, number, cut: number > 0 && demo[number - 1].cut, link };
  });
  nodes.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }) || (a.id < b.id ? -1 : 1));
  return { status, nodes, links: [...links.values()], demo };
}

function showMembers({ nodes, demo }) {
  byId("demo-title").hidden = !demo;
  reconcile(byId("members"), nodes, (node) => node.id, makeMember, (row, node) => {
    set(row, { "data-member": node.name, "data-state": node.state, "data-cut": String(node.cut) });
    const [name, buttons, state, link, rtt, lag] = row.children;
    say(name, node.self ? `${node.name} (here)` : node.name);
    set(name, { title: node.id });
    say(state.firstElementChild, node.cut && node.state === "alive" ? "cut off" : node.state);
    set(state.firstElementChild, { class: `state ${node.state}` });
    say(link, node.self ? "–" : (node.link?.mode ?? "none"));
    say(rtt, node.link ? millis(node.link.rtt_ms) : "–");
    say(lag, node.link ? number(node.link.lag) : "–");
    buttons.hidden = !demo;
    const button = buttons.firstElementChild;
    button.disabled = !node.number;
    say(button, node.cut ? "Heal" : "Cut");
    set(button, { "aria-label": `${node.cut ? "Heal" : "Cut"} ${node.name}` });
    button.onclick = () => turn(node);
  });
}

function makeMember() {
  const button = make("button", { type: "button" });
  const first = [make("th", { scope: "row" }), make("td", {}, button), make("td", {}, make("span"))];
  return make("tr", {}, ...first, make("td"), make("td", { class: "number wide" }), make("td", { class: "number" }));
}

async function turn(node) {
  await post(`v1/demo/${node.cut ? "heal" : "cut"}?node=${node.number}`).catch(() => {});
  await beat();
}

function showConvergence({ status, nodes, links, demo }) {
  const [done, text] = demo ? convergenceOf(demo) : convergenceSeen(status, nodes, links);
  const lag = Math.max(0, ...links.map((link) => link.lag));
  const late = lag > 0 ? `; ${count(lag, "write is", "writes are")} on the way` : "";
  say(byId("convergence"), text + late);
  set(byId("convergence"), { "data-converged": String(done) });
}

// All nodes of a demo are known: their audit sums say which of them hold the same.
function convergenceOf(demo) {
  const sums = ({ status }) => `${status.audit.context} ${status.audit.state}`;
  const alike = (sum) => demo.filter((node) => sums(node) === sum);
  const most = demo.map((node) => alike(sums(node))).reduce((a, b) => (b.length > a.length ? b : a), []);
  if (most.length === demo.length) {
    return [true, `Converged: all ${demo.length} nodes hold the same`];
  }
  const others = demo.filter((node) => !most.includes(node)).map((node) => node.status.name);
  return [false, `Not converged: ${others.join(", ")} ${others.length === 1 ? "differs" : "differ"} from the others`];
}

// One node knows of its links only what the peers are known to lack.
function convergenceSeen(status, nodes, links) {
  const behind = links.filter((link) => link.lag > 0).length;
  const away = nodes.filter((node) => !node.self && (node.state === "suspect" || node.state === "down")).length;
  const gone = away > 0 ? `; ${count(away, "member is", "members are")} away` : "";
  if (status.pending > 0) {
    return [false, `A sync is under way: ${count(status.pending, "key is", "keys are")} ahead${gone}`];
  }
  if (links.length === 0) {
    return [away === 0, nodes.length === 1 ? "This node is alone" : `No link to anybody${gone}`];
  }
  if (behind > 0) {
    return [false, `${count(behind, "peer lacks", "peers lack")} something that is here${gone}`];
  }
  return [away === 0, `${count(links.length, "linked peer has", "linked peers have")} all that is here${gone}`];
}

function showFigures(status) {
  const storage = status.storage.bytes === undefined ? status.storage.kind : `${status.storage.kind}, ${bytes(status.storage.bytes)}`;
  const figures = [
    ["Keys, with the cluster's own", number(status.keys)],
    ["Siblings", number(status.siblings)],
    ["Deletes remembered", number(status.tombstones)],
    ["Replicas seen", number(status.context.replicas)],
    ["Ahead of a sync", number(status.pending)],
    ["Writes received", number(status.dots.new)],
    ["Received again", number(status.dots.known)],
    ["Kept in", status.storage.problem ? `${storage}: ${status.storage.problem}` : storage],
  ];
  reconcile(byId("figure-list"), figures, ([name]) => name, makeFigure, (item, [, value]) => say(item.lastElementChild, value));
}

function makeFigure([name]) {
  return make("div", {}, make("dt", {}, name), make("dd"));
}

function showContact(contact, text) {
  set(byId("contact"), { "data-contact": contact });
  say(byId("contact"), text);
  document.body.classList.toggle("stale", contact === "lost");
}

// One look. Says whether the node answered.
async function beat() {
  try {
    await look();
    failures = 0;
    showContact("up", "live");
  } catch (error) {
    failures += 1;
    // Another one may answer next.
    isDemo = null;
    say(byId("convergence"), "Not known now");
    set(byId("convergence"), { "data-converged": null });
    const why = error.status ? `the node refuses: ${error.message}` : "the node does not answer";
    showContact("lost", `${why}; trying again. What is shown is old.`);
  }
}

async function run() {
  for (;;) {
    if (!document.hidden) {
      await beat();
    }
    await new Promise((resolve) => setTimeout(resolve, Math.min(EVERY_MS * (failures + 1), RETRY_MAX_MS)));
  }
}

const THEMES = ["system", "light", "dark"];

function startTheme() {
  const button = byId("theme");
  const use = (theme) => {
    set(document.documentElement, { "data-theme": theme === "system" ? null : theme });
    say(button, `Theme: ${theme}`);
  };
  let theme = localStorage.getItem("tidings-theme") ?? "system";
  use(theme);
  button.onclick = () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    localStorage.setItem("tidings-theme", theme);
    use(theme);
  };
}

startTheme();
startKeys();
startChanges();
run();
