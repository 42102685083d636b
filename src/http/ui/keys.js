// The key browser: pages of keys below a prefix, and all values of the one that is chosen.

import { getExact, keyPath, numberOf, toBytes } from "./api.js";
import { byId, bytes, count, make, moment, reconcile, say } from "./dom.js";

const PAGE = 50;
const SHOWN_MAX = 200;

let pages = 0;
let next = null;
let latest = 0;

export function startKeys() {
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    list(null);
  });
  byId("first").onclick = () => list(null);
  byId("next").onclick = () => list(next);
  list(null);
}

// A page from `start` on; from the first key, if there is none.
async function list(start) {
  const turn = ++latest;
  const prefix = byId("prefix").value;
  const from = start ? `&start=${start}` : "";
  say(byId("page-note"), "reading…");
  try {
    const page = await getExact(`v1/kv?siblings=true&limit=${PAGE}&prefix=${encodeURIComponent(prefix)}${from}`);
    if (turn === latest) {
      show(page, start ? pages + 1 : 1);
    }
  } catch (error) {
    say(byId("page-note"), error.status ? error.message : "The node does not answer; try again.");
  }
}

function show(page, number) {
  pages = number;
  next = page.next === null ? null : keyPath(page.next, page.next_base64);
  reconcile(byId("key-list"), page.items, (item) => keyPath(item.key, item.key_base64), makeRow, showRow);
  byId("first").disabled = number === 1;
  byId("next").disabled = next === null;
  const all = number === 1 && next === null;
  const found = page.items.length === 0 ? "no keys" : count(page.items.length, "key", "keys");
  say(byId("page-note"), all ? found : `page ${number}: ${found}`);
}

const nameOf = (item) => item.key ?? `base64 ${item.key_base64}`;

function makeRow(item) {
  const button = make("button", { type: "button", class: "key" }, nameOf(item));
  const cells = [make("th", { scope: "row" }, button), make("td", { class: "value" }), make("td", { class: "number" })];
  return make("tr", { "data-item": nameOf(item) }, ...cells);
}

function showRow(row, item) {
  const [key, value, siblings] = row.children;
  key.firstElementChild.onclick = () => choose(item);
  say(value, cut(formsOf(item).at(0).text, SHOWN_MAX));
  const others = numberOf(item.siblings ?? 0);
  siblings.replaceChildren(others > 0 ? make("strong", { class: "siblings" }, `+${others}`) : "–");
}

const cut = (text, max) => (text.length > max ? `${text.slice(0, max)}…` : text);

// The forms in which a value can be shown, the best first.
export function formsOf(item) {
  if (item.value !== undefined) {
    const text = JSON.stringify(item.value);
    const pretty = JSON.stringify(item.value, null, 2);
    const forms = [{ name: "JSON", text }, { name: "base64", text: base64(new TextEncoder().encode(text)) }];
    return pretty === text ? forms : [forms[0], { name: "JSON, indented", text: pretty }, forms[1]];
  }
  if (item.text !== undefined) {
    const encoded = base64(new TextEncoder().encode(item.text));
    return [{ name: "text", text: item.text }, { name: "base64", text: encoded }];
  }
  const raw = toBytes(item.value_base64 ?? "");
  const hex = [...raw].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return [{ name: "base64", text: item.value_base64 ?? "" }, { name: "hexadecimal", text: hex }];
}

function base64(raw) {
  let text = "";
  raw.forEach((byte) => (text += String.fromCharCode(byte)));
  return btoa(text);
}

async function choose(item) {
  const name = nameOf(item);
  const detail = byId("key-detail");
  const again = make("button", { type: "button" }, "Read again");
  again.onclick = () => choose(item);
  try {
    const values = await getExact(`v1/kv/${keyPath(item.key, item.key_base64)}?siblings=true`);
    const rest = values.length - 1;
    const what = rest === 0 ? "One value." : `${values.length} values, of concurrent writes: reads give the first. A later write replaces them all.`;
    detail.replaceChildren(make("h3", {}, name), make("p", {}, what), ...values.map(shownValue), again);
  } catch (error) {
    const why = error.status === 404 ? "It is not there any more." : (error.message ?? "The node does not answer.");
    detail.replaceChildren(make("h3", {}, name), make("p", {}, why), again);
  }
}

function shownValue(value, index) {
  const forms = formsOf(value);
  const text = make("pre", { tabindex: "0", "aria-label": index === 0 ? "Value" : `Sibling ${index}` }, forms[0].text);
  const title = index === 0 ? "Value" : `Sibling ${index}`;
  const choice = make("select", { "aria-label": `${title} as` }, ...forms.map((form) => make("option", {}, form.name)));
  choice.onchange = () => say(text, forms[choice.selectedIndex].text);
  const size = bytes(new TextEncoder().encode(forms[0].text).length);
  const written = moment(Number(String(value.timestamp).split(".")[0]));
  const expires = value.expires === undefined ? "" : `, expires ${moment(numberOf(value.expires))}`;
  const note = make("p", { class: "quiet" }, `${forms[0].name}, ${size}, written ${written}${expires}; dot ${value.dot}`);
  return make("div", { class: "shown", "data-value": String(index) }, make("h4", {}, title, " ", choice), text, note);
}
