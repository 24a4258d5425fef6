// Sliders beside the numbers, which are what is sent, and the share that each weight makes. What moves is asked of the
// server (see weights.html).

const rows = [...document.querySelectorAll("[data-weight]")].map((row) => ({
  takes: "takes" in row.dataset,
  slider: row.querySelector('input[type="range"]'),
  number: row.querySelector('input[type="number"]'),
  bar: row.querySelector("[data-bar]"),
  share: row.querySelector("[data-share]"),
}));

const weight = ({ number }) => Math.min(Math.max(Math.trunc(number.valueAsNumber) || 1, 1), 100);

function show() {
  const total = rows.filter((row) => row.takes).reduce((sum, row) => sum + weight(row), 0);
  for (const row of rows) {
    if (!row.takes) continue;
    const percent = (100 * weight(row)) / total;
    row.share.textContent = `${percent.toFixed(1)} %`;
    row.bar.setAttribute("width", percent.toFixed(1));
  }
}

for (const row of rows) {
  row.slider.hidden = false;
  row.slider.value = weight(row);
  row.slider.addEventListener("input", () => {
    row.number.value = row.slider.value;
    show();
  });
  row.number.addEventListener("input", () => {
    row.slider.value = weight(row);
    show();
  });
}
show();
