// The live view of flows: says every few seconds that somebody looks, and shows what directors tell.

import { setText } from "./render.js";

const RENEW_MS = 5_000; // a wish lasts 15 s, see webui/actions/flow_watch.py
const MOST_ROWS = 300;
const SILENCE_MS = 6_000;
const UNATTENDED_MS = 15 * 60_000; // a page that nobody touches for so long pauses itself
const LONGEST_WAIT_MS = 15_000;

const page = document.getElementById("flows");
const body = document.getElementById("flow-rows");
const status = document.getElementById("flow-status");
const pause = document.getElementById("flow-pause");
const filter = document.getElementById("flow-filter");
const headings = [...page.querySelectorAll("th")];
const kinds = [...page.querySelectorAll("[data-kind]")];

let paused = false;
let refused = "";
let socket = null;
let wait = 500;
let touchedAt = Date.now();
let withheld = 0;
let shown = 0;
const directors = new Map(); // name → when it was heard last

function say() {
  const now = Date.now();
  const names = [...directors].filter(([, at]) => now - at < SILENCE_MS).map(([name]) => name);
  const left = withheld ? ` ${withheld} more came too fast to be shown.` : "";
  if (refused) setText(status, refused);
  else if (paused) setText(status, `Paused: nothing is sampled. ${shown} rows.${left}`);
  else if (names.length === 0) setText(status, "Waiting for a director …");
  else setText(status, `Listening to ${names.join(", ")}. ${shown} rows.${left}`);
}

function isWanted(element) {
  const kind = kinds.find((one) => one.dataset.kind === element.dataset.kind);
  const text = filter.value.trim().toLowerCase();
  return (kind?.checked ?? true) && (!text || element.textContent.toLowerCase().includes(text));
}

function makeRow(row, director) {
  const element = document.createElement("tr");
  element.dataset.kind = row.kind;
  const cells = [
    row.at.slice(11, 23), row.kind, row.protocol, row.client, row.vip, row.reason || row.server,
    row.flags, String(row.length), director,
  ];
  for (const [index, text] of cells.entries()) {
    const cell = element.appendChild(document.createElement("td"));
    cell.textContent = text;
    cell.dataset.label = headings[index].textContent;
    cell.className = headings[index].className;
  }
  if (row.kind === "drop") element.classList.add("flow-drop");
  element.hidden = !isWanted(element);
  return element;
}

function receive(event) {
  const message = JSON.parse(event.data);
  if (message.type !== "flows" || paused) return;
  wait = 500;
  directors.set(message.director, Date.now());
  withheld += message.withheld;
  for (const row of message.rows) body.prepend(makeRow(row, message.director));
  while (body.children.length > MOST_ROWS) body.lastElementChild.remove();
  count();
}

function count() {
  shown = [...body.children].filter((element) => !element.hidden).length;
  say();
}

function refilter() {
  for (const element of body.children) element.hidden = !isWanted(element);
  count();
}

async function renew() {
  if (paused || refused || document.hidden) return;
  const token = page.querySelector('input[name="csrfmiddlewaretoken"]').value;
  try {
    const answer = await fetch(page.dataset.watch, {
      method: "POST", headers: { "X-CSRFToken": token }, redirect: "manual", cache: "no-store",
    });
    if (answer.type === "opaqueredirect") refused = "Logged out: reload to log in.";
    else if (answer.status === 403 || answer.status === 404) {
      const kind = answer.headers.get("Content-Type") ?? "";
      refused = kind.includes("json") ? (await answer.json()).error : "Refused: reload the page.";
    }
  } catch (error) {
    console.warn("The console did not answer:", error);
  }
  say();
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(`${scheme}//${location.host}${page.dataset.socket}`);
  socket.addEventListener("message", receive);
  socket.addEventListener("close", () => {
    socket = null;
    if (refused) return;
    setTimeout(connect, wait * (0.5 + Math.random()));
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  });
}

function setPaused(value) {
  paused = value;
  pause.setAttribute("aria-pressed", String(paused));
  setText(pause, paused ? "Continue" : "Pause");
  if (!paused) renew();
  say();
}

pause.addEventListener("click", () => setPaused(!paused));
document.getElementById("flow-clear").addEventListener("click", () => {
  body.replaceChildren();
  withheld = 0;
  count();
});
filter.addEventListener("input", refilter);
for (const one of kinds) one.addEventListener("change", refilter);
for (const name of ["pointerdown", "keydown", "pointermove"]) {
  document.addEventListener(name, () => { touchedAt = Date.now(); }, { passive: true });
}
document.addEventListener("visibilitychange", renew);
addEventListener("pagehide", () => socket?.close());
setInterval(renew, RENEW_MS);
setInterval(() => {
  if (!paused && Date.now() - touchedAt > UNATTENDED_MS) setPaused(true);
  say();
}, 1000);
connect();
renew();
