// Where documents come from: the master, or, in a report, the page itself.

const embedded = document.getElementById("documents");
const inside = embedded && JSON.parse(embedded.textContent);

export const isReport = Boolean(inside);

export async function documentOf(job, name, asked = {}) {
  if (inside) return inside[name];
  const query = new URLSearchParams(asked).toString();
  // Without a query the page has asked for it already: the browser goes by the same address.
  const reply = await fetch(`/api/v1/jobs/${encodeURIComponent(job)}/${name}${query && `?${query}`}`);
  if (!reply.ok) throw new Error(`HTTP ${reply.status}`);
  return reply.json();
}

const UNITS = [["B", 1], ["kB", 1e3], ["MB", 1e6], ["GB", 1e9], ["TB", 1e12]];

export function bytesText(size) {
  let [unit, by] = UNITS[0];
  for (const [name, limit] of UNITS) if (size >= limit * 0.9995) [unit, by] = [name, limit];
  return `${Number((size / by).toPrecision(3))} ${unit}`;
}

export function countText(number) {
  if (number === null || number === undefined) return "-";
  return number >= 1e6 ? `${(number / 1e6).toFixed(1)} M` : number.toLocaleString("en");
}

export function durationText(seconds) {
  if (seconds < 0.9995) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  if (seconds < 99.95) return `${seconds.toFixed(2)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}
