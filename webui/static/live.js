// Live updates: a websocket with snapshots and counters; see webui/consumers.py.

import { clock } from "./format.js";
import { fill, reconcile, setText, tick } from "./render.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
const SILENCE_MS = 25_000; // a snapshot comes every 10 s; two missed ones mean a dead connection
const STALE_AFTER_MS = 10_000;
const NOT_LOGGED_IN = 4401;
const NOT_ALLOWED = 4403;
const TRY_AGAIN = 1013;
const MOST_KEYS = 300;
const COUNTED = { vservers: "vservers", services: "services", reasons: "reasons" };

const status = document.getElementById("live");
const title = document.title;
let socket = null;
let wait = FIRST_WAIT_MS;
let lastSeq = 0;
let lastMessageAt = Date.now();
let clockOffset = 0; // server's clock minus ours
let snapshot = null;
let counters = new Map(); // director → {takenAt, payload}

const serverNow = () => Date.now() + clockOffset;

function say(state, text) {
  status.className = `live live-${state}`;
  setText(status, text);
}

// Sum over the directors that still report, as World.rates does.
function rates(kind, key) {
  const sum = { packets: null, packets_per_second: null, bits_per_second: null, flows: null, new_flows: null, new_flows_per_second: null };
  if (kind === "vservers") Object.assign(sum, { dropped: null, dropped_per_second: null });
  for (const { takenAt, payload } of counters.values()) {
    if (serverNow() - takenAt > STALE_AFTER_MS) continue;
    for (const [name, value] of Object.entries(payload[kind]?.[key] ?? {})) {
      if (name in sum) sum[name] = (sum[name] ?? 0) + value;
    }
  }
  return sum;
}

// The rates of several rows as those of one.
function sumOf(keys, rows) {
  const wanted = new Set(keys.split(" "));
  const sum = { packets_per_second: null, bits_per_second: null };
  for (const row of rows) {
    if (!wanted.has(row.key)) continue;
    for (const name of Object.keys(sum)) if (row[name] !== null) sum[name] = (sum[name] ?? 0) + row[name];
  }
  return sum;
}

function showRows(source, rows) {
  for (const body of document.querySelectorAll(`[data-list="${source}"]`)) reconcile(body, rows);
  for (const body of document.querySelectorAll(`[data-patch="${source}"]`)) {
    for (const row of rows) {
      for (const element of body.querySelectorAll(`[data-key="${row.key}"]`)) fill(element, row);
    }
    for (const element of body.querySelectorAll("[data-sum]")) fill(element, sumOf(element.dataset.sum, rows));
  }
}

// What of the snapshot this page shows, as webui/narrow.py reads it: all rows of a list, some of a table.
function wish() {
  const wanted = new Map();
  for (const body of document.querySelectorAll("[data-list]")) wanted.set(body.dataset.list, null);
  for (const body of document.querySelectorAll("[data-patch]")) {
    const keys = wanted.has(body.dataset.patch) ? wanted.get(body.dataset.patch) : new Set();
    if (keys === null) continue;
    for (const element of body.querySelectorAll("[data-key]")) keys.add(element.dataset.key);
    for (const element of body.querySelectorAll("[data-sum]")) element.dataset.sum.split(" ").forEach((key) => keys.add(key));
    wanted.set(body.dataset.patch, keys);
  }
  wanted.delete("eventtargets"); // no part of the snapshot
  // An address must not grow beyond what servers take; whoever shows so much gets all.
  for (const [name, keys] of wanted) if (keys?.size > MOST_KEYS) wanted.set(name, null);
  const parts = [...wanted].filter(([, keys]) => keys === null || keys.size > 0);
  return parts.map(([name, keys]) => `${name}=${keys ? [...keys].sort().join(",") : "*"}`).join("&") || "none=1";
}

let wished = "";
function wishAnew() {
  const wanted = wish();
  if (wanted === wished || socket?.readyState !== WebSocket.OPEN) return;
  wished = wanted;
  socket.send(wanted);
}

function show() {
  if (!snapshot) return;
  for (const [source, rows] of Object.entries(snapshot)) {
    if (!Array.isArray(rows) || source === "counters") continue;
    const kind = COUNTED[source];
    showRows(source, kind ? rows.map((row) => ({ ...row, ...rates(kind, row.key) })) : rows);
  }
  showProblems(snapshot.problem_count);
  tick(serverNow());
}

function showCounters() {
  if (!snapshot) return;
  for (const [source, kind] of Object.entries(COUNTED)) {
    showRows(source, (snapshot[source] ?? []).map((row) => ({ key: row.key, ...rates(kind, row.key) })));
  }
}

