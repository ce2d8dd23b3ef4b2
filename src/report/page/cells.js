
// The page of one cell, at #cell-12: made from the embedded data when it is opened.
(() => {
  const source = document.getElementById("cell-pages");
  if (!source) return;
  const [overview, section] = [document.getElementById("overview"), document.getElementById("cell")];
  const plainTitle = document.title;
  let data = null;
  let scrolled = 0;

  const h = (tag, attributes, ...children) => {
    const made = document.createElement(tag);
    for (const [name, text] of Object.entries(attributes || {})) made.setAttribute(name, text);
    made.append(...children.flat().filter((child) => child !== null && child !== ""));
    return made;
  };
  const link = (n, text, rel) => h("a", { href: "#cell-" + n, ...(rel ? { rel } : {}) }, text);
  const table = (caption, head, rows) => h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", {}, caption),
      h("thead", {}, h("tr", {}, head.map(([text, number]) => h("th", { scope: "col", class: number ? "n" : "" }, text)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((field, i) => {
        const [text, kind] = Array.isArray(field) ? field : [field, ""];
        const kinds = [head[i][1] ? "n" : "", kind].join(" ").trim();
        return h(i ? "td" : "th", i ? { class: kinds } : { scope: "row", class: kinds }, text);
      }))))));
  const heading = (text) => h("h3", {}, text);
  const define = (metric, text) => h("a", { href: "#m-" + metric }, text);

  const facts = (cell) => {
    const rows = data.factors.map((name, i) => [name, cell.factors[i]]).filter(([, text]) => text);
    rows.push(["repeat", String(cell.repeat)], ["valid", cell.valid], ["SLO", cell.slo], ["started", cell.started], ["window", cell.window], ["seed", cell.seed], ["id", cell.id]);
    return h("dl", {}, rows.filter(([, text]) => text).flatMap(([name, text]) => [h("dt", {}, name), h("dd", {}, text)]));
  };
  const lines = (cell) => {
    const out = [];
    if (cell.verdicts.length) out.push(heading("Verdicts"), h("ul", { class: "remarks" }, cell.verdicts.map(([kind, word, text]) => h("li", {}, h("span", { class: "word " + kind }, word), " " + text))));
    if (cell.reasons.length) out.push(heading("Not to be taken at face value"), h("ul", {}, cell.reasons.map(([kind, text]) => h("li", { class: kind }, text))));
    if (cell.errors.length) out.push(heading("Failures"), table("Failures by class", [["Class"], ["Requests", 1], ["The first in its own words"]], cell.errors));
    return out;
  };
  const figures = (cell) => {
    const over = data.over[cell.over];
    const several = over.cells.length > 1;
    const head = [["Figure"], ["Unit"], ["This repeat", 1]];
    if (several) head.push(["Mean over repeats", 1], ["95 % interval", 1], ["Repeats", 1]);
    const rows = data.key.map(([name, unit, metric], i) => {
      const row = [[define(metric, name)], unit, cell.key[i] || "–"];
      if (several) row.push(over.rows[i][0] || "–", over.rows[i][1] || "–", String(over.rows[i][2]));
      return row;
    });
    const others = over.cells.filter((n) => n !== cell.n);
    return [heading("Figures"), table("Key figures", head, rows), others.length ? h("p", { class: "hint" }, "Other repeats: ", others.flatMap((n, i) => [i ? ", " : "", link(n, "cell " + n)]), ". Invalid repeats are left out of the mean.") : ""];
  };
  const rest = (cell) => {
    const out = [];
    if (cell.dists.length) {
      out.push(heading("Distributions"), table("Distributions", [["Metric"], ["Unit"], ...data.stats.map((stat) => [stat, 1])],
        cell.dists.map(([i, values]) => [[define(data.metrics[i][0], data.metrics[i][0])], data.metrics[i][1], ...values])));
    }
    const columns = h("div", { class: "columns" });
    if (cell.scalars.length) columns.append(table("Rates and shares", [["Metric"], ["Unit"], ["Value", 1]], cell.scalars.map(([i, text]) => [[define(data.metrics[i][0], data.metrics[i][0])], data.metrics[i][1], text])));
    if (cell.counts.length) columns.append(table("Requests of the window", [["What"], ["Number", 1]], data.counts.map((name, i) => [name, cell.counts[i]])));
    if (columns.firstChild) out.push(heading("Rates and counts"), columns);
    if (cell.signals.length) {
      out.push(heading("Validity"), h("p", { class: "hint" }, "What was measured of this client and its machine. ", h("a", { href: "#validity" }, "What follows from it"), "."));
      out.push(table("Signals of validity", [["Signal"], ["Measured", 1], ["Remark"], ["Invalid"], ["What it is"]],
        cell.signals.map(([i, text, kind]) => [data.signals[i][0], [text, kind], data.signals[i][1] || "–", data.signals[i][2] || "–", [data.signals[i][3], "wide"]])));
    }
    return out;
  };
  const inside = (cell) => {
    const side = cell.server;
    if (!side) return [];
    const out = [heading("The server's own figures"), h("p", { class: "hint" }, side.from)];
    if (side.figures.length) out.push(table("Over the window", [["Figure"], ["Unit"], ["Mean", 1], ["Greatest", 1], ["Looks", 1], ["What it is"]],
      side.figures.map(([i, mean, max, n]) => [data.server[i][0], data.server[i][1], mean, max, n, [data.server[i][2], "wide"]])));
    if (side.counts.length) out.push(table("Counts of the whole cell", [["What"], ["By this client", 1], ["May be more by", 1], ["By the server", 1]],
      side.counts.map(([what, client, unsure, server, kind]) => [what, client, unsure, [server, kind]])));
    if (side.notes.length) out.push(h("ul", {}, side.notes.map((text) => h("li", { class: "so-so" }, text))));
    return out;
  };
  const turn = (at) => {
    const [before, after] = [data.cells[at - 1], data.cells[at + 1]];
    return h("nav", { class: "turn", "aria-label": "Cells" }, h("a", { href: "#cells" }, "← All cells"),
      before ? link(before.n, "Previous: cell " + before.n, "prev") : "", after ? link(after.n, "Next: cell " + after.n, "next") : "");
  };

  const open = (n) => {
    data = data || JSON.parse(source.textContent);
    const at = data.cells.findIndex((cell) => cell.n === n);
    if (at < 0) return close();
    const cell = data.cells[at];
    if (!overview.hidden) scrolled = window.scrollY;
    overview.hidden = true;
    section.hidden = false;
    const title = "Cell " + n + ": " + cell.label + (cell.repeat > 1 ? ", repeat " + cell.repeat : "");
    const strip = h("div", {});
    const head = h("h2", { tabindex: "-1" }, title);
    section.replaceChildren(turn(at), head, facts(cell), ...lines(cell), ...figures(cell), heading("Over time"), strip, ...inside(cell), ...rest(cell), turn(at));
    if (!window.plimsoll.showStrip(strip, n)) strip.append(h("p", { class: "none" }, "No time line was kept of it."));
    document.title = title + " · " + plainTitle;
    window.scrollTo({ top: 0, behavior: "instant" });
    head.focus({ preventScroll: true });
  };
  const close = () => {
    if (!overview.hidden) return;
    for (const plot of section.querySelectorAll(".plot")) window.Plotly.purge(plot);
    section.replaceChildren();
    section.hidden = true;
    overview.hidden = false;
    document.title = plainTitle;
    // What the address names was hidden when the browser looked for it.
    const id = location.hash.slice(1);
    const target = id && document.getElementById(id);
    if (target && id !== "cells") target.scrollIntoView();
    else window.scrollTo({ top: scrolled, behavior: "instant" });
  };
  const route = () => {
    const cell = /^#cell-(\d+)$/.exec(location.hash);
    if (cell) open(Number(cell[1]));
    else close();
  };
  window.addEventListener("hashchange", route);
  route();
})();
