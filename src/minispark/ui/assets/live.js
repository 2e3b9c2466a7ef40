// Keeps a page up to date: the master says that something changed, the page is fetched again, and
// the parts marked `data-live` that differ take the place of the old ones. Imported by the other
// modules; alone it is all that a list needs.

const shown = new Map();
const preparations = [];
const FOCUSABLE = "a, button, summary, input, select, [tabindex]";

// Calls `change(element)` with each new part before it is shown.
export function prepare(change) {
  preparations.push(change);
}

const AGES = [["day", "days", 86400], ["hour", "hours", 3600], ["min", "min", 60], ["s", "s", 1]];

function ageText(at) {
  const age = Math.max(0, (Date.now() - at) / 1000);
  if (age < 5) return "just now";
  const [one, several, seconds] = AGES.find(([, , length]) => age >= length);
  const count = Math.floor(age / seconds);
  return `${count} ${count === 1 ? one : several} ago`;
}

export function localTimes(root) {
  for (const time of root.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    time.title = at.toLocaleString();
    if (time.hasAttribute("data-ago")) {
      time.textContent = ageText(at);
      continue;
    }
    const today = at.toDateString() === new Date().toDateString();
    const clock = at.toLocaleTimeString([], {hour: "2-digit", minute: "2-digit", second: "2-digit"});
    time.textContent = time.hasAttribute("data-day") && !today ? `${at.toLocaleDateString()} ${clock}` : clock;
  }
}

function replace(old, fresh) {
  if (shown.get(old.id) === fresh.outerHTML) return;
  shown.set(old.id, fresh.outerHTML);
  for (const open of old.querySelectorAll("details[open][id]")) {
    fresh.querySelector(`#${CSS.escape(open.id)}`)?.setAttribute("open", "");
  }
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const place = focused && [...old.querySelectorAll(FOCUSABLE)].indexOf(focused);
  const scrolled = old.scrollLeft;
  localTimes(fresh);
  for (const change of preparations) change(fresh);
  for (const clock of fresh.querySelectorAll("[data-clock]")) clocks.set(clock, performance.now());
  old.replaceWith(fresh);
  fresh.scrollLeft = scrolled;
  if (focused === old) fresh.focus();
  else if (focused) fresh.querySelectorAll(FOCUSABLE)[place]?.focus();
}

export async function refresh() {
  const reply = await fetch(location.pathname + location.search, {headers: {Accept: "text/html"}});
  if (reply.status === 401) location.reload();
  if (!reply.ok) throw new Error(`HTTP ${reply.status}`);
  const page = new DOMParser().parseFromString(await reply.text(), "text/html");
  for (const fresh of page.querySelectorAll("[data-live]")) {
    const old = document.getElementById(fresh.id);
    if (old) replace(old, document.adoptNode(fresh));
  }
}

// Calls `changed(news)` at each change, one call at a time; closes while nobody looks, since a
// browser has six connections for all its tabs.
export function watch(url, changed) {
  const lost = document.getElementById("lost");
  let source = null, busy = false, again = null, done = false;
  const settle = async (news) => {
    if (busy) { again = news; return; }
    busy = true;
    try {
      await changed(news);
      lost.hidden = true;
    } catch {
      lost.hidden = false;
    }
    busy = false;
    if (again) { const next = again; again = null; settle(next); }
  };
  const open = () => {
    if (source || done || document.hidden) return;
    source = new EventSource(url);
    source.onmessage = (event) => {
      const news = JSON.parse(event.data);
      if (news.ended) { done = true; source.close(); }
      settle(news);
    };
    source.onopen = () => { lost.hidden = true; };
    source.onerror = () => {
      if (done) return;
      lost.hidden = false;
      if (source.readyState === EventSource.CLOSED) { source = null; setTimeout(open, 3000); }
    };
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { source?.close(); source = null; } else open();
  });
  open();
}

async function cancel(button) {
  const job = button.dataset.cancel;
  if (!confirm(`Cancel ${job}?`)) return;
  button.disabled = true;
  await fetch(`/api/v1/jobs/${encodeURIComponent(job)}`, {method: "DELETE"});
  await refresh();
}

async function rerun(button) {
  button.disabled = true;
  const job = encodeURIComponent(button.dataset.rerun);
  const reply = await fetch(`/api/v1/jobs/${job}/rerun`, {method: "POST", headers: {"Idempotency-Key": crypto.getRandomValues(new Uint32Array(4)).join("-")}});
  const answer = await reply.json();
  if (reply.ok) location.assign(`/jobs/${encodeURIComponent(answer.job_id)}`);
  else {
    alert(`${answer.error.message}. ${answer.error.hint ?? ""}`);
    button.disabled = false;
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-cancel], [data-rerun]");
  if (button?.dataset.cancel) cancel(button);
  if (button?.dataset.rerun) rerun(button);
});

// A form would not say where it comes from: no page of ours sends a Referer.
document.getElementById("logout")?.addEventListener("click", async () => {
  await fetch("/logout", {method: "POST"});
  location.assign("/login");
});

// A clock goes on between two refreshes: it shows the seconds that it was given, and those since.
const clocks = new WeakMap();

function clockText(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${Math.floor(seconds % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

setInterval(() => {
  for (const clock of document.querySelectorAll("[data-clock]")) {
    if (!clocks.has(clock)) clocks.set(clock, performance.now());
    clock.textContent = clockText(Number(clock.dataset.clock) + (performance.now() - clocks.get(clock)) / 1000);
  }
}, 500);

localTimes(document);
setInterval(() => localTimes(document), 15_000);
const pulse = document.getElementById("pulse");
if (pulse?.dataset.pulse && !pulse.dataset.job) watch(pulse.dataset.pulse, refresh);
