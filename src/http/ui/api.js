// Requests to the node that this page came from. What it knows of tokens: they are asked for when one is needed, kept as
// long as the tab, and sent as a header.

import { byId } from "./dom.js";

const TOKEN = "tidings-token";

// What a node refuses a request with.
export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

function headers(more = {}) {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

let asking = null;

// Asks for a token, once for all requests that wait for it.
function askForToken() {
  asking ??= new Promise((resolve) => {
    const [dialog, form, input] = ["token-dialog", "token-form", "token"].map(byId);
    const had = sessionStorage.getItem(TOKEN) !== null;
    byId("token-title").textContent = had ? "That token is not the one of this node" : "This node asks for a token";
    const done = () => {
      form.removeEventListener("submit", take);
      asking = null;
      resolve();
    };
    const take = () => {
      sessionStorage.setItem(TOKEN, input.value.trim());
      input.value = "";
      done();
    };
    form.addEventListener("submit", take);
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    if (!dialog.open) {
      dialog.showModal();
    }
  });
  return asking;
}

async function request(path, options = {}) {
  for (;;) {
    const sent = headers(options.headers);
    const response = await fetch(`../${path}`, { cache: "no-store", ...options, headers: sent });
    if (response.status !== 401) {
      return response;
    }
    // Somebody else may have given another one meanwhile.
    if (headers().Authorization === sent.Authorization) {
      await askForToken();
    }
  }
}

async function refused(response) {
  const told = await response.json().catch(() => ({}));
  return new Refused(response.status, told.error?.code, told.error?.message ?? response.statusText);
}

async function answered(path, options) {
  const response = await request(path, { signal: AbortSignal.timeout(10000), ...options });
  if (!response.ok) {
    throw await refused(response);
  }
  return response;
}

export async function get(path) {
  return (await answered(path)).json();
}

export async function post(path) {
  return (await answered(path, { method: "POST" })).json();
}

// As `get`, and numbers stay as they were written: they are the users', and may have more digits than fit here.
export async function getExact(path) {
  return parseExact(await (await answered(path)).text());
}

export function parseExact(text) {
  return JSON.parse(text, (_, value, context) =>
    typeof value === "number" && context?.source && JSON.rawJSON ? JSON.rawJSON(context.source) : value,
  );
}

// A number of such an answer, as one to count with.
export const numberOf = (exact) => Number(JSON.stringify(exact));

export function toBytes(base64) {
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
}

// A key as a path has it. Keys that are no text come in base64.
export function keyPath(key, base64) {
  if (key !== undefined) {
    return encodeURIComponent(key);
  }
  return [...toBytes(base64)].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");
}

// Server-sent events, read from a plain request, since only that can carry a token. Calls `tell` with each event's name,
// id and data; ends when the node does, or when `signal` says so.
export async function stream(path, signal, tell) {
  const response = await request(path, { signal });
  if (!response.ok) {
    throw await refused(response);
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) {
      return;
    }
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    blocks.forEach((block) => tellBlock(block, tell));
  }
}

function tellBlock(block, tell) {
  const event = { name: "", id: null, data: null };
  for (const line of block.split("\n")) {
    const [field, ...words] = line.split(": ");
    const text = words.join(": ");
    if (field === "event") {
      event.name = text;
    } else if (field === "id") {
      event.id = text;
    } else if (field === "data") {
      event.data = text;
    }
  }
  tell(event);
}
