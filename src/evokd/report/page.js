// Tables sort and filter, series of figures hide and show.
// Without scripts the page reads as it stands; nothing is loaded from anywhere.
"use strict";

const all = (query, within = document) => [...within.querySelectorAll(query)];
const unique = (values) => [...new Set(values.filter(Boolean))];
const inWords = (key) => key.replaceAll("_", " ").replaceAll("-", " → ");

/** An element; functions among the attributes listen, true and false set or leave out. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

let fields = 0;

/** A control with its label above it. */
function field(label, control, kind = "field") {
  control.id = `field-${++fields}`;
  return make("div", { class: kind }, make("label", { for: control.id }, label), control);
}

/** A labelled choice; options are [value, text]. */
function choice(label, options, value, change) {
  const entries = options.map(([key, text]) => make("option", { value: key, selected: key === value }, text));
  const select = make("select", { change: () => change(select.value) }, ...entries);
  return field(label, select);
}

// Tables

const UNITS = { k: 1e3, M: 1e6, B: 1e9, h: 3600, min: 60, s: 1 };

/** "25.31 ± 0.22" is 25.31, "4.1 M" 4100000, "5 h 12 min" 18720; null where no number comes first. */
function amount(text) {
  const plain = text.trim().replaceAll("−", "-").replace(/(\d)[\u202f\u00a0](?=\d{3})/g, "$1");
  if (!/^[-+]?\d/.test(plain)) return null;
  const parts = [...plain.matchAll(/([-+]?\d+(?:\.\d+)?)(?:\s(k|M|B|h|min|s)\b)?/g)];
  const times = parts.filter((part) => ["h", "min", "s"].includes(part[2]));
  const used = times.length ? times : parts.slice(0, 1);
  return used.reduce((sum, [, number, unit]) => sum + number * (UNITS[unit] ?? 1), 0);
}

/** Headings become buttons: once, again the other way round, a third time the first order. */
function sortable(table) {
  const heads = [...table.tHead.rows].at(-1).cells;
  const bodies = [...table.tBodies].map((body) => [body, [...body.rows]]);
  const text = (row, column) => row.cells[column]?.textContent ?? "";
  function sorted(rows, column, down) {
    const named = rows.filter((row) => row.querySelector("th.rows"));
    const others = rows.filter((row) => !named.includes(row));
    const value = new Map(others.map((row) => [row, amount(text(row, column))]));
    const last = down ? -Infinity : Infinity;
    const compare = [...value.values()].some((one) => one !== null)
      ? (a, b) => (value.get(a) ?? last) - (value.get(b) ?? last)
      : (a, b) => text(a, column).localeCompare(text(b, column));
    others.sort((a, b) => (down ? compare(b, a) : compare(a, b)) || 0);
    return [...named, ...others];
  }
  [...heads].forEach((head, column) => {
    if (!head.textContent.trim()) return;
    const numbers = bodies.some(([, rows]) => rows.some((row) => amount(text(row, column)) !== null));
    const orders = numbers ? ["descending", "ascending", null] : ["ascending", "descending", null];
    const click = () => {
      const order = orders[(orders.indexOf(head.getAttribute("aria-sort")) + 1) % 3];
      for (const one of heads) one.removeAttribute("aria-sort");
      if (order) head.setAttribute("aria-sort", order);
      for (const [body, rows] of bodies) {
        body.append(...(order ? sorted(rows, column, order === "descending") : rows));
      }
    };
    head.replaceChildren(make("button", { type: "button", class: "sort", click }, ...head.childNodes));
  });
}

