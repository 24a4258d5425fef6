// The calculator's result while figures are typed; the same as webui/calculator.py.

import { setText } from "./render.js";

const MOST_MBIT = 10_000_000;
const form = document.getElementById("calculator-form");
const result = document.getElementById("calculator-result");

const number = (value) => value.toFixed(1).replace(/\.0$/, "");

function read(name) {
  const text = form.elements[name].value.trim();
  const value = Number(text);
  return text !== "" && value >= 0 && value <= MOST_MBIT ? value : null;
}

function calculate() {
  const [requests, replies, tier] = ["requests", "replies", "tier"].map(read);
  const cells = result.querySelectorAll("dd");
  if ([requests, replies, tier].includes(null) || cells.length !== 3) return;
  const fits = (load) =>
    load <= tier ? `fits in ${number(tier)} Mbit/s` : `exceeds ${number(tier)} Mbit/s, packets queue`;
  const proxy = requests + replies;
  setText(cells[0], `${number(proxy)} Mbit/s: ${fits(proxy)}`);
  setText(cells[1], `${number(requests)} Mbit/s: ${fits(requests)}`);
  setText(cells[2], requests ? `${number(proxy / requests)} times as much` : "any amount");
}

form.addEventListener("input", calculate);
