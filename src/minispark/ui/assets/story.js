// Steps through the journal of a job: a slider, how far it was, what was decided and why. Each step
// has a URL (#step-NUMBER).

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export class StoryPlayer {
  // `load({step})` and `load({seq})` give the page of the story that has a step.
  constructor(container, load) {
    this.container = container;
    this.load = load;
    this.at = 0;
    this.total = 0;
    this.steps = new Map();
    this.turn = 0;
    // Set when the journal of the job has no more rows.
    this.ended = false;
    this.shown = null;
    this.slider = element("input", {type: "range", min: 1, max: 1, value: 1, id: "story-slider", disabled: "", "aria-label": "Step of the story"});
    this.count = element("span", {class: "muted"});
    const back = element("button", {type: "button", id: "story-back"}, "Back"), next = element("button", {type: "button", id: "story-next"}, "Next");
    this.step = element("div", {class: "card step", id: "story-step", "aria-live": "polite"});
    this.note = element("p", {class: "muted small"});
    container.classList.add("player");
    container.replaceChildren(element("div", {class: "toolbar"}, back, next, this.count), this.slider, this.step, this.note);
    back.addEventListener("click", () => this.move(-1));
    next.addEventListener("click", () => this.move(1));
    this.slider.addEventListener("input", () => this.go(Number(this.slider.value), {tell: true}));
  }

  // Loads how long the story is now. At the end of the old story it goes to the end of the new one.
  show() {
    this.shown = this.reload().catch(() => { this.count.textContent = "The story cannot be loaded now"; });
    return this.shown;
  }

  async reload() {
    const atEnd = this.told && this.at === this.total, {first, steps} = this.keep(await this.load({step: this.at || 1}));
    this.slider.disabled = !steps.length;
    if (steps.length) await this.go(atEnd ? this.total : this.at || first);
  }

  keep(page) {
    page.steps.forEach((step, index) => this.steps.set(page.first + index, step));
    // What a report leaves out cannot be shown.
    this.total = page.whole ? page.first + page.steps.length - 1 : page.total;
    this.slider.max = Math.max(1, this.total);
    this.note.textContent = this.total < page.total ? `The first ${this.total} of ${page.total} steps; all of them: minispark replay ${page.job_id}` : "";
    return page;
  }

  async goToEvent(seq) {
    const page = this.keep(await this.load({seq}));
    const index = page.steps.findIndex((step) => step.seq === seq);
    if (index < 0) return false;
    await this.go(page.first + index);
    return true;
  }

  // A press counts before the story is there, and at the end of a story that goes on.
  async move(by) {
    await this.shown;
    if (!this.total) await this.show();
    else if (this.at + by > this.total && !this.ended) this.keep(await this.load({step: this.at + by}));
    await this.go(this.at + by, {tell: true});
  }

  async go(number, {tell = false} = {}) {
    if (!this.total) return;
    const turn = ++this.turn, at = Math.min(Math.max(number, 1), this.total);
    if (!this.steps.has(at)) {
      this.count.textContent = `Step ${at} of ${this.total} …`;
      // Whoever drags the slider asks for one page after the other: only the last is fetched.
      await new Promise((done) => setTimeout(done, 60));
      if (turn !== this.turn) return;
      try {
        this.keep(await this.load({step: at}));
      } catch {
        this.count.textContent = `Step ${at} cannot be loaded now`;
      }
      if (turn !== this.turn) return;
    }
    const step = this.steps.get(at);
    if (!step) return;
    this.at = at;
    this.slider.value = at;
    this.slider.setAttribute("aria-valuetext", `step ${at} of ${this.total}: ${step.what}`);
    this.count.replaceChildren(`Step ${at} of ${this.total}, `, element("a", {href: `#step-${step.seq}`}, `event ${step.seq}`), `, ${new Date(step.at * 1000).toLocaleTimeString()}`);
    this.step.replaceChildren(element("h3", {}, step.what), this.known(step), ...this.decided(step));
    if (tell) { this.told = true; history.replaceState(null, "", `#step-${step.seq}`); }
  }

  known(step) {
    const rows = step.stages.map((stage) => {
      const done = element("progress", {max: stage.tasks || 1, value: stage.done, "aria-label": `tasks done of stage ${stage.stage}`});
      return element("tr", {}, element("th", {scope: "row"}, `stage ${stage.stage}`), element("td", {class: "progress"}, done), element("td", {class: "n"}, `${stage.done}/${stage.tasks} done`), element("td", {class: "n"}, `${stage.running} running`));
    });
    const workers = Object.entries(step.workers).map(([worker, load]) => `${worker}: ${load}`).join(", ");
    const list = element("dl", {}, element("dt", {}, "Tasks after this step"), element("dd", {}, `${step.waiting} tasks waiting, ${step.running} running, ${step.done} done`));
    if (workers) list.append(element("dt", {}, "Attempts on workers"), element("dd", {}, workers));
    if (!rows.length) return list;
    return element("div", {}, list, element("table", {class: "tight"}, element("tbody", {}, ...rows)));
  }

  decided(step) {
    if (!step.decided.length) return [element("p", {class: "muted"}, "No decision.")];
    const deeds = step.decided.map((deed) => {
      const item = element("li", {}, deed.sentence);
      if (deed.rule) item.append(element("br"), element("span", {class: "rule"}, `because ${deed.rule}`));
      return item;
    });
    if (step.more) deeds.push(element("li", {class: "muted"}, `and ${step.more} more`));
    return [element("dl", {}, element("dt", {}, "Decisions and reasons"), element("dd", {}, element("ul", {}, ...deeds)))];
  }
}
