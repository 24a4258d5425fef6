// The websocket behind live pages: numbered messages in order, a new snapshot when one is missing, and how old it is.
// See webui/hub.py and webui/deltas.py.

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
const USUAL_REFRESH_MS = 10_000; // until the server says how often it reads the rows
const GRACE_MS = 3_000; // that a message may be late
const NOT_LOGGED_IN = 4401;
const NOT_ALLOWED = 4403;
const TRY_AGAIN = 1013;
const AGAIN = "again";

// A message as it is, or unpacked from gzip (what is large is packed once for all browsers).
async function opened(data) {
  if (typeof data === "string") return JSON.parse(data);
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

// What follows from a snapshot and a delta of it. Rows that stay the same stay the same objects.
export function merged(snapshot, delta) {
  const next = { ...snapshot, seq: delta.seq };
  for (const name of ["read_at", "problem_count", "totals"]) if (name in delta) next[name] = delta[name];
  for (const [source, { changed, order }] of Object.entries(delta.rows ?? {})) {
    const rows = new Map((snapshot[source] ?? []).map((row) => [row.key, row]));
    for (const row of changed) rows.set(row.key, row);
    next[source] = order ? order.map((key) => rows.get(key)) : [...rows.values()];
  }
  return next;
}

// One websocket that comes back. `wish()` says which rows are wanted; `take(message, snapshot)` gets each snapshot and
// each delta with the snapshot that follows from it; `say(state, since, why)` whether the page is live.
export class Link {
  constructor({ wish, take, say }) {
    Object.assign(this, { wish, take, say });
    this.socket = null;
    this.snapshot = null;
    this.view = "";
    this.wait = FIRST_WAIT_MS;
    this.heardAt = Date.now(); // the last message
    this.readAt = Date.now(); // when the rows were read, by our clock
    this.refresh = USUAL_REFRESH_MS;
    this.offset = 0; // server's clock minus ours
    this.why = "";
    this.asking = false;
    this.last = Promise.resolve();
  }

  start() {
    this.connect();
    setInterval(() => this.look(), 1000);
    addEventListener("pagehide", () => this.socket?.close());
    addEventListener("online", () => {
      if (this.socket === null && !this.ended) this.connect();
    });
  }

  now() {
    return Date.now() + this.offset;
  }

  connect() {
    clearTimeout(this.timer);
    this.wished = this.wish();
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const plain = "DecompressionStream" in window ? "" : "&plain=1";
    const socket = new WebSocket(`${scheme}//${location.host}/ws/live/?${this.wished}${plain}`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.view = ""; // nothing but a snapshot is taken first
    this.asking = true;
    this.openedAt = Date.now();
    socket.addEventListener("message", (event) => {
      // Unpacking takes a moment; what comes meanwhile waits for its turn.
      this.last = this.last.then(async () => this.receive(socket, await opened(event.data))).catch((error) => {
        console.warn("A live message could not be read:", error);
        this.again();
      });
    });
    socket.addEventListener("close", (event) => {
      if (socket === this.socket) this.lost(event.code);
    });
  }

  receive(socket, message) {
    if (socket !== this.socket) return;
    this.heardAt = Date.now();
    this.offset = Date.parse(message.now) - this.heardAt;
    if (message.type === "snapshot") {
      this.view = message.view;
      this.refresh = message.refresh * 1000;
      this.wait = FIRST_WAIT_MS;
      this.asking = false;
      this.snapshot = message;
    } else {
      if (this.asking) return; // what is missing comes with the snapshot
      if (message.view !== this.view || message.seq !== this.snapshot.seq + 1) {
        this.again();
        return;
      }
      this.snapshot = merged(this.snapshot, message);
    }
    if (message.type === "stale") {
      this.why = message.why;
      this.readAt = Date.parse(message.since) - this.offset;
    } else {
      if (message.read_at) {
        this.readAt = Date.parse(message.read_at) - this.offset;
        this.why = "";
      }
      this.take(message, this.snapshot);
    }
    this.look();
  }

  // Something is missing: ask for everything, once.
  again() {
    if (this.asking || this.socket?.readyState !== WebSocket.OPEN) return;
    this.asking = true;
    this.socket.send(AGAIN);
  }

  // The page shows other rows than before.
  wishAnew() {
    const wanted = this.wish();
    if (wanted === this.wished || this.socket?.readyState !== WebSocket.OPEN) return;
    this.wished = wanted;
    this.socket.send("DecompressionStream" in window ? wanted : `${wanted}&plain=1`);
  }

  // Say how old what is shown is; close a connection that has died without a word.
  look() {
    if (this.ended) return;
    const now = Date.now();
    const late = this.refresh + GRACE_MS;
    const since = Math.min(this.heardAt, this.readAt);
    if (this.socket === null) this.say("stale", since, this.why || "reconnecting");
    else if (this.why) this.say("stale", this.readAt, this.why);
    else if (now - this.heardAt > late) this.say("stale", since, "the server is silent");
    else if (this.snapshot && !this.asking && now - this.readAt > 2 * late) this.say("stale", since, "rows are not read");
    else if (this.snapshot && this.view) this.say("on", since, "");
    const quiet = now - Math.max(this.openedAt, this.heardAt);
    if (this.socket !== null && quiet > 2 * late) {
      this.socket.close();
      this.lost(0); // a close without an answer may take minutes
    }
  }

  lost(code) {
    this.socket = null;
    const ends = { [NOT_LOGGED_IN]: "logged out – reload to log in", [NOT_ALLOWED]: "your role does not allow this any more – reload" };
    if (code in ends) {
      this.ended = true;
      this.say("off", 0, ends[code]);
      return;
    }
    this.why = code === TRY_AGAIN ? "Redis or the database is away, trying again" : "";
    this.look();
    clearTimeout(this.timer);
    // Jitter keeps the browsers of a whole company from coming back in the same instant.
    this.timer = setTimeout(() => this.connect(), this.wait * (0.5 + Math.random()));
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
  }
}