/** Above a table of many systems: name, family, direction, significance, as far as it has them. */
function filterable(table) {
  const rows = all("tbody tr[data-system]", table);
  if (rows.length < 2) return;
  const heads = [...[...table.tHead.rows].at(-1).cells];
  const bodies = [...table.tBodies];
  const families = unique(rows.map((row) => row.dataset.family));
  const directions = unique([...heads, ...bodies].map((one) => one.dataset.direction));
  const marks = unique(rows.flatMap((row) => all(".mark", row).map((mark) => mark.textContent)));
  if (directions.length < 2 && !marks.length && rows.length < 12) return;
  const chosen = { name: "", family: "", direction: "", mark: "" };
  function apply() {
    const fits = (one) => !chosen.direction || [undefined, chosen.direction].includes(one.dataset.direction);
    const shown = heads.map(fits);
    for (const row of [...table.tHead.rows].slice(-1).concat(rows)) {
      [...row.cells].forEach((cell, column) => (cell.hidden = !shown[column]));
    }
    for (const group of all("th[data-group]", table)) {
      const own = heads.filter((head, column) => head.dataset.metric === group.dataset.group && shown[column]);
      group.colSpan = own.length || 1;
    }
    for (const body of bodies) body.hidden = !fits(body);
    for (const row of rows) {
      const found = all("td:not([hidden]) .mark", row).map((mark) => mark.textContent);
      const marked = chosen.mark === "none" ? !found.some(Boolean) : !chosen.mark || found.includes(chosen.mark);
      const named = row.dataset.system.toLowerCase().includes(chosen.name.toLowerCase());
      row.hidden = !(marked && named && (!chosen.family || row.dataset.family === chosen.family));
    }
  }
  const set = (key) => (value) => ((chosen[key] = value), apply());
  const select = (label, key, options, every) =>
    options.length > 1 ? choice(label, [["", every], ...options], "", set(key)) : null;
  const words = { "†": "† better", "‡": "‡ worse" };
  const significances = [...marks.map((mark) => [mark, words[mark]]), ["none", "no difference"]];
  const input = make("input", { type: "search", size: 12, input: () => set("name")(input.value) });
  const controls = [
    select("Family", "family", families.map((one) => [one, one]), "all"),
    select("Direction", "direction", directions.map((one) => [one, inWords(one)]), "all"),
    select("Significance", "mark", marks.length ? significances : [], "any"),
    rows.length > 6 ? field("System", input) : null,
  ].filter(Boolean);
  if (controls.length) table.parentElement.before(make("div", { class: "controls" }, ...controls));
}

// Figures

/** A short piece of a line, as it is drawn in a figure. */
function sample(svg, style) {
  const [small, line] = ["svg", "line"].map((tag) => document.createElementNS(svg.namespaceURI, tag));
  for (const [key, value] of [["x2", 26], ["y1", 4], ["y2", 4], ["style", style]]) line.setAttribute(key, value);
  small.setAttribute("viewBox", "0 0 26 8");
  small.setAttribute("aria-hidden", true);
  small.append(line);
  return small;
}

/** The legend becomes a row of boxes that hide and show what is drawn of a system. */
function hideable(figure) {
  const svg = figure.querySelector("svg");
  const legend = svg?.querySelector('[id$="legend_1"]');
  const drawn = all("[data-series]", figure);
  const names = unique(drawn.map((one) => one.dataset.series));
  if (!legend || names.length < 2) return;
  const bottom = legend.getBBox().y - 4;
  legend.remove();
  svg.setAttribute("viewBox", `0 0 ${svg.viewBox.baseVal.width} ${bottom}`);
  const boxes = names.map((name) => {
    const own = drawn.filter((one) => one.dataset.series === name);
    const styles = own.flatMap((one) => all("path", one)).map((path) => path.getAttribute("style") ?? "");
    const line = styles.find((style) => /stroke: #/.test(style)) ?? styles[0].replace("fill", "stroke");
    const change = (event) => own.forEach((one) => (one.style.display = event.target.checked ? "" : "none"));
    const box = make("input", { type: "checkbox", checked: true, change });
    return make("label", {}, box, sample(svg, line), name);
  });
  svg.after(make("div", { class: "series", role: "group", "aria-label": "Shown" }, ...boxes));
}

for (const table of all("table")) {
  sortable(table);
  filterable(table);
}
all("figure").forEach(hideable);
