"use strict";
// Lines over time and over the load. Only those that are seen are drawn, at most once a second: the
// browser may stand on the machine that makes the load.
const figures = (() => {
  const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
  const SYMBOLS = ["circle", "square", "triangle-up", "diamond", "triangle-down"];
  const STROKES = { solid: "", dash: "7 4", dot: "2 3", dashdot: "7 3 2 3", longdash: "11 4", longdashdot: "11 3 2 3" };
  const LEAST_MS = 1000;
  const colours = () => {
    const style = getComputedStyle(document.documentElement);
    return Object.fromEntries(["ground", "panel", "ink", "muted", "line", "grid", "c0", "c1", "c2", "c3", "c4", "c5"].map((n) => [n, style.getPropertyValue("--" + n).trim()]));
  };
  const markup = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

  const make = (box, id, title, unit, x) => {
    const figure = document.createElement("figure");
    figure.className = "live";
    figure.id = "figure-" + id;
    const head = document.createElement("h3");
    head.id = "title-" + id;
    const said = document.createElement("span");
    said.textContent = title;
    const of = document.createElement("span");
    of.className = "unit";
    of.textContent = unit;
    head.append(said, " ", of);
    const legend = document.createElement("p");
    legend.className = "key";
    const plot = document.createElement("div");
    plot.className = "live-plot";
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-labelledby", head.id);
    const none = document.createElement("p");
    none.className = "nothing";
    none.textContent = "nothing yet";
    plot.append(none);
    figure.append(head, legend, plot);
    box.append(figure);
    const made = { figure, plot, legend, title, unit, x, series: [], revision: "", seen: false, due: false, last: 0, timer: 0, named: "" };
    figures.all.push(made);
    watch.observe(figure);
    return made;
  };

  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const made = figures.all.find((one) => one.figure === entry.target);
      if (!made) continue;
      made.seen = entry.isIntersecting;
      if (made.seen && made.due) soon(made);
    }
  }, { rootMargin: "200px" });

  // What is shown, as `{ name, x, y, hollow? }`; drawn when it is its turn.
  const show = (made, series, revision, until) => {
    made.until = until;
    made.series = series;
    made.revision = revision;
    made.due = true;
    if (made.seen) soon(made);
  };
  const soon = (made) => {
    if (made.timer || document.hidden) return;
    const wait = Math.max(0, made.last + LEAST_MS - performance.now());
    made.timer = setTimeout(() => {
      made.timer = 0;
      if (made.due && made.seen && !document.hidden && window.Plotly) draw(made);
    }, wait);
  };

  const look = (i) => ({ colour: "c" + (i % 6), dash: DASHES[i % DASHES.length], symbol: SYMBOLS[i % SYMBOLS.length] });
  const key = (made, palette) => {
    const named = made.series.map((one) => one.name).join("\n") + palette.ground;
    if (named === made.named) return;
    made.named = named;
    made.legend.replaceChildren(...made.series.map((one, i) => {
      const { colour, dash } = look(i);
      const item = document.createElement("span");
      const ns = "http://www.w3.org/2000/svg";
      const svg = document.createElementNS(ns, "svg");
      for (const [name, value] of Object.entries({ width: 26, height: 8, "aria-hidden": "true" })) svg.setAttribute(name, value);
      const line = document.createElementNS(ns, "line");
      for (const [name, value] of Object.entries({ x1: 0, x2: 26, y1: 4, y2: 4, stroke: palette[colour], "stroke-width": 2.5, "stroke-dasharray": STROKES[dash] })) line.setAttribute(name, value);
      svg.append(line);
      item.append(svg, one.name);
      return item;
    }));
  };

  const draw = (made) => {
    made.due = false;
    made.last = performance.now();
    const palette = colours();
    const points = made.series.some((one) => one.y.some((y) => y !== null && y !== undefined));
    key(made, palette);
    if (!points && !made.plot.classList.contains("js-plotly-plot")) return;
    made.plot.querySelector(".nothing")?.remove();
    const data = made.series.map((one, i) => {
      const { colour, dash, symbol } = look(i);
      const trace = {
        type: "scatter", mode: one.marks ? "lines+markers" : "lines", name: markup(one.name), x: one.x, y: one.y,
        line: { color: palette[colour], width: 2, dash }, connectgaps: false,
        hovertemplate: "%{y:.4~g} " + made.unit + "<extra>" + markup(one.name) + "</extra>",
      };
      // A single point has no line.
      if (!one.marks && one.y.filter((y) => y !== null).length < 2) trace.mode = "lines+markers";
      if (one.marks) {
        trace.marker = { size: 9, color: palette[colour], symbol: one.hollow.map((h) => symbol + (h ? "-open" : "")), line: { width: 1.5, color: palette.ink } };
      }
      return trace;
    });
    const axis = { gridcolor: palette.grid, linecolor: palette.muted, tickcolor: palette.muted, zeroline: false, automargin: true, tickfont: { size: 12, color: palette.muted } };
    const layout = {
      height: 230, margin: { l: 54, r: 12, t: 8, b: 40 }, showlegend: false, hovermode: made.series[0]?.marks ? "closest" : "x unified", uirevision: made.revision,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true,
      font: { family: getComputedStyle(document.body).fontFamily, color: palette.ink, size: 13 },
      hoverlabel: { bgcolor: palette.panel, bordercolor: palette.line, font: { color: palette.ink, size: 13 } },
      xaxis: { ...axis, showline: true, rangemode: "tozero", ...(made.until ? { range: [0, made.until] } : {}), title: { text: made.x, font: { size: 12, color: palette.muted }, standoff: 6 } },
      yaxis: { ...axis, rangemode: "tozero", nticks: 6 },
    };
    window.Plotly.react(made.plot, data, layout, { responsive: true, displaylogo: false, displayModeBar: false });
  };

  const again = () => { for (const made of figures.all) if (made.series.length) { made.due = true; if (made.seen) soon(made); } };
  document.addEventListener("theme", again);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) again(); });
  window.addEventListener("load", again);
  return { all: [], make, show };
})();
