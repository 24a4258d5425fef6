// One sampled frame, before and after rewriting. Frames are asked for only while one is waited for.

import { setText } from "./render.js";

const RENEW_MS = 5_000; // a wish lasts 15 s, see webui/actions/flow_watch.py
const PATIENCE_MS = 60_000;
const BYTES_IN_LINE = 16;
const IPV4 = "0800";
const IPV6 = "86dd";

const section = document.getElementById("sample");
const status = document.getElementById("sample-status");
const again = document.getElementById("sample-again");

let socket = null;
let renewal = null;
let begun = 0;

const bytes = (hex) => hex.match(/../g) ?? [];
const mac = (hex) => bytes(hex).join(":");
const ipv4 = (hex) => bytes(hex).map((one) => parseInt(one, 16)).join(".");

// RFC 5952: the longest run of zeros, of two groups at least, becomes "::".
function ipv6(hex) {
  const groups = hex.match(/.{4}/g).map((one) => parseInt(one, 16).toString(16));
  const runs = [...groups.join(":").matchAll(/\b0(?::0)+\b/g)].map((found) => found[0]);
  const longest = runs.reduce((best, run) => (run.length > best.length ? run : best), "");
  const text = groups.join(":");
  if (!longest) return text;
  const at = text.search(new RegExp(`(^|:)${longest}(:|$)`));
  const start = text[at] === ":" ? at + 1 : at;
  return `${text.slice(0, start).replace(/:$/, "")}::${text.slice(start + longest.length).replace(/^:/, "")}`;
}

// Source IP, source MAC, destination IP and destination MAC of an untagged frame.
export function addresses(hex) {
  const macs = [mac(hex.slice(12, 24)), mac(hex.slice(0, 12))];
  const kind = hex.slice(24, 28);
  if (kind === IPV4) return [ipv4(hex.slice(52, 60)), macs[0], ipv4(hex.slice(60, 68)), macs[1]];
  if (kind === IPV6) return [ipv6(hex.slice(44, 76)), macs[0], ipv6(hex.slice(76, 108)), macs[1]];
  return ["–", macs[0], "–", macs[1]];
}

// As dumps are written: offset and bytes; those that differ from the other frame's are marked.
function dump(element, hex, other) {
  element.replaceChildren();
  const theirs = bytes(other);
  for (const [index, byte] of bytes(hex).entries()) {
    if (index % BYTES_IN_LINE === 0) {
      element.append(`${index ? "\n" : ""}${index.toString(16).padStart(4, "0")} `);
    }
    element.append(" ");
    if (byte === theirs[index]) element.append(byte);
    else element.appendChild(document.createElement("mark")).textContent = byte;
  }
}

function tableRow(title, values, others) {
  const labels = [...section.querySelectorAll("th")].map((one) => one.textContent);
  const row = document.createElement("tr");
  for (const [index, text] of [title, ...values].entries()) {
    const cell = row.appendChild(document.createElement("td"));
    cell.dataset.label = labels[index];
    if (index === 0) {
      cell.textContent = text;
      continue;
    }
    const place = text === others[index - 1] ? cell : cell.appendChild(document.createElement("mark"));
    place.appendChild(document.createElement("code")).textContent = text;
  }
  return row;
}

function show(row, director) {
  const [came, left] = [addresses(row.before), addresses(row.after)];
  document.getElementById("sample-rows").replaceChildren(
    tableRow("as it came", came, left), tableRow("as it left", left, came),
  );
  dump(document.getElementById("sample-before"), row.before, row.after);
  dump(document.getElementById("sample-after"), row.after, row.before);
  setText(
    document.getElementById("sample-about"),
    `${row.at.slice(11, 23)} UTC, ${director}: ${row.protocol} ${row.client} → ${row.vip} → ${row.server}, ` +
      `${row.length} bytes${row.flags ? `, ${row.flags}` : ""}.`,
  );
  document.getElementById("sample-frame").hidden = false;
}

function stop(text) {
  clearInterval(renewal);
  renewal = null;
  socket?.close();
  socket = null;
  again.disabled = false;
  setText(again, "Take another frame");
  setText(status, text);
}

async function renew() {
  if (Date.now() - begun > PATIENCE_MS) {
    stop("No client sent anything within a minute, or no director is running.");
    return;
  }
  const body = new FormData();
  body.set("frames", "1");
  body.set("csrfmiddlewaretoken", section.querySelector('input[name="csrfmiddlewaretoken"]').value);
  try {
    const answer = await fetch(section.dataset.watch, { method: "POST", body, redirect: "manual", cache: "no-store" });
    if (answer.type === "opaqueredirect") stop("Logged out: reload to log in.");
    else if (!answer.ok) stop("Refused: reload the page.");
  } catch (error) {
    console.warn("The console did not answer:", error);
  }
}

function receive(event) {
  const message = JSON.parse(event.data);
  const row = message.type === "flows" ? message.rows.find((one) => one.before && one.after) : null;
  if (!row || renewal === null) return;
  show(row, message.director);
  stop("One frame was taken. Nothing is sampled any more.");
}

function start() {
  begun = Date.now();
  again.disabled = true;
  setText(status, "Waiting for a client’s packet …");
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(`${scheme}//${location.host}${section.dataset.socket}`);
  const mine = socket;
  socket.addEventListener("message", receive);
  socket.addEventListener("open", renew);
  socket.addEventListener("close", () => {
    if (socket === mine && renewal !== null) stop("The connection to the console broke off.");
  });
  renewal = setInterval(renew, RENEW_MS);
}

again.addEventListener("click", start);
addEventListener("pagehide", () => socket?.close());
