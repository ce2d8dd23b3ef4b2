"use strict";
// Before anything is painted, so that a dark page does not flash white.
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const kept = () => { try { return localStorage.getItem("plimsoll-theme"); } catch { return null; } };
  const set = (name) => {
    root.dataset.theme = name;
    document.dispatchEvent(new Event("theme"));
  };
  set({ "#dark": "dark", "#light": "light" }[location.hash] || kept() || (dark.matches ? "dark" : "light"));
  dark.addEventListener("change", () => { if (!kept()) set(dark.matches ? "dark" : "light"); });
  document.addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme").addEventListener("click", () => {
      const next = root.dataset.theme === "dark" ? "light" : "dark";
      try { localStorage.setItem("plimsoll-theme", next); } catch { /* not remembered, then */ }
      set(next);
    });
  });
})();
