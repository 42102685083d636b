// Changes as they come. Goes on after the last one it was told when the node was away, so that nothing is missed.

import { keyPath, parseExact, stream } from "./api.js";
import { byId, make, say, set } from "./dom.js";
import { formsOf } from "./keys.js";

const SHOWN_MAX = 100;
const VALUE_MAX = 120;
const RETRY_MS = 2000;

let running = new AbortController();
let paused = false;
let held = [];

export function startChanges() {
  byId("watch-form").addEventListener("submit", (event) => {
    event.preventDefault();
    byId("change-list").replaceChildren();
    held = [];
    begin();
  });
  byId("pause").onclick = () => {
    paused = !paused;
    set(byId("pause"), { "aria-pressed": String(paused) });
    held.splice(0).forEach(add);
  };
  begin();
}

function begin() {
  running.abort();
  running = new AbortController();
  follow(byId("watch-prefix").value, running.signal);
}

async function follow(prefix, signal) {
  let after = null;
  const tell = (event) => {
    after = event.id ?? after;
    say(byId("watch-note"), paused ? "paused" : "watching");
    if (event.data) {
      take(event);
    }
  };
  while (!signal.aborted) {
    const query = `prefix=${encodeURIComponent(prefix)}${after ? `&after=${after}` : ""}`;
    const failure = await stream(`v1/watch?${query}`, signal, tell).catch((error) => error);
    if (!signal.aborted) {
      // A cursor of another cluster is of no use: somebody has begun anew at the same address.
      after = failure?.status === 400 ? null : after;
      say(byId("watch-note"), "the node is away; going on as soon as it answers");
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

function take(event) {
  if (paused) {
    held.push(event);
    held.splice(0, held.length - SHOWN_MAX);
    say(byId("watch-note"), `paused: ${held.length} held back`);
  } else {
    add(event);
  }
}

function add({ name, data }) {
  const change = parseExact(data);
  const at = new Date().toLocaleTimeString("en-GB");
  const key = change.key ?? (change.key_base64 === undefined ? "" : decodeURIComponent(escapeAll(change.key_base64)));
  const value = name === "put" ? formsOf(change)[0].text : "";
  const text = name === "resync" ? `Something was missed (${change.reason}); reload the list of keys.` : value;
  const line = [make("time", {}, at), make("b", { class: `cause ${name}` }, name), make("span", { class: "key" }, key)];
  const list = byId("change-list");
  list.prepend(make("li", { "data-change": key }, ...line, make("span", { class: "value" }, shortened(text))));
  while (list.children.length > SHOWN_MAX) {
    list.lastElementChild.remove();
  }
}

// Percent signs of a key that is no text, doubled, so that they are shown and not read.
const escapeAll = (base64) => keyPath(undefined, base64).replaceAll("%", "%25");

const shortened = (text) => (text.length > VALUE_MAX ? `${text.slice(0, VALUE_MAX)}…` : text);
