
// Tables that sort by a heading, and those with tools: filters and a choice of columns.
(() => {
  const missing = (row, i, number) => number && row.cells[i].dataset.sort === undefined && ["", "–"].includes(row.cells[i].textContent);
  const value = (row, i) => {
    const field = row.cells[i];
    return field.dataset.sort === undefined ? field.textContent : Number(field.dataset.sort);
  };
  const sortable = (table) => {
    const heads = [...table.querySelectorAll("thead th")];
    heads.forEach((head, i) => head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const body = table.tBodies[0];
      const number = head.classList.contains("n");
      const rows = [...body.rows].sort((a, b) => {
        // What has no figure goes last, in both directions.
        const [gapA, gapB] = [missing(a, i, number), missing(b, i, number)];
        if (gapA !== gapB) return gapA ? 1 : -1;
        const [x, y] = [value(a, i), value(b, i)];
        const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
        return down ? -order : order;
      });
      body.append(...rows);
    }));
  };
  const title = (head) => (head.querySelector("button") || head).textContent.trim();
  const element = (tag, attributes, ...children) => {
    const made = Object.assign(document.createElement(tag), attributes);
    made.append(...children);
    return made;
  };

  const tools = (box) => {
    const table = box.querySelector("table");
    const heads = [...table.querySelectorAll("thead th")];
    const rows = [...table.tBodies[0].rows];
    const bar = element("div", { className: "tools" });
    const search = element("input", { type: "search", placeholder: "any text" });
    bar.append(element("label", {}, "Filter ", search));
    const quick = [];
    heads.forEach((head, i) => {
      if (!("filter" in head.dataset)) return;
      const words = [...new Set(rows.map((row) => row.cells[i].textContent))];
      if (words.length < 2 || words.length > 24) return;
      const select = element("select", {}, element("option", { value: "", textContent: "all" }), ...words.map((word) => element("option", { value: word, textContent: word || "none" })));
      quick.push([i, select]);
      bar.append(element("label", {}, title(head) + " ", select));
    });
    const count = element("output", {});
    count.setAttribute("aria-live", "polite");
    const apply = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
        const fits = words.every((word) => text.includes(word)) && quick.every(([i, select]) => !select.selectedIndex || row.cells[i].textContent === select.value);
        row.hidden = !fits;
        shown += fits;
      }
      count.textContent = shown === rows.length ? rows.length + " rows" : shown + " of " + rows.length + " rows";
    };
    search.addEventListener("input", apply);
    for (const [, select] of quick) select.addEventListener("change", apply);

    const show = (i, on) => { for (const row of table.rows) row.cells[i].classList.toggle("off", !on); };
    const choices = heads.slice(1).map((head, k) => {
      const on = !head.classList.contains("extra");
      if (!on) show(k + 1, false);
      const choice = element("input", { type: "checkbox", checked: on });
      choice.addEventListener("change", () => show(k + 1, choice.checked));
      return element("label", {}, choice, title(head));
    });
    bar.append(element("details", {}, element("summary", { textContent: "Columns" }), element("div", { className: "choices" }, ...choices)), count);
    box.prepend(bar);
    apply();
  };

  for (const table of document.querySelectorAll("table.sortable")) sortable(table);
  for (const box of document.querySelectorAll("[data-tools]")) tools(box);
})();
