// Figures and times as text; the same as webui/templatetags/halfpipe.py.

export const NOTHING = "–";
const PREFIXES = ["", "k", "M", "G", "T"];

// Three significant digits with an SI prefix: 1234567 is "1.23 M".
export function figure(value, unit = "") {
  if (value === null || value === undefined) return NOTHING;
  let number = value;
  let index = 0;
  while (Math.abs(number) >= 999.5 && index < PREFIXES.length - 1) {
    number /= 1000;
    index += 1;
  }
  const size = Math.abs(number);
  const whole = index === 0 && Number.isInteger(number);
  const text = number.toFixed(whole ? 0 : size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
  return `${text} ${PREFIXES[index]}${unit}`.trimEnd();
}

export function count(value) {
  if (value === null || value === undefined) return NOTHING;
  return String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

// Times are the reader's own, in the zone of this browser; beside them stands UTC, in which logs are written.
const { timeZone: zone } = Intl.DateTimeFormat().resolvedOptions();
const clockFormat = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const dateFormat = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });
const utcFormat = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium", timeZone: "UTC" });

export const clock = (date) => clockFormat.format(date);
export const absolute = (date) => dateFormat.format(date);
export const bothZones = (date) => `${absolute(date)} ${zone} = ${utcFormat.format(date)} UTC`;

// How long until something happens, down to the second: operators wait for it.
export function until(seconds) {
  if (seconds <= 0) return "now";
  const left = Math.ceil(seconds);
  const pad = (number) => String(number).padStart(2, "0");
  const clockwise = `${pad(Math.floor(left / 60) % 60)}:${pad(left % 60)}`;
  return left < 120 ? `in ${left} s` : `in ${left < 3600 ? "" : `${Math.floor(left / 3600)}:`}${clockwise}`;
}

export function age(seconds) {
  if (seconds < 1) return "now";
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}
