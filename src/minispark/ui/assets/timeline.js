// Draws every attempt of a job on one canvas: a lane per slot, grouped by worker. A canvas, because
// ten thousand elements would make any page stutter. What is chosen has a URL (#task-ID).

import {countText, durationText} from "./documents.js";

const LANE = 16, GAP = 10, LEFT = 150, TOP = 24, LEAST_S = 1e-4;
const STATES = ["running", "succeeded", "failed", "cancelled"];

export class TimelineView {
  constructor(container, {detail, legend, onChoose}) {
    Object.assign(this, {container, detail, legend, onChoose, chosen: -1, hovered: -1, data: null, from: 0, to: 1, whole: true, queued: false});
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-label", "Timeline of the attempts: arrow keys select an attempt, plus and minus zoom");
    this.spacer = document.createElement("div");
    this.tip = document.createElement("div");
    this.tip.className = "tip";
    this.tip.hidden = true;
    container.replaceChildren(this.canvas, this.spacer);
    document.body.append(this.tip);
    this.listen();
    new ResizeObserver(() => this.paint()).observe(container);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { this.colours = null; this.explainColours(); this.paint(); });
  }

  show(data) {
    const id = this.chosen >= 0 ? this.idOf(this.chosen) : null;
    this.data = data;
    this.special = new Set(data.speculative);
    this.rows = [];
    let y = TOP;
    const waits = new Set(data.lane.flatMap((lane, index) => (lane < 0 ? [data.worker[index]] : [])));
    data.workers.forEach((worker, index) => {
      this.rows.push({y, worker: worker.worker, lanes: worker.lanes, waits: waits.has(index)});
      y += (worker.lanes + (waits.has(index) ? 1 : 0)) * LANE + GAP;
    });
    this.height = y;
    this.byLane = new Map();
    for (let index = 0; index < data.lane.length; index += 1) {
      const key = data.worker[index] * 4096 + data.lane[index];
      if (!this.byLane.has(key)) this.byLane.set(key, []);
      this.byLane.get(key).push(index);
    }
    if (this.whole) [this.from, this.to] = [0, this.end()];
    this.chosen = id === null ? -1 : this.find(id);
    this.explainColours();
    this.paint();
  }

  end() { return Math.max(this.data.until_s, ...(this.data.end_s.length ? [this.data.end_s.reduce((a, b) => Math.max(a, b), 0)] : []), LEAST_S) * 1.01; }

  idOf(index) {
    const {job_id, stage, generation, partition, attempt} = this.data;
    return `${job_id}.${stage[index]}.${generation[index]}.${partition[index]}.${attempt[index]}`;
  }

  find(id) {
    for (let index = 0; index < this.data.lane.length; index += 1) if (this.idOf(index) === id) return index;
    return -1;
  }

  palette() {
    if (!this.colours) {
      const style = getComputedStyle(document.documentElement);
      const named = (name) => style.getPropertyValue(`--${name}`).trim();
      this.colours = {stage: [0, 1, 2, 3, 4, 5, 6, 7].map((n) => named(`s${n}`)), ink: named("ink"), soft: named("soft"), line: named("line"), bad: named("bad"), off: named("off"), sunk: named("sunk"), accent: named("accent"), card: named("card")};
    }
    return this.colours;
  }

  explainColours() {
    if (!this.data) return;
    const colours = this.palette();
    const entry = (colour, text, style) => {
      const item = document.createElement("span");
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      const box = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      const set = (name, value) => box.setAttribute(name, value);
      svg.setAttribute("viewBox", "0 0 12 12");
      svg.setAttribute("aria-hidden", "true");
      set("x", 1); set("y", 1); set("width", 10); set("height", 10); set("fill", style === "hollow" ? "none" : colour); set("stroke", colour); set("stroke-width", 2);
      svg.append(box);
      item.append(svg, text);
      return item;
    };
    const stages = Object.entries(this.data.stages).slice(0, 8).map(([id, name]) => entry(colours.stage[id % 8], `${id} ${name}`));
    const kinds = [entry(colours.bad, "failed"), entry(colours.off, "cancelled")];
    if (this.special.size) kinds.push(entry(colours.ink, "second attempt, in parallel", "hollow"));
    if (this.data.lane.some((lane) => lane < 0)) kinds.push(entry(colours.off, "queue time", "hollow"));
    this.legend.replaceChildren(...stages, ...kinds);
  }

  x(seconds) { return LEFT + ((seconds - this.from) / (this.to - this.from)) * (this.width - LEFT - 8); }
  seconds(x) { return this.from + ((x - LEFT) / (this.width - LEFT - 8)) * (this.to - this.from); }

  y(index) {
    const row = this.rows[this.data.worker[index]], lane = this.data.lane[index];
    return row.y + (lane < 0 ? row.lanes : lane) * LANE;
  }

  paint() {
    if (this.queued || !this.data) return;
    this.queued = true;
    requestAnimationFrame(() => { this.queued = false; this.paintNow(); });
  }

  paintNow() {
    Object.assign(this.canvas.dataset, {from: this.from, to: this.to});
    const started = performance.now(), scale = devicePixelRatio || 1;
    this.width = this.container.clientWidth;
    const visible = Math.min(this.height + 2, 480);
    if (this.canvas.width !== Math.round(this.width * scale) || this.canvas.height !== Math.round(visible * scale)) {
      this.canvas.width = Math.round(this.width * scale);
      this.canvas.height = Math.round(visible * scale);
      this.canvas.style.width = `${this.width}px`;
      this.canvas.style.height = `${visible}px`;
    }
    this.spacer.style.height = `${Math.max(0, this.height - visible)}px`;
    const pen = this.canvas.getContext("2d"), colours = this.palette(), scrolled = this.container.scrollTop;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, this.width, visible);
    this.paintLanes(pen, colours, scrolled, visible);
    this.paintAttempts(pen, colours, scrolled, visible);
    this.paintAxis(pen, colours);
    this.lastPaintMs = performance.now() - started;
  }

  paintLanes(pen, colours, scrolled, visible) {
    pen.font = "12px system-ui, sans-serif";
    for (const row of this.rows) {
      const y = row.y - scrolled, height = row.lanes * LANE;
      if (y > visible || y + height + LANE < 0) continue;
      pen.fillStyle = colours.sunk;
      for (let lane = 0; lane < row.lanes; lane += 1) pen.fillRect(LEFT, y + lane * LANE + 1, this.width - LEFT - 8, LANE - 2);
      pen.fillStyle = colours.ink;
      pen.save();
      pen.beginPath();
      pen.rect(0, y - 4, LEFT - 8, height + LANE + 8);
      pen.clip();
      pen.fillText(row.worker, 10, y + 12);
      pen.fillStyle = colours.soft;
      if (row.waits) pen.fillText("queued", 10, y + row.lanes * LANE + 12 + (row.lanes === 0 ? LANE : 0));
      pen.restore();
    }
  }

  paintAttempts(pen, colours, scrolled, visible) {
    const {begin_s: begins, end_s: ends, state, stage, lane} = this.data;
    pen.save();
    pen.beginPath();
    pen.rect(LEFT, 0, this.width - LEFT - 8, visible);
    pen.clip();
    for (let index = 0; index < lane.length; index += 1) {
      const y = this.y(index) - scrolled;
      if (y > visible || y < -LANE || ends[index] < this.from || begins[index] > this.to) continue;
      const left = Math.max(this.x(begins[index]), LEFT - 2), width = Math.max(this.x(ends[index]) - left, 1);
      const kind = STATES[state[index]];
      const colour = kind === "failed" ? colours.bad : kind === "cancelled" ? colours.off : colours.stage[stage[index] % 8];
      if (lane[index] < 0) {
        pen.strokeStyle = colours.off;
        pen.strokeRect(left + 0.5, y + 6.5, Math.max(width - 1, 1), 4);
        continue;
      }
      pen.globalAlpha = kind === "running" ? 0.55 : 1;
      pen.fillStyle = colour;
      pen.fillRect(left, y + 2, width > 3 ? width - 1 : width, LANE - 4);
      pen.globalAlpha = 1;
      if (this.special.has(index)) { pen.strokeStyle = colours.ink; pen.lineWidth = 1.5; pen.strokeRect(left + 1, y + 2.5, Math.max(width - 2, 1), LANE - 5); pen.lineWidth = 1; }
      if (kind === "failed" && width > 5) { pen.strokeStyle = colours.card; pen.beginPath(); pen.moveTo(left + 1, y + 3); pen.lineTo(left + Math.min(width, 10), y + LANE - 3); pen.moveTo(left + Math.min(width, 10), y + 3); pen.lineTo(left + 1, y + LANE - 3); pen.stroke(); }
    }
    for (const [index, width] of [[this.hovered, 1.5], [this.chosen, 3]]) {
      if (index < 0 || index >= lane.length) continue;
      const left = this.x(begins[index]);
      pen.strokeStyle = colours.accent;
      pen.lineWidth = width;
      pen.strokeRect(left - 1, this.y(index) - scrolled, Math.max(this.x(ends[index]) - left, 2) + 2, LANE);
      pen.lineWidth = 1;
    }
    pen.restore();
  }

  paintAxis(pen, colours) {
    pen.fillStyle = colours.card;
    pen.fillRect(0, 0, this.width, TOP - 3);
    const span = this.to - this.from, rough = span / Math.max(2, (this.width - LEFT) / 110);
    const power = 10 ** Math.floor(Math.log10(rough)), step = [1, 2, 5, 10].find((n) => n * power >= rough) * power;
    pen.font = "11px system-ui, sans-serif";
    for (let at = Math.ceil(this.from / step) * step; at <= this.to; at += step) {
      const x = Math.round(this.x(at)) + 0.5;
      pen.strokeStyle = colours.line;
      pen.beginPath();
      pen.moveTo(x, TOP - 6);
      pen.lineTo(x, 2000);
      pen.stroke();
      pen.fillStyle = colours.soft;
      const label = at === 0 ? "0" : durationText(at), wide = pen.measureText(label).width;
      pen.fillText(label, x + 3 + wide > this.width ? x - 3 - wide : x + 3, 14);
    }
  }

  at(x, y) {
    const inside = y + this.container.scrollTop, seconds = this.seconds(x), slack = Math.abs(this.seconds(x + 2) - seconds);
    const number = this.rows?.findIndex((row) => inside >= row.y && inside < row.y + (row.lanes + (row.waits ? 1 : 0)) * LANE) ?? -1;
    if (number < 0 || x < LEFT) return -1;
    const lane = Math.floor((inside - this.rows[number].y) / LANE);
    const found = this.byLane.get(number * 4096 + (lane >= this.rows[number].lanes ? -1 : lane)) ?? [];
    let best = -1;
    for (const index of found) if (this.data.begin_s[index] <= seconds + slack && this.data.end_s[index] >= seconds - slack) best = index;
    return best;
  }

  words(index) {
    const data = this.data, kind = STATES[data.state[index]], lane = data.lane[index];
    const ran = data.end_s[index] - data.begin_s[index], stood = data.begin_s[index] - data.leased_s[index];
    const lines = [
      `stage ${data.stage[index]} ${data.stages[data.stage[index]]}, partition ${data.partition[index]}, attempt ${data.attempt[index] + 1}${data.generation[index] ? `, generation ${data.generation[index] + 1}` : ""}`,
      `${lane < 0 ? "queued" : kind} ${kind === "running" ? "for" : "after"} ${durationText(lane < 0 ? data.end_s[index] - data.leased_s[index] : ran)} on ${data.workers[data.worker[index]].worker}${lane < 0 ? "" : `, slot ${lane}`}`,
    ];
    if (lane >= 0 && stood > 0.001) lines.push(`queue time ${durationText(stood)} before`);
    if (data.rows[index]) lines.push(`gave ${countText(data.rows[index])} rows`);
    if (this.special.has(index)) lines.push("second attempt, in parallel");
    return lines;
  }

  choose(index, {tell = true} = {}) {
    this.chosen = index;
    this.detail.replaceChildren();
    if (index >= 0) {
      const link = document.createElement("a");
      link.href = `#task-${this.idOf(index)}`;
      link.textContent = this.idOf(index);
      this.detail.append(link, ` ${this.words(index).join(", ")}`);
      this.reveal(index);
      if (tell) this.onChoose(this.idOf(index));
    }
    this.paint();
  }

  reveal(index) {
    const y = this.y(index), visible = this.container.clientHeight, span = this.to - this.from;
    if (y < this.container.scrollTop + TOP || y > this.container.scrollTop + visible - LANE) this.container.scrollTop = y - visible / 2;
    if (this.data.end_s[index] < this.from || this.data.begin_s[index] > this.to) this.move(this.data.begin_s[index] - span / 2, span);
  }

  move(from, span) {
    const end = this.end(), wide = Math.min(Math.max(span, LEAST_S), end);
    this.from = Math.min(Math.max(from, 0), end - wide);
    this.to = this.from + wide;
    this.whole = wide >= end * 0.999;
    this.paint();
  }

  zoom(by, around) {
    const span = (this.to - this.from) * by;
    this.move(around - (around - this.from) * by, span);
  }

  // Without a pointer the chosen task says where to look: it comes to the middle.
  zoomOnChosen(by) {
    const {begin_s: begins, end_s: ends} = this.data, span = (this.to - this.from) * by;
    const middle = this.chosen < 0 ? (this.from + this.to) / 2 : (begins[this.chosen] + ends[this.chosen]) / 2;
    this.move(middle - span / 2, span);
  }

  step(key) {
    if (this.chosen < 0) return this.choose(this.data.lane.length ? 0 : -1, {tell: false});
    const own = this.data.worker[this.chosen] * 4096 + this.data.lane[this.chosen];
    const lane = this.byLane.get(own), place = lane.indexOf(this.chosen);
    if (key === "ArrowRight" || key === "ArrowLeft") return this.choose(lane[place + (key === "ArrowRight" ? 1 : -1)] ?? this.chosen, {tell: false});
    const y = this.y(this.chosen), down = key === "ArrowDown", middle = this.data.begin_s[this.chosen];
    let best = this.chosen, nearest = Infinity;
    for (const indices of this.byLane.values()) {
      const other = this.y(indices[0]);
      if (down ? other <= y : other >= y) continue;
      for (const index of indices) {
        const far = Math.abs(other - y) * 1e6 + Math.abs(this.data.begin_s[index] - middle);
        if (far < nearest) [best, nearest] = [index, far];
      }
    }
    return this.choose(best, {tell: false});
  }

  listen() {
    const {canvas} = this;
    let held = null;
    canvas.addEventListener("pointerdown", (event) => { held = {x: event.clientX, from: this.from, moved: false}; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      if (held && Math.abs(event.clientX - held.x) > 3) {
        held.moved = true;
        const span = this.to - this.from;
        this.move(held.from - ((event.clientX - held.x) / (this.width - LEFT - 8)) * span, span);
        return;
      }
      const index = this.at(event.clientX - box.left, event.clientY - box.top);
      if (index !== this.hovered) { this.hovered = index; this.paint(); }
      this.tip.hidden = index < 0;
      if (index >= 0) {
        this.tip.textContent = this.words(index).join("\n");
        this.tip.style.left = `${Math.min(event.clientX + 14, innerWidth - 300)}px`;
        this.tip.style.top = `${event.clientY + 16}px`;
      }
    });
    canvas.addEventListener("pointerup", (event) => {
      const box = canvas.getBoundingClientRect();
      if (held && !held.moved) this.choose(this.at(event.clientX - box.left, event.clientY - box.top));
      held = null;
    });
    canvas.addEventListener("pointerleave", () => { this.hovered = -1; this.tip.hidden = true; this.paint(); });
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.shiftKey) return;
      event.preventDefault();
      const box = canvas.getBoundingClientRect(), span = this.to - this.from;
      if (event.ctrlKey) this.zoom(event.deltaY > 0 ? 1.25 : 0.8, this.seconds(event.clientX - box.left));
      else this.move(this.from + ((event.deltaX || event.deltaY) / this.width) * span, span);
    }, {passive: false});
    canvas.addEventListener("keydown", (event) => {
      if (!this.data || event.ctrlKey || event.metaKey || event.altKey) return;
      const span = this.to - this.from;
      if (event.key.startsWith("Arrow") && event.shiftKey) this.move(this.from + (event.key === "ArrowRight" ? 0.2 : -0.2) * span, span);
      else if (event.key.startsWith("Arrow")) this.step(event.key);
      else if (event.key === "+" || event.key === "=") this.zoomOnChosen(0.6);
      else if (event.key === "-") this.zoomOnChosen(1.6);
      else if (event.key === "0" || event.key === "Home") this.move(0, this.end());
      else if (event.key === "Enter" && this.chosen < 0) this.step(event.key);
      else if (event.key === "Enter") this.onChoose(this.idOf(this.chosen));
      else return;
      event.preventDefault();
    });
    this.container.addEventListener("scroll", () => this.paint());
  }
}
