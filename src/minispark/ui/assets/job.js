// The page of a job: keeps plan and timeline up to date, and makes the address say what is chosen.

import {localTimes, refresh, watch} from "./live.js";
import {documentOf, isReport} from "./documents.js";
import {choose, drawPlan} from "./dag.js";
import {TimelineView} from "./timeline.js";
import {StoryPlayer} from "./story.js";

const jobId = document.getElementById("pulse").dataset.job;
const dag = document.getElementById("dag");
const buttons = {stages: document.getElementById("show-stages"), nodes: document.getElementById("show-nodes")};
let drawn = "stages", plan = null, painted = "", nextTimeline = 0;

const lanes = new TimelineView(document.getElementById("lanes"), {
  detail: document.getElementById("task-detail"),
  legend: document.getElementById("legend"),
  onChoose: (id) => history.replaceState(null, "", `#task-${id}`),
});

const player = new StoryPlayer(document.getElementById("story-player"), async (asked) => ({...await documentOf(jobId, "story", asked), whole: isReport}));

async function showPlan() {
  plan = (await documentOf(jobId, "sheet")).graph;
  repaintPlan();
}

function repaintPlan() {
  const text = drawn + JSON.stringify(plan);
  if (text === painted) return;
  painted = text;
  drawPlan(dag, plan, drawn);
  choose(dag, location.hash);
}

async function showTimeline({now = false} = {}) {
  if (!now && performance.now() < nextTimeline) return;
  const started = performance.now();
  lanes.show(await documentOf(jobId, "timeline"));
  // A long timeline is fetched less often: a twentieth of the time at most is spent on it.
  nextTimeline = performance.now() + Math.max(500, 20 * (performance.now() - started));
}

for (const [kind, button] of Object.entries(buttons)) {
  button.addEventListener("click", () => {
    drawn = kind;
    for (const [other, its] of Object.entries(buttons)) its.setAttribute("aria-pressed", String(other === kind));
    repaintPlan();
  });
}

document.getElementById("zoom-in").addEventListener("click", () => lanes.zoomOnChosen(0.6));
document.getElementById("zoom-out").addEventListener("click", () => lanes.zoomOnChosen(1.6));
document.getElementById("zoom-all").addEventListener("click", () => lanes.move(0, Infinity));

async function followAddress() {
  const hash = location.hash;
  if (hash.startsWith("#task-") && lanes.data) {
    const index = lanes.find(decodeURIComponent(hash.slice(6)));
    if (index >= 0) {
      lanes.choose(index, {tell: false});
      document.getElementById("timeline").scrollIntoView({block: "start"});
    }
  }
  if (hash.startsWith("#step-")) {
    const found = await player.goToEvent(Number(hash.slice(6)));
    if (!found) await player.show();
    else document.getElementById("story").scrollIntoView({block: "start"});
  }
  choose(dag, hash);
  document.querySelector("tr.chosen")?.classList.remove("chosen");
  const target = hash && document.getElementById(hash.slice(1));
  if (target?.localName === "details") target.open = true;
}

addEventListener("hashchange", followAddress);

const ended = () => isReport || ["SUCCEEDED", "FAILED", "CANCELLED"].includes(document.getElementById("now").dataset.status);
player.ended = ended();
await Promise.all([showPlan(), showTimeline({now: true}), player.show()]);
localTimes(document);
await followAddress();
document.documentElement.dataset.ready = String(Math.round(performance.now()));

if (!ended()) {
  watch(document.getElementById("pulse").dataset.pulse, async (news) => {
    await refresh();
    await showPlan();
    await showTimeline({now: news.ended});
    player.ended = news.ended;
    if (news.ended) await player.show();
  });
}
