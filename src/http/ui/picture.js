// Members on a circle, and the links between them; dots run along links that carry bytes. States differ in shape and in
// words, not in colour alone.

import { byId, makeSvg, reconcile, say, set } from "./dom.js";

const CENTRE = { x: 200, y: 148 };
const RADIUS = { x: 140, y: 98 };
// With more members than this their names would lie upon each other.
const NAMED_MAX = 16;
const STILL = matchMedia("(prefers-reduced-motion: reduce)");

const svg = byId("picture");
const layers = ["links", "sparks", "nodes"].map((name) => makeSvg("g", { class: name }));
svg.append(...layers);
const [linkLayer, sparkLayer, nodeLayer] = layers;

const places = new Map();
const moved = new Map();

export function drawPicture({ nodes, links }) {
  nodes.forEach((node, index) => places.set(node.id, placeOf(index, nodes.length)));
  const shown = links.filter((link) => places.has(link.a) && places.has(link.b));
  reconcile(linkLayer, shown, keyOf, () => makeSvg("line"), drawLink);
  reconcile(nodeLayer, nodes, (node) => node.id, makeNode, (group, node) => drawNode(group, node, nodes.length));
  const states = nodes.map((node) => `${node.name} ${node.cut ? "cut off, " : ""}${node.state}`).join(", ");
  set(svg, { "aria-label": `Members: ${states}. ${shown.length} links.` });
  shown.forEach(spark);
}

const keyOf = (link) => `${link.a} ${link.b}`;

function placeOf(index, count) {
  if (count === 1) {
    return CENTRE;
  }
  const angle = (2 * Math.PI * index) / count - Math.PI / 2;
  return { x: CENTRE.x + RADIUS.x * Math.cos(angle), y: CENTRE.y + RADIUS.y * Math.sin(angle) };
}

function drawLink(line, link) {
  const [from, to] = [places.get(link.a), places.get(link.b)];
  const behind = link.lag > 0 ? " behind" : "";
  set(line, { x1: from.x, y1: from.y, x2: to.x, y2: to.y, class: `link ${link.mode}${behind}`, "data-link": keyOf(link) });
}

function makeNode(node) {
  const { x, y } = places.get(node.id);
  const group = makeSvg("g", { class: "node" });
  const [name, state] = ["name", "word"].map((kind) => makeSvg("text", { class: kind }));
  group.append(makeSvg("title"), makeSvg("path", { class: "shape" }), makeSvg("text", { class: "sign", y: 5 }), name, state);
  group.style.transform = `translate(${x}px, ${y}px)`;
  return group;
}

const SHAPES = {
  alive: "M-15 0a15 15 0 1 0 30 0a15 15 0 1 0-30 0z",
  suspect: "M0-17 17 0 0 17-17 0z",
  down: "M-14-14h28v28h-28z",
  left: "M0-16 15 11h-30z",
};
const SIGNS = { alive: "", suspect: "?", down: "×", left: "–" };

function drawNode(group, node, count) {
  const { x, y } = places.get(node.id);
  const [title, shape, sign, name, state] = group.children;
  group.style.transform = `translate(${x}px, ${y}px)`;
  set(group, { class: `node ${node.state}${node.self ? " self" : ""}${node.cut ? " cut" : ""}`, "data-node": node.name });
  set(shape, { d: SHAPES[node.state] ?? SHAPES.alive });
  say(title, `${node.name}, ${node.state}, ${node.addresses[0] ?? "no address"}`);
  say(sign, node.cut && node.state === "alive" ? "✂" : (SIGNS[node.state] ?? ""));
  const named = count <= NAMED_MAX || node.self;
  say(name, named ? shortened(node.name) : "");
  say(state, named ? wordOf(node) : "");
  // Outside of the circle: links are inside.
  const above = y < CENTRE.y - 10;
  set(name, { y: above ? (state.textContent ? -38 : -25) : 33 });
  set(state, { y: above ? -24 : 47 });
}

function wordOf(node) {
  if (node.cut) {
    return node.state === "alive" ? "cut off" : `${node.state}, cut off`;
  }
  return node.state === "alive" ? (node.self ? "this one" : "") : node.state;
}

const shortened = (name) => (name.length > 14 ? `${name.slice(0, 13)}…` : name);

// A dot runs along a link that has carried something since the last look.
function spark(link) {
  const before = moved.get(keyOf(link));
  moved.set(keyOf(link), link.moved);
  if (before === undefined || link.moved <= before || STILL.matches || document.hidden) {
    return;
  }
  const [from, to] = [places.get(link.a), places.get(link.b)];
  const large = link.moved - before > 2000 ? " large" : "";
  for (const [start, end] of [[from, to], [to, from]]) {
    const dot = makeSvg("circle", { class: `spark${large}`, r: large ? 4 : 2.5 });
    sparkLayer.append(dot);
    const at = ({ x, y }) => ({ transform: `translate(${x}px, ${y}px)` });
    dot.animate([at(start), at(end)], { duration: 850, easing: "ease-in-out" }).finished.then(() => dot.remove(), () => dot.remove());
  }
}
