// Sends a JSON job and shows, word by word, what is wrong with it.

import "./live.js";

const form = document.getElementById("submit");
const text = document.getElementById("job");
const fault = document.getElementById("fault");

document.getElementById("file").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  if (file) text.value = await file.text();
});

function line(kind, words, container = fault) {
  const element = document.createElement("p");
  element.className = kind;
  element.textContent = words;
  container.append(element);
}

function show(error) {
  fault.replaceChildren();
  const place = [error.node && `node ${error.node}`, error.field && `field ${error.field}`, error.file];
  line("bad", `${error.code}: ${error.message}`);
  const where = place.filter(Boolean).join(", ");
  if (where) line("", `in ${where}`);
  if (error.hint) line("hint", error.hint);
}

// A duplicate of a job: its text, to be changed and submitted.
const original = new URLSearchParams(location.search).get("from");
if (original) {
  const reply = await fetch(`/api/v1/jobs/${encodeURIComponent(original)}/source`);
  const source = await reply.text();
  if (!reply.ok) show(JSON.parse(source).error);
  else try {
    text.value = JSON.stringify(JSON.parse(source), null, 2);
  } catch {
    text.value = source;
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const headers = {"Content-Type": "application/json", "Idempotency-Key": [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16)).join("")};
    const reply = await fetch("/api/v1/jobs", {method: "POST", body: text.value, headers});
    const answer = await reply.json();
    if (reply.ok) location.assign(`/jobs/${encodeURIComponent(answer.job_id)}`);
    else show(answer.error);
  } catch (problem) {
    show({code: "MS-501", message: `the master does not answer (${problem.message})`});
  } finally {
    button.disabled = false;
  }
});
