// The command line: runs lines without leaving the page, remembers them, and completes them by Tab.

const MOST_TURNS = 200;
const MOST_REMEMBERED = 500;

const panel = document.getElementById("cli");
const form = document.getElementById("cli-form");
const input = document.getElementById("cli-line");
const log = document.getElementById("cli-log");
const found = document.getElementById("cli-found");
const token = form.querySelector("[name=csrfmiddlewaretoken]").value;

const lines = []; // none with a secret
let at = 0; // in lines; its length: the line that is being typed
let typed = "";
let leaving = false; // Escape was pressed: the next Tab is the browser's
let asked = 0;

async function post(address, line) {
  const answer = await fetch(address, {
    method: "POST",
    headers: { Accept: "application/json", "X-CSRFToken": token },
    body: new URLSearchParams({ line }),
    redirect: "manual",
  });
  if (answer.type === "opaqueredirect" || answer.status === 403) throw new Error("You are no longer logged in. Load the page again.");
  if (!answer.ok) throw new Error(`The console answered with status ${answer.status}.`);
  return answer.json();
}

function show(line, text, ok) {
  const turn = document.createElement("div");
  turn.className = "cli-turn";
  const said = turn.appendChild(document.createElement("p"));
  said.className = "cli-line";
  said.textContent = line;
  const told = turn.appendChild(document.createElement("pre"));
  told.textContent = text;
  if (!ok) told.className = "cli-error";
  log.append(turn);
  while (log.children.length > MOST_TURNS) log.firstElementChild.remove();
  log.scrollTop = log.scrollHeight;
}

function remember(line) {
  if (lines.at(-1) !== line) lines.push(line);
  if (lines.length > MOST_REMEMBERED) lines.shift();
}

async function run() {
  const line = input.value;
  if (!line.trim()) return;
  found.textContent = "";
  input.readOnly = true;
  try {
    const answer = await post(form.action || location.href, line);
    input.value = "";
    if (!answer.secret) remember(line);
    show(answer.line, answer.lines.join("\n"), answer.ok);
    if (answer.closes) found.textContent = "The session is over; the page stays, and so do you.";
  } catch (error) {
    found.textContent = error instanceof TypeError ? "The console does not answer. The line is still here." : error.message;
  } finally {
    at = lines.length;
    input.readOnly = false;
    input.focus();
  }
}

function recall(step) {
  const next = at + step;
  if (next < 0 || next > lines.length) return;
  if (at === lines.length) typed = input.value;
  at = next;
  input.value = at === lines.length ? typed : lines[at];
  input.setSelectionRange(input.value.length, input.value.length);
}

function common(texts) {
  let prefix = texts[0];
  for (const text of texts) {
    while (!text.toLowerCase().startsWith(prefix.toLowerCase())) prefix = prefix.slice(0, -1);
  }
  return prefix;
}

async function complete() {
  const end = input.selectionStart;
  const before = input.value.slice(0, end);
  const mine = ++asked;
  try {
    const answer = await post(panel.dataset.complete, before);
    if (mine !== asked || input.value.slice(0, end) !== before) return; // typed on meanwhile
    insert(answer.found, before, end);
  } catch (error) {
    found.textContent = error instanceof TypeError ? "The console does not answer." : error.message;
  }
}

function insert(offers, before, end) {
  if (offers.length === 0) {
    found.textContent = "Nothing to complete.";
    return;
  }
  const text = offers.length === 1 ? `${offers[0].text} ` : common(offers.map((one) => one.text));
  if (offers.length === 1 || text.length > offers[0].length) {
    const kept = before.slice(0, before.length - offers[0].length);
    input.value = kept + text + input.value.slice(end);
    input.setSelectionRange(kept.length + text.length, kept.length + text.length);
  }
  found.textContent = offers.length === 1 ? offers[0].about : offers.map((one) => one.text).join("  ");
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!input.readOnly) run();
});

input.addEventListener("keydown", (event) => {
  const alone = !event.ctrlKey && !event.altKey && !event.metaKey && !event.shiftKey;
  if (event.key === "Tab" && alone && !leaving && input.value.trim()) {
    event.preventDefault();
    complete();
    return;
  }
  if (event.key === "ArrowUp" || event.key === "ArrowDown") {
    event.preventDefault();
    recall(event.key === "ArrowUp" ? -1 : 1);
  }
  leaving = event.key === "Escape";
});

input.addEventListener("blur", () => {
  leaving = false;
});
log.scrollTop = log.scrollHeight;
