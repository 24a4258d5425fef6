// What small help a page needs: the cursor goes to the errors; "/" goes to the search box; boxes are ticked together;
// the navigation folds away on narrow screens; what takes longer than a moment says so.
"use strict";

(document.getElementById("error-summary") ?? document.querySelector("[data-focus]"))?.focus();

// Commands to copy; where the clipboard is out of reach (plain http), they are selected instead.
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.firstChild.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text);
      button.firstChild.textContent = "Selected";
    }
  });
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const search = document.querySelector('input[type="search"]');
  if (search) {
    event.preventDefault();
    search.focus();
    search.select();
  }
});

// Errors that came while a form is filled in: the control says so as it does when the server renders it.
document.addEventListener("htmx:oobAfterSwap", (event) => {
  const place = event.detail.target;
  const field = place.id?.endsWith("_live") ? place.closest(".field") : null;
  if (!field) return;
  const errors = place.querySelector(".errorlist");
  field.classList.toggle("has-error", Boolean(errors));
  const id = `${place.id.slice(0, -"_live".length)}_error`;
  for (const control of field.querySelectorAll(".control input, .control select, .control textarea")) {
    const about = new Set((control.getAttribute("aria-describedby") ?? "").split(" ").filter(Boolean));
    if (errors) about.add(id);
    else about.delete(id);
    control.setAttribute("aria-describedby", [...about].join(" "));
    if (about.size === 0) control.removeAttribute("aria-describedby");
    if (errors) control.setAttribute("aria-invalid", "true");
    else control.removeAttribute("aria-invalid");
  }
});

// Boxes of a list, which may be swapped for another one at any time.
const boxes = () => [...document.querySelectorAll('input[type="checkbox"][form="bulk"]')];

function countSelected() {
  const all = document.querySelector("[data-select-all]");
  const said = document.querySelector("[data-selected]");
  if (!all || !said) return;
  const number = boxes().filter((box) => box.checked).length;
  all.closest("label").hidden = false;
  all.checked = number > 0 && number === boxes().length;
  all.indeterminate = number > 0 && !all.checked;
  const text = `${number} selected`;
  if (said.textContent !== text) said.textContent = text;
}

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-select-all]")) {
    for (const box of boxes()) box.checked = event.target.checked;
  }
  countSelected();
});
document.addEventListener("htmx:afterSwap", countSelected);
new MutationObserver(countSelected).observe(document.getElementById("main") ?? document.body, { childList: true, subtree: true });
countSelected();

// The navigation: on narrow screens it folds away as a whole; its group opens over the page, and goes when left.
const menu = document.getElementById("menu");
const group = document.getElementById("system");
const narrow = () => menu?.checkVisibility() ?? false;
if (menu) {
  menu.hidden = false;
  const fold = (open) => {
    menu.setAttribute("aria-expanded", String(open));
    if (group) group.open = open;
  };
  menu.addEventListener("click", () => fold(menu.getAttribute("aria-expanded") !== "true"));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || menu.getAttribute("aria-expanded") !== "true") return;
    fold(false);
    menu.focus();
  });
}
if (group) {
  document.addEventListener("click", (event) => {
    if (!narrow() && !group.contains(event.target)) group.open = false;
  });
  group.addEventListener("focusout", (event) => {
    if (!narrow() && event.relatedTarget && !group.contains(event.relatedTarget)) group.open = false;
  });
  group.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !group.open || narrow()) return;
    group.open = false;
    group.querySelector("summary").focus();
  });
}

// Requests of htmx, and pages that were asked for by a form. Polling tells for itself how far it is.
const BUSY_AFTER_MS = 700;
const busy = document.getElementById("busy");
const pending = new Map();
function begin(key) {
  pending.set(key, setTimeout(() => { busy.textContent = "Working …"; }, BUSY_AFTER_MS));
}
function end(key) {
  clearTimeout(pending.get(key));
  pending.delete(key);
  if (pending.size === 0) busy.textContent = "";
}
document.addEventListener("htmx:beforeRequest", (event) => begin(event.detail.xhr));
for (const name of ["htmx:afterRequest", "htmx:sendAbort", "htmx:timeout"]) {
  document.addEventListener(name, (event) => end(event.detail.xhr));
}
addEventListener("submit", (event) => {
  if (!event.defaultPrevented) begin("page");
});
addEventListener("pageshow", () => end("page"));