function showProblems(number) {
  document.title = number ? `(${number}) ${title.replace(/^\(\d+\) /, "")}` : title.replace(/^\(\d+\) /, "");
  const icon = document.querySelector('link[rel="icon"]');
  const wanted = number ? icon.dataset.problem : icon.dataset.well;
  if (icon.getAttribute("href") !== wanted) icon.setAttribute("href", wanted);
  const text = number === 0 ? "No problem" : number === 1 ? "1 problem" : `${number} problems`;
  for (const element of document.querySelectorAll("[data-problem-count]")) {
    setText(element, text);
    element.classList.toggle("has-problems", number > 0);
  }
}

function takeCounters({ director, taken_at: takenAt, payload }) {
  const at = Date.parse(takenAt);
  const known = counters.get(director);
  if (!known || known.takenAt <= at) counters.set(director, { takenAt: at, payload });
  // Counters come every second, so they are a heartbeat as well.
  const row = snapshot?.directors?.find((one) => one.director === director);
  if (row && Date.parse(row.heartbeat_at ?? 0) < at) row.heartbeat_at = takenAt;
}

function receive(event) {
  const message = JSON.parse(event.data);
  if (message.seq <= lastSeq) return;
  lastSeq = message.seq;
  lastMessageAt = Date.now();
  clockOffset = Date.parse(message.now) - lastMessageAt;
  wait = FIRST_WAIT_MS;
  say("on", "live");
  if (message.type === "snapshot") {
    const first = snapshot === null;
    snapshot = message;
    counters = new Map([...counters].filter(([director]) => message.counters.some((one) => one.director === director)));
    message.counters.forEach(takeCounters);
    show();
    if (!first) refreshParts();
  } else if (message.type === "counters") {
    takeCounters(message);
    showCounters();
    if (snapshot?.directors) showRows("directors", snapshot.directors);
    tick(serverNow());
  }
}

// Parts of a page that the snapshot does not hold are asked for again, unless someone is working in them.
function inUse(part) {
  const changed = (control) => control.value !== control.defaultValue || control.checked !== control.defaultChecked;
  const chosen = (option) => option.selected && !option.defaultSelected && option.index > 0;
  return (
    part.contains(document.activeElement) ||
    [...part.querySelectorAll("input:not([type=hidden])")].some(changed) ||
    [...part.querySelectorAll("option")].some(chosen)
  );
}

let refreshing = false;
async function refreshParts() {
  const parts = [...document.querySelectorAll("[data-refresh]")].filter((part) => !inUse(part));
  if (parts.length === 0 || refreshing || document.hidden) return;
  refreshing = true;
  try {
    const answer = await fetch(location.href, { headers: { "X-Requested-With": "live" }, redirect: "error" });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of parts) {
      const fresh = page.getElementById(part.id);
      if (fresh && part.isConnected && !inUse(part) && fresh.innerHTML !== part.dataset.seen) {
        part.dataset.seen = fresh.innerHTML;
        part.replaceChildren(...document.importNode(fresh, true).childNodes);
      }
    }
    show();
    wishAnew();
  } catch (error) {
    console.warn("A part of the page could not be read again:", error);
  } finally {
    refreshing = false;
  }
}

async function loggedOut() {
  try {
    const answer = await fetch(location.href, { redirect: "manual", cache: "no-store" });
    return answer.type === "opaqueredirect";
  } catch {
    return false; // the server is away, which is another matter
  }
}

async function lost(code) {
  socket = null;
  if (code === NOT_LOGGED_IN || (await loggedOut())) {
    say("off", "logged out – reload to log in");
    return;
  }
  if (code === NOT_ALLOWED) {
    say("off", "your role does not allow this any more – reload");
    return;
  }
  const why = code === TRY_AGAIN ? "Redis or the database is away, trying again" : "reconnecting";
  say("stale", `stale since ${clock(new Date(lastMessageAt))} – ${why}`);
  // Jitter keeps the browsers of a whole company from coming back in the same instant.
  setTimeout(connect, wait * (0.5 + Math.random()));
  wait = Math.min(wait * 2, LONGEST_WAIT_MS);
}

function connect() {
  lastSeq = 0; // each connection counts its own messages
  lastMessageAt = snapshot ? lastMessageAt : Date.now();
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const opened = Date.now();
  wished = wish();
  const mine = new WebSocket(`${scheme}//${location.host}/ws/live/?${wished}`);
  socket = mine;
  mine.addEventListener("message", receive);
  mine.addEventListener("close", (event) => {
    clearInterval(watch);
    lost(event.code);
  });
  const watch = setInterval(() => {
    if (Date.now() - Math.max(opened, lastMessageAt) > SILENCE_MS) mine.close();
  }, 1000);
}

if (status) {
  connect();
  setInterval(() => {
    tick(serverNow());
    // Figures of a director that fell silent must not stand there as if they were current.
    if ([...counters.values()].some(({ takenAt }) => serverNow() - takenAt > STALE_AFTER_MS)) showCounters();
  }, 1000);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) refreshParts();
  });
  document.addEventListener("htmx:afterSwap", () => {
    show();
    wishAnew();
  });
  addEventListener("pagehide", () => socket?.close());
}
