"use strict";
(() => {
  const form = document.getElementById("compare");
  if (!form) return;
  const of = (name) => form.querySelector('input[name="' + name + '"]:checked')?.value;
  const look = () => {
    const [a, b] = [of("a"), of("b")];
    const fine = Boolean(a && b && a !== b);
    document.getElementById("do-compare").disabled = !fine;
    document.getElementById("chosen").textContent = fine ? b + " against " + a : a && a === b ? "That is one run twice." : "Choose two runs.";
  };
  form.addEventListener("change", look);
  look();
  const filter = document.getElementById("filter");
  filter.addEventListener("input", () => {
    const word = filter.value.toLowerCase();
    for (const row of document.querySelectorAll("#run-rows tr")) row.hidden = !row.textContent.toLowerCase().includes(word);
  });
  // Enter in the filter compares nothing.
  filter.addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
})();
