// Lists and tables: search, filter, sort, pages. Their state is in the address, so a reload keeps it
// and a link has it. Two kinds, with the same looks:
//
//   <form data-list> + <a data-list href="?sort=...">     the master selects the rows
//   <table data-table="workers" data-rows="100">          all rows are in the page
//     <th data-sort="cpu">                                 sorts by `data-value` of its cells, else by text
//     <tr data-status="UP">                                what the select of its form chooses
//   <form data-controls="workers"> with fields q, status

import {prepare, refresh} from "./live.js";

const UNSORTED = "";

function addressWith(changes) {
  const address = new URL(location.href);
  for (const [name, value] of Object.entries(changes)) {
    if (value) address.searchParams.set(name, value); else address.searchParams.delete(name);
  }
  return address;
}

const asked = (name) => new URLSearchParams(location.search).get(name) ?? "";

// Tables whose rows are all in the page.

function valueOf(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  const number = Number(text);
  return text !== "" && !Number.isNaN(number) ? number : text.toLowerCase();
}

function compareValues(one, other) {
  if (one === "" || other === "") return (one === "") - (other === "");
  if (typeof one === typeof other) return one < other ? -1 : Number(one > other);
  return typeof one === "number" ? -1 : 1;
}

function sortRows(rows, column, downwards) {
  const keyed = rows.map((row) => [valueOf(row, column), row]);
  keyed.sort(([one], [other]) => {
    const order = compareValues(one, other);
    return downwards && one !== "" && other !== "" ? -order : order;
  });
  return keyed.map(([, row]) => row);
}

function headOf(table, name, sort) {
  for (const head of table.tHead.querySelectorAll("th[data-sort]")) {
    let button = head.querySelector("button");
    if (!button) {
      button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
    }
    const key = head.dataset.sort;
    head.removeAttribute("aria-sort");
    if (sort === key) head.setAttribute("aria-sort", "ascending");
    if (sort === `-${key}`) head.setAttribute("aria-sort", "descending");
    const next = {[UNSORTED]: `-${key}`, [`-${key}`]: key, [key]: UNSORTED}[sort] ?? `-${key}`;
    button.dataset.set = JSON.stringify({[`${name}-sort`]: next, [`${name}-page`]: ""});
  }
}

function pagesOf(table, name, total, page, size) {
  const id = `${name}-pages`;
  const place = table.parentElement;
  const wanted = total > size;
  let line = place.querySelector(`:scope > .pages`);
  if (!line && wanted) {
    line = document.createElement("p");
    line.className = "pages";
    place.append(line);
  }
  if (!line) return;
  line.id = id;
  line.replaceChildren();
  if (!wanted) { line.remove(); return; }
  for (const [words, to] of [["Previous", page - 1], ["Next", page + 1]]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = words;
    button.disabled = to < 0 || to * size >= total;
    button.dataset.set = JSON.stringify({[`${name}-page`]: to ? String(to + 1) : ""});
    line.append(button, " ");
  }
  line.append(`rows ${page * size + 1} to ${Math.min(total, (page + 1) * size)} of ${total}`);
}

function arrange(table) {
  const name = table.dataset.table;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  rows.forEach((row, place) => { row.dataset.place ??= place; });
  const words = asked(`${name}-q`).toLowerCase().split(/\s+/).filter(Boolean);
  const status = asked(`${name}-status`);
  const sort = asked(`${name}-sort`);
  const heads = [...table.tHead.rows[0].cells];
  const column = heads.findIndex((head) => head.dataset.sort && head.dataset.sort === sort.replace(/^-/, ""));
  let ordered = rows.sort((one, other) => one.dataset.place - other.dataset.place);
  if (column >= 0) ordered = sortRows(ordered, column, sort.startsWith("-"));
  body.append(...ordered);
  const selected = ordered.filter((row) => (!status || row.dataset.status === status) && words.every((word) => row.textContent.toLowerCase().includes(word)));
  const size = Number(table.dataset.rows) || Infinity;
  const last = Math.max(0, Math.ceil(selected.length / size) - 1);
  // A link to a row shows the page that has it.
  const linked = selected.findIndex((row) => row.id && `#${row.id}` === location.hash);
  const first = linked >= 0 ? Math.floor(linked / size) + 1 : 1;
  const page = Math.min(last, Math.max(0, (Number(asked(`${name}-page`)) || first) - 1));
  const visible = new Set(selected.slice(page * size, page * size + size));
  for (const row of ordered) row.hidden = !visible.has(row);
  headOf(table, name, sort);
  pagesOf(table, name, selected.length, page, size);
}

function arrangeAll(root) {
  for (const table of root.querySelectorAll("table[data-table]")) arrange(table);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("button[data-set]");
  if (!button) return;
  history.replaceState(null, "", addressWith(JSON.parse(button.dataset.set)));
  arrangeAll(document);
});

// Lists whose rows the master selects.

async function goTo(address) {
  history.pushState(null, "", address);
  fillForms();
  await refresh();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-list]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  goTo(link.href);
});

const FORMS = "form[data-list], form[data-controls]";
const fieldName = (form, field) => (form.dataset.controls ? `${form.dataset.controls}-${field.name}` : field.name);
let typing = null;

function fillForms() {
  for (const form of document.querySelectorAll(FORMS)) {
    for (const field of form.elements) if (field.name && field !== document.activeElement) field.value = asked(fieldName(form, field));
  }
}

async function take(form) {
  clearTimeout(typing);
  const changes = form.dataset.controls ? {[`${form.dataset.controls}-page`]: ""} : {after: ""};
  for (const field of form.elements) if (field.name) changes[fieldName(form, field)] = field.value.trim();
  history.replaceState(null, "", addressWith(changes));
  if (form.dataset.controls) arrangeAll(document); else await refresh();
}

for (const form of document.querySelectorAll(FORMS)) {
  form.addEventListener("submit", (event) => { event.preventDefault(); take(form); });
  form.addEventListener("input", (event) => {
    clearTimeout(typing);
    if (event.target.localName === "select") take(form);
    else typing = setTimeout(() => take(form), 250);
  });
}

addEventListener("hashchange", () => arrangeAll(document));
addEventListener("popstate", async () => {
  fillForms();
  arrangeAll(document);
  if (document.querySelector("form[data-list]")) await refresh();
});

prepare(arrangeAll);
fillForms();
arrangeAll(document);
