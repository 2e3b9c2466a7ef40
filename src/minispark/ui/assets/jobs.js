// The list of jobs: rows with a tick, which stay chosen while the list changes.

import "./table.js";
import {prepare, refresh} from "./live.js";

const picked = new Map();

function showPicked() {
  const section = document.querySelector("[data-picked]");
  const stoppable = [...picked.values()].filter((row) => row.cancel).length;
  section.querySelector("[data-count]").textContent = picked.size ? `${picked.size} selected` : "";
  section.querySelector("[data-cancel-picked]")?.toggleAttribute("disabled", !stoppable);
  section.querySelector("[data-compare]").toggleAttribute("disabled", picked.size !== 2);
}

function keepPicks(root) {
  for (const box of root.querySelectorAll("input[data-pick]")) {
    box.checked = picked.has(box.value);
    if (box.checked) picked.set(box.value, {cancel: box.dataset.cancellable !== undefined});
  }
  showPicked();
}

document.addEventListener("change", (event) => {
  const box = event.target.closest?.("input[data-pick]");
  if (!box) return;
  if (box.checked) picked.set(box.value, {cancel: box.dataset.cancellable !== undefined});
  else picked.delete(box.value);
  showPicked();
});

async function cancelPicked(button) {
  const jobs = [...picked].filter(([, row]) => row.cancel).map(([job]) => job);
  if (!confirm(`Cancel ${jobs.length} job${jobs.length === 1 ? "" : "s"}?`)) return;
  button.disabled = true;
  for (const job of jobs) {
    const reply = await fetch(`/api/v1/jobs/${encodeURIComponent(job)}`, {method: "DELETE"});
    if (reply.ok) picked.delete(job);
  }
  await refresh();
  showPicked();
}

document.querySelector("[data-cancel-picked]")?.addEventListener("click", (event) => cancelPicked(event.currentTarget));
document.querySelector("[data-compare]")?.addEventListener("click", () => {
  const [a, b] = [...picked.keys()];
  location.assign(`/compare?${new URLSearchParams({a, b})}`);
});

prepare(keepPicks);
keepPicks(document);
