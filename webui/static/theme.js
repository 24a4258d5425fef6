// Light, dark, or what the system says; kept in this browser. Loaded before the page is painted.
"use strict";

(() => {
  const KEY = "halfpipe-theme";
  const ORDER = ["system", "light", "dark"];
  const root = document.documentElement;

  function stored() {
    try {
      const value = localStorage.getItem(KEY);
      return ORDER.includes(value) ? value : "system";
    } catch {
      return "system"; // storage is switched off: the choice lasts for this page
    }
  }

  let theme = stored();
  const show = () => { root.dataset.theme = theme; };
  show();

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (!button) return;
    const label = () => { button.textContent = `Theme: ${theme}`; };
    label();
    button.hidden = false;
    button.addEventListener("click", () => {
      theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length];
      try {
        localStorage.setItem(KEY, theme);
      } catch {
        // as above
      }
      show();
      label();
    });
  });
})();
