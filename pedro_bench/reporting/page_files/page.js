"use strict";
// Filters: an element is hidden when its task or its method is not chosen.
const boxes = [...document.querySelectorAll("[data-filter]")];
function applyFilters() {
  const off = { task: new Set(), method: new Set(), cost: new Set() };
  for (const box of boxes) if (!box.checked) off[box.dataset.filter].add(box.value);
  for (const one of document.querySelectorAll("[data-task],[data-method],[data-cost]"))
    one.toggleAttribute("hidden", Object.keys(off).some((kind) => off[kind].has(one.dataset[kind])));
}
for (const box of boxes) box.addEventListener("change", applyFilters);
for (const button of document.querySelectorAll("[data-all]"))
  button.addEventListener("click", () => {
    for (const box of boxes) box.checked = button.dataset.all !== "";
    applyFilters();
  });
// Sorting: numbers before text, what is missing always last, equal ones in the order they had.
function valueOf(row, place) {
  const cell = row.cells[place];
  const text = cell ? cell.dataset.value ?? cell.textContent.trim() : "";
  const number = Number.parseFloat(text);
  return text === "" || text === "--" ? null : Number.isNaN(number) ? text : number;
}
function compare(a, b) {
  if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
  return typeof a === "number" ? -1 : 1;
}
function sortBy(heading) {
  const up = heading.getAttribute("aria-sort") === "descending";
  const body = heading.closest("table").tBodies[0];
  const rows = [...body.rows].map((row) => [valueOf(row, heading.cellIndex), row]);
  rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : (up ? 1 : -1) * compare(a, b)));
  for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  body.append(...rows.map(([, row]) => row));
}
for (const heading of document.querySelectorAll("thead th")) {
  if (heading.closest("table").querySelector("td[colspan]")) continue; // rows belong to the heading above them
  heading.tabIndex = 0;
  heading.addEventListener("click", () => sortBy(heading));
  heading.addEventListener("keydown", (event) => { if (event.key === "Enter") sortBy(heading); });
}
// A click on a score shows its runs.
const dialog = document.getElementById("trace");
function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}
function showTrace(cell) {
  const trace = JSON.parse(cell.dataset.trace);
  dialog.querySelector("h3").textContent = trace.title;
  dialog.querySelector("th").textContent = trace.each;
  const facts = trace.facts.flatMap(([name, text]) => [element("dt", name), element("dd", text)]);
  dialog.querySelector("dl").replaceChildren(...facts);
  const rows = trace.runs.map((run) => {
    const row = document.createElement("tr");
    row.append(...run.map((text) => element("td", text)));
    return row;
  });
  dialog.querySelector("tbody").replaceChildren(...rows);
  dialog.querySelector("pre").textContent = trace.command;
  dialog.showModal();
}
for (const cell of document.querySelectorAll("[data-trace]")) {
  cell.addEventListener("click", () => showTrace(cell));
  cell.addEventListener("keydown", (event) => { if (event.key === "Enter") showTrace(cell); });
}
