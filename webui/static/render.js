// Rows into cells: the browser's side of templatetags/halfpipe.py and partials/table.html.

import { absolute, age, bothZones, clock, count, figure, NOTHING, until } from "./format.js";

const STALE_AFTER_MS = 10_000; // as STALE_AFTER_SECONDS of webui/payloads.py

const TEXT = {
  rate: (value) => figure(value),
  bits: (value) => figure(value, "bit"),
  count,
};

// Change the page only where it differs: screen readers and selections are left alone.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setState(element, value) {
  const name = `state state-${(value || "none").toLowerCase().replaceAll(" ", "-")}`;
  if (element.className !== name) element.className = name;
  setText(element, value || NOTHING);
}

function setTime(element, iso) {
  if (iso) element.setAttribute("datetime", iso);
  else element.removeAttribute("datetime");
}

// As path() of metrics/spark.py and sparkline() of templatetags/halfpipe.py.
function setSpark(element, value) {
  const [line, ...most] = value.split(" ");
  let drawn = "";
  let last = null;
  [...line].forEach((digit, index) => {
    const height = digit === "-" ? null : parseInt(digit, 16);
    if (height !== null && last !== null) drawn += `l3 ${last - height}`;
    else if (height !== null) drawn += `M${index * 3 + 1} ${15 - height}${/^[0-9a-f]/.test(line.slice(index + 1)) ? "" : "h1"}`;
    last = height;
  });
  const path = element.querySelector("path");
  if (path.getAttribute("d") !== drawn) path.setAttribute("d", drawn);
  const words = line ? `packets/s in the last hour: at most ${most.join(" ")}` : "the last hour is not known";
  if (element.getAttribute("aria-label") !== words) element.setAttribute("aria-label", words);
}

function fillField(element, value) {
  const format = element.dataset.format || "text";
  if (format === "state") setState(element, value);
  else if (["time", "age", "until"].includes(format)) setTime(element, value);
  else if (format === "spark") setSpark(element, value || "");
  else if (TEXT[format]) setText(element, TEXT[format](value));
  else setText(element, value === null || value === undefined || value === "" ? NOTHING : String(value));
}

export function fill(element, row) {
  for (const cell of element.querySelectorAll("[data-field]")) {
    if (cell.dataset.field in row) fillField(cell, row[cell.dataset.field]);
  }
  for (const note of element.querySelectorAll("[data-note]")) {
    if (note.dataset.note in row) setText(note, row[note.dataset.note] || "");
  }
  for (const link of element.querySelectorAll("a[data-link]")) {
    const url = row[link.dataset.link];
    if (url && link.getAttribute("href") !== url) link.setAttribute("href", url);
    if (url === "") link.removeAttribute("href");
  }
}

// Rows of a list come, go and move with the snapshot; rows that stay keep their elements, and so the focus.
export function reconcile(body, rows) {
  const template = document.getElementById(body.dataset.template);
  const present = new Map([...body.children].map((element) => [element.dataset.key, element]));
  let place = body.firstElementChild;
  for (const row of rows) {
    let element = present.get(row.key);
    present.delete(row.key);
    if (!element) element = template.content.firstElementChild.cloneNode(true);
    element.dataset.key = row.key;
    fill(element, row);
    if (element === place) place = place.nextElementSibling;
    else body.insertBefore(element, place);
  }
  for (const element of present.values()) element.remove();
  const shell = body.closest("[data-shell]");
  shell?.classList.toggle("is-empty", rows.length === 0);
}

// Ages grow without messages; `now` is the server's clock.
export function tick(now) {
  for (const element of document.querySelectorAll("time[datetime]")) {
    const at = new Date(element.getAttribute("datetime"));
    const full = bothZones(at);
    if (element.title !== full) element.title = full;
    if (element.dataset.format === "clock") continue; // says itself when
    if (element.dataset.format === "moment") {
      setText(element, absolute(at));
      continue;
    }
    const passed = now - at;
    if (element.dataset.format === "until") {
      setText(element, until(-passed / 1000));
    } else if (element.dataset.format === "age" && passed > STALE_AFTER_MS) {
      setText(element, `stale since ${clock(at)}`);
      element.classList.add("stale");
    } else {
      setText(element, age(Math.max(0, passed / 1000)));
      element.classList.remove("stale");
    }
  }
  for (const element of document.querySelectorAll("time:not([datetime])")) {
    setText(element, element.dataset.format === "until" ? NOTHING : "never");
  }
}
