"use strict";
(() => {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const setTheme = (name) => { root.dataset.theme = name; };

  const colours = () => {
    const style = getComputedStyle(root);
    return Object.fromEntries(["ground", "panel", "ink", "muted", "line", "grid", "shade", "c0", "c1", "c2", "c3", "c4", "c5"].map((n) => [n, style.getPropertyValue("--" + n).trim()]));
  };
  const themed = (value, palette) => {
    if (typeof value === "string") return value[0] === "@" ? palette[value.slice(1)] || value : value;
    if (Array.isArray(value)) return value.map((v) => (typeof v === "number" ? v : themed(v, palette)));
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, themed(v, palette)]));
    return value;
  };

  const key = (letter, i) => letter + "axis" + (i ? i + 1 : "");
  const panelTitle = (text, x, y, palette, size) => ({
    text: "<b>" + text + "</b>", xref: "paper", yref: "paper", x, y, xanchor: "left", yanchor: "bottom",
    showarrow: false, font: { size, color: palette.ink },
  });

  // Places the small multiples: as many in a row as the window is wide for.
  const placeGrid = (figure, layout, width, palette) => {
    const n = figure.panels.length;
    const narrow = width < 640;
    const columns = narrow ? 1 : n === 1 ? 1 : n === 2 || n === 4 ? 2 : 3;
    const rows = Math.ceil(n / columns);
    const titled = figure.panels.some((t) => t);
    const plotHeight = rows === 1 ? 340 : rows * (narrow ? 250 : 270);
    const gapX = 0.03;
    const gapY = rows > 1 ? (titled ? 58 : 40) / plotHeight : 0;
    const w = (1 - gapX * (columns - 1)) / columns;
    const h = (1 - gapY * (rows - 1)) / rows;
    for (let i = 0; i < n; i++) {
      const column = i % columns;
      const row = Math.floor(i / columns);
      const [x, y] = [layout[key("x", i)], layout[key("y", i)]];
      const x0 = column * (w + gapX);
      const top = 1 - row * (h + gapY);
      x.domain = [x0, x0 + w];
      y.domain = [Math.max(0, top - h), top];
      const [left, below] = [column === 0, i + columns >= n];
      y.showticklabels = left;
      x.showticklabels = below || (narrow && n > 1);
      if (!left || (rows > 1 && row !== Math.floor((rows - 1) / 2))) delete y.title;
      if (!below) delete x.title;
      if (titled) layout.annotations.push(panelTitle(figure.panels[i], x0, top + 4 / plotHeight, palette, 13));
    }
    layout.margin = { l: narrow ? 56 : 72, r: figure.kind === "heat" ? 20 : 16, t: titled ? 40 : 32, b: 56 };
    layout.height = plotHeight + layout.margin.t + layout.margin.b;
    if (narrow && layout.coloraxis) {
      Object.assign(layout.coloraxis.colorbar, { orientation: "h", y: -62 / plotHeight, yanchor: "top", x: 0.5, xanchor: "center", len: 1 });
      layout.coloraxis.colorbar.title.side = "top";
      layout.margin.b += 90;
      layout.height += 90;
    }
  };

  const placeStrip = (figure, layout, width, palette) => {
    const n = figure.panels.length;
    const plotHeight = n * 120;
    const gap = 30 / plotHeight;
    const h = (1 - gap * (n - 1)) / n;
    for (let i = 0; i < n; i++) {
      const top = 1 - i * (h + gap);
      const y = layout[key("y", i)];
      y.domain = [Math.max(0, top - h), top];
      y.nticks = 4;
      y.anchor = "x";
      layout.annotations.push(panelTitle(figure.panels[i], 0, top + 2 / plotHeight, palette, 12));
    }
    const range = layout.xaxis.range;
    const rows = Math.max(0, ...figure.spans.map((span) => span.row));
    for (const span of figure.spans) {
      const text = span.strong ? "<b>" + span.text + "</b>" : span.text;
      if ((span.to - span.from) / (range[1] - range[0]) * (width - 80) < span.text.length * 7) continue;
      layout.annotations.push({
        text, xref: "x", yref: "paper", x: (span.from + span.to) / 2, y: 1 + (20 + 18 * span.row) / plotHeight, yanchor: "bottom",
        showarrow: false, font: { size: 12, color: span.strong ? palette.ink : palette.muted },
      });
    }
    // The labels stand below the mode bar.
    layout.margin = { l: 64, r: 16, t: 76 + 18 * rows, b: 50 };
    layout.height = plotHeight + 126 + 18 * rows;
  };

  // The legend is made of buttons, so that it can be used by keyboard and is read out.
  const DASHES = { solid: "", dash: "7 4", dot: "2 3", dashdot: "7 3 2 3" };
  const SYMBOLS = { circle: "M4,0A4,4 0 1 1 -4,0A4,4 0 1 1 4,0", square: "M-4,-4H4V4H-4Z", "triangle-up": "M0,-5L5,4H-5Z", diamond: "M0,-5L5,0L0,5L-5,0Z", "triangle-down": "M0,5L5,-4H-5Z", "x-thin": "M-4,-4L4,4M-4,4L4,-4" };
  const swatch = (trace) => {
    const line = trace.line || {};
    const colour = line.color || (trace.marker && trace.marker.color) || "currentColor";
    const symbol = trace.marker && [].concat(trace.marker.symbol)[0];
    const mark = symbol ? '<path d="' + (SYMBOLS[String(symbol).replace("-open", "")] || SYMBOLS.circle) + '" fill="' + colour + '" stroke="' + colour + '"/>' : "";
    const stroke = trace.mode && !trace.mode.includes("lines") ? "" : '<line x1="-15" x2="15" stroke="' + colour + '" stroke-width="2" stroke-dasharray="' + (DASHES[line.dash] || "") + '"/>';
    return '<svg width="30" height="12" viewBox="-15 -6 30 12" aria-hidden="true" focusable="false">' + stroke + mark + "</svg>";
  };
  const plainText = (text) => { const span = document.createElement("span"); span.innerHTML = text; return span.textContent; };
  const makeLegend = (plot, data) => {
    const series = [];
    for (const trace of data) {
      const name = trace.legendgroup || trace.name;
      if (name && trace.showlegend !== false && !series.some((s) => s.name === name)) series.push({ name, trace, rank: trace.legendrank || 1000 });
    }
    series.sort((a, b) => a.rank - b.rank);
    let box = plot.previousElementSibling;
    if (!box || !box.classList.contains("legend")) {
      if (!series.length) return false;
      box = document.createElement("div");
      box.className = "legend";
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", "Series: show or hide");
      plot.before(box);
    }
    plot.hiddenSeries = plot.hiddenSeries || new Set();
    // Made anew where only the theme changed: the button in use keeps its focus.
    const used = [...box.children].indexOf(document.activeElement);
    box.replaceChildren(...series.map(({ name, trace }) => {
      const button = document.createElement("button");
      button.type = "button";
      button.innerHTML = swatch(trace);
      button.append(plainText(name));
      button.setAttribute("aria-pressed", String(!plot.hiddenSeries.has(name)));
      button.addEventListener("click", () => {
        const shown = plot.hiddenSeries.has(name);
        plot.hiddenSeries[shown ? "delete" : "add"](name);
        button.setAttribute("aria-pressed", String(shown));
        const places = plot.data.map((t, i) => ((t.legendgroup || t.name) === name ? i : -1)).filter((i) => i >= 0);
        window.Plotly.restyle(plot, { visible: shown }, places);
      });
      return button;
    }));
    if (used >= 0 && box.children[used]) box.children[used].focus();
    return series.length > 0;
  };

  // At most two lines of about `most` letters; a line breaks between words.
  const wrapped = (text, most) => {
    const lines = [""];
    for (const word of text.split(" ")) {
      if (lines.at(-1) && lines.at(-1).length + word.length >= most) lines.push("");
      lines.push((lines.pop() + " " + word).trim());
    }
    return lines.length > 2 ? lines[0] + "<br>" + lines[1] + " …" : lines.join("<br>");
  };

  // Rows of one height, named at the left: changes with their intervals, and verdicts.
  const placeRows = (figure, layout, width) => {
    const narrow = width < 640;
    const forest = figure.kind === "forest";
    const [x, y] = [layout.xaxis, layout.yaxis];
    y.ticktext = y.ticktext.map((t) => wrapped(t, narrow ? 18 : 46));
    y.fixedrange = true;
    const plotHeight = figure.rows * (narrow ? 38 : forest ? 27 : 32);
    layout.margin = { l: 10, r: forest ? (narrow ? 30 : 96) : 10, t: forest ? (narrow ? 96 : 58) : 64, b: forest ? 50 : 10 };
    layout.height = plotHeight + layout.margin.t + layout.margin.b;
    const names = 14 + 7 * Math.max(0, ...y.ticktext.flatMap((t) => t.split("<br>")).map((t) => t.length));
    const column = forest ? 0 : (width - names) / figure.columns;
    // The sign alone where the figure has no room beside it.
    for (const note of layout.annotations) {
      if (forest ? narrow && note.x === 1 : column < 76) note.text = note.text.split(" ")[0];
      if (forest && narrow && note.x === 0) Object.assign(note, { x: 1, xanchor: "right", font: { ...note.font, size: 11 } });
    }
    if (forest) return;
    Object.assign(x, { fixedrange: true, tickangle: column < 56 ? -90 : 0 });
    if (column < 56) {
      x.ticktext = x.ticktext.map((t) => t.replaceAll("<br>", " "));
      layout.margin.t = 120;
      layout.height += 56;
    }
  };

  const prepare = (plot) => {
    const palette = colours();
    const figure = themed(JSON.parse(document.getElementById("data-" + plot.dataset.chart).textContent), palette);
    const layout = figure.layout;
    if (figure.kind !== "strip") figure.legend = makeLegend(plot, figure.data);
    for (const trace of figure.data) {
      trace.showlegend = false;
      if (plot.hiddenSeries && plot.hiddenSeries.has(trace.legendgroup || trace.name)) trace.visible = false;
    }
    const width = plot.clientWidth || 800;
    layout.annotations = layout.annotations || [];
    const place = { strip: placeStrip, forest: placeRows, matrix: placeRows }[figure.kind] || placeGrid;
    place(figure, layout, width, palette);
    plot.style.minHeight = place === placeRows ? layout.height + "px" : "";
    for (const [name, axis] of Object.entries(layout)) {
      if (!/^[xy]axis/.test(name)) continue;
      Object.assign(axis, { gridcolor: palette.grid, linecolor: palette.muted, tickcolor: palette.muted, zeroline: false, automargin: true });
      if (name[0] === "x") Object.assign(axis, { showline: true });
      if (axis.title) axis.title.font = { size: 13, color: palette.ink };
      axis.tickfont = { size: 12, color: palette.muted };
    }
    Object.assign(layout, {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true, hovermode: "closest",
      font: { family: getComputedStyle(document.body).fontFamily, color: palette.ink, size: 13 },
      hoverlabel: { bgcolor: palette.panel, bordercolor: palette.line, font: { color: palette.ink, size: 13 }, align: "left" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: palette.muted, activecolor: palette.ink },
    });
    return figure;
  };

  // Our ticks are made for the whole range: a zoomed axis needs plotly's own.
  const followZoom = (plot) => {
    plot.on("plotly_relayout", (change) => {
      const update = {};
      for (const name of Object.keys(change)) {
        const zoomed = /^([xy]axis\d*)\.range/.exec(name);
        const reset = /^([xy]axis\d*)\.autorange$/.exec(name);
        const axis = (zoomed || reset || [])[1];
        if (!axis || !plot.layout[axis] || !plot.layout[axis].tickvals) continue;
        const home = plot.home && plot.home[axis];
        const now = plot.layout[axis].range;
        const whole = home && now && Math.abs(home[0] - now[0]) < 1e-9 && Math.abs(home[1] - now[1]) < 1e-9;
        const mode = whole ? "array" : "auto";
        if ((plot.layout[axis].tickmode || "array") !== mode) update[axis + ".tickmode"] = mode;
      }
      if (Object.keys(update).length) window.Plotly.relayout(plot, update);
    });
  };

  // Plotly lies in the page as inert text: reading some megabytes of script would keep the first
  // screen waiting, so the first figure that is drawn has it read.
  const readPlotly = () => {
    if (window.Plotly) return;
    const script = document.createElement("script");
    script.textContent = document.getElementById("plotly").textContent;
    document.head.append(script);
  };

  const draw = (plot) => {
    readPlotly();
    const figure = prepare(plot);
    const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"], toImageButtonOptions: { filename: plot.dataset.chart, scale: 2 } };
    plot.dataset.drawn = colours().ground + (plot.clientWidth < 640);
    plot.home = Object.fromEntries(Object.entries(figure.layout).filter(([n]) => /^[xy]axis/.test(n)).map(([n, a]) => [n, [...a.range]]));
    window.Plotly.react(plot, figure.data, figure.layout, config);
    if (!plot.followed) { plot.followed = true; followZoom(plot); }
  };
  const redraw = () => {
    for (const plot of document.querySelectorAll(".plot[data-drawn]")) {
      if (plot.offsetParent) { draw(plot); continue; }
      // Out of sight behind a cell's page: anew when it comes back.
      delete plot.dataset.drawn;
      near.observe(plot);
    }
  };

  // Figures are drawn when they come near the window: a page of many opens at once.
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      near.unobserve(entry.target);
      if (!entry.target.dataset.drawn) draw(entry.target);
    }
  }, { rootMargin: "400px" });
  const plots = document.querySelectorAll("figure .plot");
  // Between the two a frame is painted.
  const afterPaint = (then) => requestAnimationFrame(() => setTimeout(then, 0));
  afterPaint(() => { for (const plot of plots) near.observe(plot); });
  const drawAll = () => {
    for (const plot of document.querySelectorAll("figure .plot:not([data-drawn])")) if (plot.offsetParent) draw(plot);
  };
  // For the other scripts, which draw a cell's own strip.
  const pad = (n) => String(n).padStart(3, "0");
  const showStrip = (box, n) => {
    for (const old of box.querySelectorAll(".plot")) window.Plotly.purge(old);
    const data = document.querySelector('.strip-data[data-cell="' + n + '"]');
    box.replaceChildren();
    if (!data) return false;
    const plot = document.createElement("div");
    plot.className = "plot strip";
    plot.dataset.chart = "strip-" + pad(n);
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", data.dataset.title + ". " + data.dataset.caption);
    const caption = document.createElement("p");
    caption.className = "caption";
    caption.textContent = data.dataset.caption + (data.dataset.png ? " Picture: " + data.dataset.png + "." : "");
    box.append(plot, caption);
    draw(plot);
    return true;
  };
  window.plimsoll = { showStrip };
  const pick = document.getElementById("strip-pick");
  if (pick) {
    const box = document.getElementById("strip-show");
    const show = () => {
      showStrip(box, pick.value);
      document.getElementById("strip-link").href = "#cell-" + pick.value;
    };
    pick.addEventListener("change", show);
    const once = new IntersectionObserver((entries) => {
      if (!entries.some((e) => e.isIntersecting)) return;
      once.disconnect();
      if (!box.firstChild) show();
    }, { rootMargin: "400px" });
    afterPaint(() => once.observe(pick));
    window.addEventListener("beforeprint", () => { if (!box.firstChild && box.offsetParent) show(); });
  }

  document.getElementById("theme").addEventListener("click", () => {
    const next = root.dataset.theme === "dark" ? "light" : "dark";
    setTheme(next);
    try { localStorage.setItem("plimsoll-theme", next); } catch { /* not remembered, then */ }
    redraw();
  });
  dark.addEventListener("change", () => {
    setTheme(dark.matches ? "dark" : "light");
    redraw();
  });
  let narrow = window.innerWidth < 640;
  window.addEventListener("resize", () => {
    const now = window.innerWidth < 640;
    if (now !== narrow) { narrow = now; redraw(); }
  });
  // Paper is white.
  let before = null;
  window.addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    if (before !== "light") { setTheme("light"); redraw(); }
    drawAll();
  });
  window.addEventListener("afterprint", () => {
    if (before && before !== "light") { setTheme(before); redraw(); }
  });
})();
