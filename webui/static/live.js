// Live updates of pages: what the link (link.js) brings goes into the tables.

import { clock } from "./format.js";
import { Link } from "./link.js";
import { fill, reconcile, setText, tick } from "./render.js";

const STALE_AFTER_MS = 10_000;
const MOST_KEYS = 300;
const COUNTED = { vservers: "vservers", services: "services", reasons: "reasons" };

const status = document.getElementById("live");
const title = document.title;
let snapshot = null;
let counters = new Map(); // director → {takenAt, payload}

const link = new Link({ wish, take, say });
const serverNow = () => link.now();

// Screen readers are told when the state changes, and not each time that it is looked at.
function say(state, since, why) {
  const at = new Date(since).toISOString().slice(0, 19);
  const said = state === "stale" ? `stale since ${at} – ${why}` : state === "on" ? "live" : why;
  if (status.dataset.said === said) return;
  status.dataset.said = said;
  status.className = `live live-${state}`;
  document.documentElement.classList.toggle("is-stale", state === "stale");
  if (state !== "stale") {
    status.textContent = said;
    return;
  }
  const time = document.createElement("time");
  time.dateTime = `${at}Z`;
  time.dataset.format = "clock";
  time.textContent = clock(new Date(since));
  status.replaceChildren("stale since ", time, ` – ${why}`);
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
  for (const body of document.querySelectorAll("[data-list]")) wanted.set(body.dataset.list, Number(body.dataset.most) || null);
  for (const body of document.querySelectorAll("[data-patch]")) {
    const keys = wanted.has(body.dataset.patch) ? wanted.get(body.dataset.patch) : new Set();
    if (!(keys instanceof Set)) continue;
    for (const element of body.querySelectorAll("[data-key]")) keys.add(element.dataset.key);
    for (const element of body.querySelectorAll("[data-sum]")) element.dataset.sum.split(" ").forEach((key) => keys.add(key));
    wanted.set(body.dataset.patch, keys);
  }
  wanted.delete("eventtargets"); // no part of the snapshot
  // An address must not grow beyond what servers take; whoever shows so much gets all.
  for (const [name, keys] of wanted) if (keys instanceof Set && keys.size > MOST_KEYS) wanted.set(name, null);
  const text = (keys) => (keys === null ? "*" : keys instanceof Set ? [...keys].sort().join(",") : `~${keys}`);
  const parts = [...wanted].filter(([, keys]) => !(keys instanceof Set) || keys.size > 0);
  return parts.map(([name, keys]) => `${name}=${text(keys)}`).join("&") || "none=1";
}

function show(sources = Object.keys(snapshot ?? {})) {
  if (!snapshot) return;
  for (const source of sources) {
    const rows = snapshot[source];
    if (!Array.isArray(rows) || source === "counters") continue;
    const kind = COUNTED[source];
    showRows(source, kind ? rows.map((row) => ({ ...row, ...rates(kind, row.key) })) : rows);
  }
  for (const element of document.querySelectorAll("[data-total]")) {
    const total = snapshot.totals[element.dataset.total];
    if (total !== undefined) setText(element, String(total));
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
  const known = counters.get(director)?.payload ?? {};
  const next = { ...known };
  for (const [kind, counts] of Object.entries(payload)) {
    next[kind] = { ...known[kind], ...counts };
    for (const [key, count] of Object.entries(counts)) if (count === null) delete next[kind][key];
  }
  counters.set(director, { takenAt: at, payload: next });
  // Counters come every second, so they are a heartbeat as well.
  const row = snapshot?.directors?.find((one) => one.director === director);
  if (row && Date.parse(row.heartbeat_at ?? 0) < at) row.heartbeat_at = takenAt;
}

function take(message, next) {
  const first = snapshot === null;
  snapshot = next;
  if (message.type === "snapshot") counters = new Map();
  for (const director of message.gone ?? []) counters.delete(director);
  message.counters?.forEach(takeCounters);
  if (message.type === "snapshot") show();
  else {
    if (message.rows || message.totals || "problem_count" in message) show(Object.keys(message.rows ?? {}));
    if (message.counters || message.gone) showCounters();
  }
  // Whatever was read anew may be on the page outside the tables too.
  if (!first && (message.type === "snapshot" || message.read_at)) refreshParts();
}

// Parts of a page that the snapshot does not hold are asked for again, unless someone is working in them.
function inUse(part) {
  const changed = (control) => control.value !== control.defaultValue || control.checked !== control.defaultChecked;
  const chosen = (option) => option.selected && !option.defaultSelected && (option.index > 0 || option.closest("select").multiple);
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
    link.wishAnew();
  } catch (error) {
    console.warn("A part of the page could not be read again:", error);
  } finally {
    refreshing = false;
  }
}

if (status) {
  link.start();
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
    link.wishAnew();
  });
}
