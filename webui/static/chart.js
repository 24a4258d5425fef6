// Reading a chart: the pointer, or the arrow keys, choose a slot, and its figure is told beside the chart's name.
// The numbers of the box are those of metrics/chart.py.

import { absolute, figure } from "./format.js";

const LEFT = 52;
const WIDTH = 302;
const SVG_WIDTH = 360;

const chartOf = (target) => (target instanceof Element ? target.closest("svg[data-chart]") : null);
const valuesOf = (svg) => svg.dataset.values.split(",").map((text) => (text === "" ? null : Number(text)));

function show(svg, index) {
  const values = valuesOf(svg);
  const told = svg.closest("figure").querySelector(".chart-now");
  const cursor = svg.querySelector(".chart-cursor");
  if (told.dataset.words === undefined) told.dataset.words = told.textContent;
  const x = LEFT + (WIDTH * (index + 0.5)) / values.length;
  cursor.setAttribute("x1", x);
  cursor.setAttribute("x2", x);
  cursor.setAttribute("visibility", "visible");
  svg.dataset.index = index;
  const at = new Date((Number(svg.dataset.begin) + index * Number(svg.dataset.slot)) * 1000);
  const value = values[index];
  told.textContent = `${absolute(at)}: ${value === null ? "nothing was counted" : figure(value, svg.dataset.unit)}`;
}

function leave(svg) {
  const told = svg.closest("figure")?.querySelector(".chart-now");
  if (told?.dataset.words !== undefined) told.textContent = told.dataset.words;
  svg.querySelector(".chart-cursor").setAttribute("visibility", "hidden");
  delete svg.dataset.index;
}

document.addEventListener("pointermove", (event) => {
  const svg = chartOf(event.target);
  if (!svg) return;
  const box = svg.getBoundingClientRect();
  const slots = valuesOf(svg).length;
  const x = ((event.clientX - box.left) / box.width) * SVG_WIDTH;
  show(svg, Math.min(slots - 1, Math.max(0, Math.floor(((x - LEFT) / WIDTH) * slots))));
});
document.addEventListener("pointerout", (event) => {
  const svg = chartOf(event.target);
  if (svg && !svg.contains(event.relatedTarget)) leave(svg);
});
document.addEventListener("focusout", (event) => {
  const svg = chartOf(event.target);
  if (svg) leave(svg);
});
document.addEventListener("keydown", (event) => {
  const svg = chartOf(event.target);
  if (!svg || event.ctrlKey || event.metaKey || event.altKey) return;
  const values = valuesOf(svg);
  const last = values.length - 1;
  // From nowhere the keys go to the newest figure.
  const newest = values.findLastIndex((value) => value !== null);
  const now = "index" in svg.dataset ? Number(svg.dataset.index) : newest + (event.key === "ArrowLeft" ? 1 : 0);
  const to = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last, PageUp: now - 20, PageDown: now + 20 }[event.key];
  if (to !== undefined) {
    event.preventDefault();
    show(svg, Math.min(last, Math.max(0, to)));
  } else if (event.key === "Escape") {
    leave(svg);
  }
});
