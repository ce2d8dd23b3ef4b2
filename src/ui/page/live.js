(() => {
  const at = (id) => document.getElementById(id);
  const token = document.querySelector('meta[name="plimsoll-token"]').content;
  const text = (id, value) => { const box = at(id); if (box.textContent !== value) box.textContent = value; };
  const NONE = "–";

  // Figures as people read them: three digits.
  const figure = (value) => {
    if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
    if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en").replaceAll(",", "\u202f");
    return Number(value.toPrecision(3)).toString();
  };
  const ms = (value) => (value === null || value === undefined ? NONE : value >= 1000 ? figure(value / 1000) + " s" : figure(value) + " ms");
  const share = (part, of) => (of ? figure(100 * part / of) + " %" : NONE);
  const time = (seconds) => {
    if (seconds === null || seconds === undefined) return NONE;
    const s = Math.max(0, Math.round(seconds));
    const pad = (n) => String(n).padStart(2, "0");
    return s >= 3600 ? Math.floor(s / 3600) + ":" + pad(Math.floor(s / 60) % 60) + ":" + pad(s % 60) : Math.floor(s / 60) + ":" + pad(s % 60);
  };

  const OVER = "since the cell began, s";
  const ALONG = [
    { id: "rps", title: "Requests", unit: "req/s", series: [["completed_rps", "completed"], ["sent_rps", "sent"], ["failed_rps", "failed"]] },
    { id: "tps", title: "Output tokens", unit: "tok/s", series: [["output_tps", "output"]] },
    { id: "flight", title: "In flight", unit: "requests", series: [["in_flight", "in flight"]] },
    { id: "ttft", title: "Time to first token (TTFT)", unit: "ms", series: [["ttft_p50_ms", "p50"], ["ttft_p90_ms", "p90"], ["ttft_p95_ms", "p95"]] },
    { id: "e2e", title: "Latency of whole answers (E2E)", unit: "ms", series: [["e2e_p50_ms", "p50"], ["e2e_p90_ms", "p90"], ["e2e_p95_ms", "p95"], ["e2e_p99_ms", "p99"]] },
    { id: "tpot", title: "Time per output token (TPOT)", unit: "ms", series: [["tpot_p50_ms", "p50"], ["tpot_p95_ms", "p95"]] },
    { id: "lag", title: "Lag of this client", unit: "ms", series: [["lag_p99_ms", "p99"]] },
    { id: "errors", title: "Failed so far, by class", unit: "requests", under: "errors" },
  ];
  for (const one of ALONG) one.made = figures.make(at("along"), one.id, one.title, one.unit, OVER);
  // Figures that have a name of their own, and counts that only grow.
  const KNOWN = new Set(["sent", "completed", "failed", "output_tokens", ...ALONG.flatMap((one) => (one.series || []).map(([name]) => name))]);
  const further = new Map();

  let course = { generation: -1, t: [], series: {} };
  const addPoints = (news) => {
    if (news.generation !== course.generation || news.from > course.t.length) course = { generation: news.generation, t: [], series: {} };
    const before = news.from;
    course.t.length = before;
    course.t.push(...news.t);
    for (const [name, values] of Object.entries(news.series)) {
      const line = (course.series[name] = course.series[name] || []);
      while (line.length < before) line.push(null);
      line.length = before;
      line.push(...values);
    }
    drawCourse();
  };
  // Gauges of the server that are known: their figure and its unit, as things of one kind share an axis.
  const GAUGES = {
    "server.running": ["In the server", "requests"],
    "server.waiting": ["In the server", "requests"],
    "server.kv_use": ["KV cache in use", "%"],
  };
  let [spanOf, span] = ["", 0];
  const drawCourse = () => {
    const revision = "cell" + (cellNow ? cellNow.index : "");
    // The axis has room for the whole cell from the start, so that lines grow and nothing moves.
    const last = course.t.at(-1) || 0;
    const live = (state && state.live) || {};
    const ahead = typeof live.left_s === "number" && live.stage !== "drain" ? live.elapsed_s + live.left_s : (cellNow && cellNow.expected_s) || 0;
    if (spanOf !== revision) [spanOf, span] = [revision, 0];
    span = Math.max(span, last > ahead ? last : ahead);
    const line = (path, name) => ({ name, x: course.t, y: course.series[path] || [] });
    const under = (prefix) => Object.keys(course.series).filter((path) => path.startsWith(prefix + ".")).sort();
    for (const one of ALONG) {
      const series = one.under ? under(one.under).map((path) => line(path, path.slice(one.under.length + 1))) : one.series.map(([path, name]) => line(path, name));
      figures.show(one.made, series, revision, span);
    }
    // What the sweep tells beside that, such as gauges of the server.
    const others = Object.keys(course.series).filter((path) => !KNOWN.has(path) && !path.startsWith("errors."));
    const families = new Map();
    for (const path of others) {
      const [family, name] = path.includes(".") ? [path.slice(0, path.indexOf(".")), path.slice(path.indexOf(".") + 1)] : ["more", path];
      const [title, unit] = GAUGES[path] || [family === "more" ? "Further figures" : family.replaceAll("_", " "), ""];
      const known = families.get(title) || { unit, series: [] };
      families.set(title, { unit, series: [...known.series, line(path, name.replaceAll("_", " "))] });
    }
    for (const [title, { unit, series }] of families) {
      if (!further.has(title)) further.set(title, figures.make(at("along"), "of-" + title.replace(/\W+/g, "-"), title, unit, OVER));
      figures.show(further.get(title), series, revision, span);
    }
  };

  // Finished cells.
  const SWEEP = [
    { id: "load-rps", title: "Completed requests over load", unit: "req/s", name: "completed_rps" },
    { id: "load-tps", title: "Output tokens over load", unit: "tok/s", name: "output_tps" },
    { id: "load-ttft", title: "TTFT p95 over load", unit: "ms", name: "ttft_p95_ms" },
    { id: "load-e2e", title: "E2E p95 over load", unit: "ms", name: "e2e_p95_ms" },
  ];
  for (const one of SWEEP) one.made = figures.make(at("over-load"), one.id, one.title, one.unit, "load");
  const LOADS = { qps: "load, requests per second", users: "load, users" };
  const COLUMNS = [
    ["Cell", (c) => String(c.index + 1)],
    ["What", (c) => c.label + (c.repeat > 1 ? ", repeat " + c.repeat : "")],
    ["State", (c) => ({ finished: "finished", interrupted: "cut short", not_measured: "not measured" })[c.status] || c.status],
    ["OK", (c) => (c.status === "not_measured" ? NONE : c.ok + " of " + c.attempted), 1],
    ["Completed req/s", (c) => figure(c.figures.completed_rps), 1],
    ["Output tok/s", (c) => figure(c.figures.output_tps), 1],
    ["TTFT p50", (c) => ms(c.figures.ttft_p50_ms), 1],
    ["TTFT p95", (c) => ms(c.figures.ttft_p95_ms), 1],
    ["E2E p95", (c) => ms(c.figures.e2e_p95_ms), 1],
    ["Failed", (c) => (c.status === "not_measured" ? NONE : String(c.failed)), 1],
    ["Lag p99", (c) => ms(c.figures.lag_p99_ms), 1],
    ["Valid", (c) => ({ valid: "yes", warn: "with remarks", invalid: "no" })[c.validity] || NONE],
    ["SLO", (c) => ({ pass: "met", warning: "acceptable", fail: "missed" })[c.slo] || NONE],
  ];
  const TONES = { valid: "good", warn: "so-so", invalid: "bad", pass: "good", warning: "so-so", fail: "bad" };
  at("cell-head").append(...COLUMNS.map(([name, , number]) => {
    const th = document.createElement("th");
    th.scope = "col";
    th.textContent = name;
    if (number) th.className = "n";
    return th;
  }));
  let cells = [];
  const addCells = (news) => {
    cells.push(...news);
    for (const cell of news) {
      const row = document.createElement("tr");
      row.dataset.cell = cell.index + 1;
      COLUMNS.forEach(([name, read, number], i) => {
        const field = document.createElement(i ? "td" : "th");
        field.textContent = read(cell);
        const tone = name === "Valid" ? TONES[cell.validity] : name === "SLO" ? TONES[cell.slo] : "";
        field.className = [number ? "n" : "", tone || ""].join(" ").trim();
        if (name === "Valid" && cell.reasons.length) field.title = cell.reasons.join("\n");
        row.append(field);
      });
      at("cell-rows").append(row);
    }
    at("no-cells").hidden = cells.length > 0;
    drawSweep();
  };
  const drawSweep = () => {
    const measured = cells.filter((cell) => cell.load && cell.status === "finished");
    const axes = measured.map((cell) => cell.load.name);
    const axis = axes.filter((name) => name === "users").length > axes.length / 2 ? "users" : "qps";
    const groups = new Map();
    for (const cell of measured.filter((cell) => cell.load.name === axis)) groups.set(cell.group, [...(groups.get(cell.group) || []), cell]);
    for (const one of SWEEP) {
      one.made.x = LOADS[axis];
      const series = [...groups].map(([group, all]) => {
        const places = [...new Set(all.map((cell) => cell.load.value))].sort((a, b) => a - b);
        // Repeats as their mean, those that can't be believed left out where others can.
        const of = places.map((x) => {
          const here = all.filter((cell) => cell.load.value === x && cell.figures[one.name] !== null);
          const good = here.filter((cell) => cell.validity !== "invalid");
          const taken = good.length ? good : here;
          return { y: taken.length ? taken.reduce((sum, cell) => sum + cell.figures[one.name], 0) / taken.length : null, hollow: !good.length };
        });
        return { name: group || "all cells", x: places, y: of.map((p) => p.y), hollow: of.map((p) => p.hollow), marks: true };
      });
      figures.show(one.made, series, axis + groups.size);
    }
  };

  // The log: newest at the top, so that nothing moves what one reads below it.
  const addLines = (news) => {
    const log = at("log");
    if (news.first) log.replaceChildren();
    for (const line of news.lines) {
      const item = document.createElement("li");
      const when = document.createElement("time");
      when.dateTime = line.at;
      when.textContent = new Date(line.at).toLocaleTimeString("en-GB");
      item.append(when, " ", line.text);
      log.prepend(item);
    }
    while (log.children.length > 300) log.lastElementChild.remove();
    at("no-log").hidden = log.children.length > 0;
  };

  // State.
  const STAGES = { ramp: "ramp: load is rising", warmup: "warm-up: not yet measured", measure: "measuring", drain: "draining: what is in flight is awaited" };
  const PHASES = { ready: "Ready to start", starting: "Looking for the server", running: "Running", finished: "Finished", interrupted: "Ended early", failed: "Failed" };
  let state = null;
  let cellNow = null;
  let sweep = null;
  const headline = () => {
    if (state.phase !== "running") return PHASES[state.phase];
    if (state.held) return "Paused: the next cell waits";
    if (state.stopping) return "Ending: what is in flight is awaited";
    if (state.cooling_down) return "Cooling down before the next cell";
    if (cellNow && cellNow.status === "running") return "Cell " + (cellNow.index + 1) + " of " + state.cells;
    return "Between cells";
  };
  const bar = (id, share) => {
    const box = at(id);
    const value = Math.round(1000 * Math.min(1, Math.max(0, share || 0)));
    if (box.value !== value) box.value = value;
  };
  const showState = (news) => {
    if (sweep !== null && news.sweep !== sweep) forget();
    sweep = news.sweep;
    state = news;
    cellNow = news.cell;
    const live = news.live || {};
    const running = news.phase === "running" && cellNow && cellNow.status === "running";
    document.title = (running ? "● " : "") + headline() + " · " + news.name + " · Plimsoll";
    text("name", news.name);
    text("of", [news.run, news.target].filter(Boolean).join(" · "));
    text("headline", headline());
    at("answer").className = "answer " + ({ finished: "good", failed: "bad", interrupted: "so-so", running: news.held ? "so-so" : "" }[news.phase] || "");
    text("what", news.problem || (cellNow ? cellNow.label + (cellNow.repeat > 1 ? ", repeat " + cellNow.repeat : "") + " · " + cellNow.load : "No cell has run yet."));
    const stage = running ? STAGES[live.stage] || "starting" : news.phase === "running" ? "" : news.phase === "ready" ? "" : news.ended + " cells ended";
    text("stage", stage || "\u00a0");
    const elapsed = live.elapsed_s || 0;
    const left = live.left_s;
    bar("cell-bar", running ? (left === null || left === undefined ? elapsed / (cellNow.expected_s || 1) : elapsed / (elapsed + left || 1)) : cellNow ? 1 : 0);
    text("cell-left", running ? time(elapsed) + " gone, " + time(left) + " left" : NONE);
    const all = news.expected_s;
    const over = ["finished", "interrupted", "failed"].includes(news.phase);
    bar("sweep-bar", news.phase === "finished" ? 1 : news.left_s === null ? (news.cells ? news.ended / news.cells : 0) : 1 - news.left_s / (all || 1));
    text("sweep-left", (news.finished_before + news.ended) + " of " + (news.cells || NONE) + " cells ended" + (over ? "" : ", about " + time(news.left_s) + " left"));
    text("t-rps", figure(live.completed_rps));
    text("t-sent", "sent " + figure(live.sent_rps));
    text("t-tps", figure(live.output_tps));
    text("t-tokens", figure(live.output_tokens) + " in this cell");
    text("t-flight", figure(live.in_flight));
    text("t-asked", cellNow ? cellNow.load : NONE);
    text("t-ttft", ms(live.ttft_p50_ms));
    text("t-ttft95", "p95 " + ms(live.ttft_p95_ms));
    text("t-e2e", ms(live.e2e_p50_ms));
    text("t-e2e95", "p95 " + ms(live.e2e_p95_ms));
    const ended = (live.completed || 0) + (live.failed || 0);
    text("t-failed", live.failed === undefined ? NONE : figure(live.failed));
    text("t-failed-share", share(live.failed || 0, ended) + " of " + figure(ended));
    text("t-lag", ms(live.lag_p99_ms));
    showErrors(live.errors || {});
    showButtons(running);
    const report = at("report");
    report.hidden = !news.report;
    if (news.report) report.querySelector("a").href = news.report;
    at("ended").hidden = !over || Boolean(news.report);
    showForm(news.can_start && (news.phase === "ready" || over));
  };
  const showErrors = (errors) => {
    const all = Object.entries(errors).sort((a, b) => b[1] - a[1]);
    const said = JSON.stringify(all);
    if (at("error-rows").dataset.said === said) return;
    at("error-rows").dataset.said = said;
    at("no-errors").hidden = all.length > 0;
    at("error-table").hidden = !all.length;
    at("error-rows").replaceChildren(...all.map(([name, n]) => {
      const row = document.createElement("tr");
      const [head, number] = [document.createElement("th"), document.createElement("td")];
      head.scope = "row";
      head.textContent = name;
      number.className = "n";
      number.textContent = figure(n);
      row.append(head, number);
      return row;
    }));
  };
  // Another sweep began: what is shown is not of it.
  const forget = () => {
    cells = [];
    at("cell-rows").replaceChildren();
    at("log").replaceChildren();
    at("no-cells").hidden = at("no-log").hidden = false;
    course = { generation: -1, t: [], series: {} };
    drawSweep();
    drawCourse();
  };

  // Buttons. What can't be undone is asked twice.
  const post = async (path, body) => {
    const answer = await fetch("/api/" + path, {
      method: "POST", headers: { "content-type": "application/json", "x-plimsoll-token": token }, body: JSON.stringify(body || {}),
    });
    return [answer.ok, await answer.json()];
  };
  const press = async (button, body) => {
    try {
      const [fine, said] = await post(button, body);
      text("said", fine ? "" : said.error || "");
      if (fine) showState(said);
    } catch {
      text("said", "Plimsoll doesn't answer.");
    }
  };
  const showButtons = (running) => {
    const going = ["running", "starting"].includes(state.phase);
    const off = (id, is) => { if (at(id).disabled !== is) { at(id).disabled = is; calm(at(id)); } };
    off("pause", !going || state.stopping);
    text("pause", state.paused ? "Go on" : "Pause after this cell");
    at("pause").setAttribute("aria-pressed", String(state.paused));
    off("skip", !running || state.stopping);
    off("stop", !going || state.stopping);
    at("controls").hidden = !going;
  };
  const calm = (button) => {
    clearTimeout(button.timer);
    delete button.dataset.sure;
    if (button.dataset.word) button.textContent = button.dataset.word;
  };
  const twice = (id, question, act) => {
    const button = at(id);
    button.dataset.word = button.textContent;
    button.addEventListener("click", () => {
      if (button.dataset.sure) {
        calm(button);
        return act();
      }
      button.dataset.sure = "1";
      button.textContent = question;
      button.timer = setTimeout(() => calm(button), 5000);
    });
  };
  at("pause").addEventListener("click", () => press(state.paused ? "resume" : "pause"));
  twice("skip", "Skip: press again", () => cellNow && press("skip", { cell: cellNow.index }));
  twice("stop", "Stop: press again", () => press("stop"));

  // The form.
  let fields = null;
  const showForm = async (is) => {
    if (at("start-form").hidden === !is) return;
    at("start-form").hidden = !is;
    if (!is || fields) return;
    fields = [];
    const form = await (await fetch("/api/form")).json();
    fields = form.fields;
    at("fields").replaceChildren(...fields.map((field) => {
      const box = document.createElement("p");
      box.className = "field";
      const id = "field-" + field.key.replaceAll(".", "-");
      const label = document.createElement("label");
      label.htmlFor = id;
      label.textContent = field.label;
      const input = document.createElement("input");
      Object.assign(input, { id, name: field.key, value: field.value, autocomplete: "off", spellcheck: false });
      input.setAttribute("aria-describedby", id + "-hint " + id + "-wrong");
      const hint = document.createElement("span");
      Object.assign(hint, { id: id + "-hint", className: "hint", textContent: field.hint });
      const wrong = document.createElement("span");
      Object.assign(wrong, { id: id + "-wrong", className: "wrong" });
      box.append(label, input, hint, wrong);
      return box;
    }));
  };
  at("start-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const order = {};
    for (const field of fields || []) {
      const value = at("field-" + field.key.replaceAll(".", "-")).value.trim();
      if (value !== field.value) order[field.key] = value;
    }
    at("start").disabled = true;
    let [fine, said] = [false, { error: "Plimsoll doesn't answer." }];
    try { [fine, said] = await post("start", order); } catch { /* said above */ }
    at("start").disabled = false;
    const mistakes = fine ? [] : said.mistakes || [{ key: "", text: said.error }];
    const of = (key) => mistakes.filter((one) => one.key === key).map((one) => one.text).join(" ");
    let first = null;
    for (const field of fields || []) {
      const id = "field-" + field.key.replaceAll(".", "-");
      const wrong = of(field.key);
      text(id + "-wrong", wrong);
      at(id).setAttribute("aria-invalid", String(Boolean(wrong)));
      if (wrong && !first) first = at(id);
    }
    text("form-wrong", of(""));
    if (first) first.focus();
    if (fine) { showState(said); at("content").focus(); }
  });

  // The stream.
  const source = new EventSource("/api/events");
  const on = (name, act) => source.addEventListener(name, (event) => act(JSON.parse(event.data)));
  let fresh = true;
  source.addEventListener("open", () => { fresh = true; text("line", "live"); at("line").className = "good"; });
  source.addEventListener("error", () => {
    text("line", "connection lost at " + new Date().toLocaleTimeString("en-GB") + ": figures are of then");
    at("line").className = "bad";
  });
  // A line that was lost brings everything again.
  const once = () => { if (fresh) { fresh = false; if (state) forget(); } };
  on("course", (news) => { once(); addPoints(news); });
  on("cells", (news) => { once(); addCells(news); });
  on("log", (news) => { once(); addLines(news); });
  on("state", (news) => { once(); showState(news); });
})();
