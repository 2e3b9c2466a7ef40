// Steps through the journal of a job: a slider, what was known, what was decided and why. Each step
// has a URL (#step-NUMBER).

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export class StoryPlayer {
  constructor(container) {
    this.container = container;
    this.at = 0;
    this.steps = [];
    this.slider = element("input", {type: "range", min: 1, max: 1, value: 1, id: "story-slider", "aria-label": "Step of the story"});
    this.count = element("span", {class: "muted"});
    const back = element("button", {type: "button", id: "story-back"}, "Back"), next = element("button", {type: "button", id: "story-next"}, "Next");
    this.step = element("div", {class: "card step", id: "story-step", "aria-live": "polite"});
    this.note = element("p", {class: "muted small"});
    container.classList.add("player");
    container.replaceChildren(element("div", {class: "toolbar"}, back, next, this.count), this.slider, this.step, this.note);
    back.addEventListener("click", () => this.go(this.at - 1, {tell: true}));
    next.addEventListener("click", () => this.go(this.at + 1, {tell: true}));
    this.slider.addEventListener("input", () => this.go(Number(this.slider.value) - 1, {tell: true}));
  }

  show(story) {
    const last = this.steps.length === 0 || this.at === this.steps.length - 1;
    this.steps = story.steps;
    this.slider.max = Math.max(1, this.steps.length);
    this.note.textContent = story.cut ? `The first ${this.steps.length} events; all of them: minispark replay ${story.job_id}` : "";
    if (this.steps.length) this.go(last && !location.hash.startsWith("#step-") && this.told ? this.steps.length - 1 : this.at);
  }

  find(seq) { return this.steps.findIndex((step) => step.seq === seq); }

  go(index, {tell = false} = {}) {
    this.at = Math.min(Math.max(index, 0), this.steps.length - 1);
    const step = this.steps[this.at];
    this.slider.value = this.at + 1;
    this.slider.setAttribute("aria-valuetext", `step ${this.at + 1} of ${this.steps.length}: ${step.what}`);
    this.count.replaceChildren(`Step ${this.at + 1} of ${this.steps.length}, `, element("a", {href: `#step-${step.seq}`}, `event ${step.seq}`), `, ${new Date(step.at * 1000).toLocaleTimeString()}`);
    this.step.replaceChildren(element("h3", {}, step.what), this.known(step), ...this.decided(step));
    if (tell) { this.told = true; history.replaceState(null, "", `#step-${step.seq}`); }
  }

  known(step) {
    const rows = step.stages.map((stage) => {
      const done = element("progress", {max: stage.tasks || 1, value: stage.done, "aria-label": `tasks done of stage ${stage.stage}`});
      return element("tr", {}, element("th", {scope: "row"}, `stage ${stage.stage}`), element("td", {class: "progress"}, done), element("td", {class: "n"}, `${stage.done}/${stage.tasks} done`), element("td", {class: "n"}, `${stage.running} running`));
    });
    const workers = Object.entries(step.workers).map(([worker, load]) => `${worker}: ${load}`).join(", ");
    const list = element("dl", {}, element("dt", {}, "What the scheduler knew"), element("dd", {}, `${step.waiting} tasks waiting, ${step.running} running, ${step.done} done`));
    if (workers) list.append(element("dt", {}, "Attempts on workers"), element("dd", {}, workers));
    if (!rows.length) return list;
    return element("div", {}, list, element("table", {class: "tight"}, element("tbody", {}, ...rows)));
  }

  decided(step) {
    if (!step.decided.length) return [element("p", {class: "muted"}, "It decided nothing.")];
    const deeds = step.decided.map((deed) => {
      const item = element("li", {}, deed.sentence);
      if (deed.rule) item.append(element("br"), element("span", {class: "rule"}, `because ${deed.rule}`));
      return item;
    });
    if (step.more) deeds.push(element("li", {class: "muted"}, `and ${step.more} more`));
    return [element("dl", {}, element("dt", {}, "What it decided, and by which rule"), element("dd", {}, element("ul", {}, ...deeds)))];
  }
}
