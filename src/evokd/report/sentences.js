// Every test sentence: searched, filtered, sorted, any two systems side by side. Goes on where
// page.js ends; the block of a test set and direction (sentences.py) is unpacked when it is shown.

const PAGE = 25;
const SORTS = {
  loss: "largest loss of A against B",
  gain: "largest gain of A over B",
  low: "lowest score of A",
  high: "highest score of A",
  longest: "longest",
  shortest: "shortest",
  findings: "most findings in A",
  line: "order of the file",
};
const SCORED = ["loss", "gain", "low", "high"];
const WHERE = { any: "anywhere", source: "source", reference: "reference", a: "A", b: "B" };
const MARKS = { reference: "words that the reference hasn’t", other: "where A and B differ", none: "nothing" };
/** What is shown, as the address has it; "at" is a block, "page" counts from 0. */
const DEFAULTS = {
  ...{ at: "", a: "", b: "", metric: "", sort: "loss", kind: "", find: "", regex: "" },
  ...{ where: "any", marks: "reference", page: "0" },
};
/** What stands between spaces, and single characters of scripts without spaces. */
const UNSPACED =
  String.raw`\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff` +
  String.raw`\uf900-\ufaff\u{20000}-\u{3ffff}`;
const WORDS = new RegExp(`(?:[${UNSPACED}]|[^\\s${UNSPACED}]+)\\s*`, "gu");

/** A repetition of what ends in one: its time doubles with each character, and nothing stops it. */
const ENDLESS = /[*+}]\??[^()]{0,3}\)\??(?:[*+]|\{\d+,)/u;

async function unpacked(script) {
  const packed = atob(script.textContent.trim());
  const bytes = new Uint8Array(packed.length);
  for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

/** A text in which words that `other` hasn't, or not in this order, are marked (longest common
 * subsequence). */
function marked(text, other) {
  const words = text.match(WORDS) ?? [];
  const plain = words.map((word) => word.trim());
  const others = (other.match(WORDS) ?? []).map((word) => word.trim());
  const common = Array.from({ length: plain.length + 1 }, () => new Uint16Array(others.length + 1));
  for (let i = plain.length - 1; i >= 0; i--) {
    for (let j = others.length - 1; j >= 0; j--) {
      const apart = Math.max(common[i + 1][j], common[i][j + 1]);
      common[i][j] = plain[i] === others[j] ? common[i + 1][j + 1] + 1 : apart;
    }
  }
  const runs = [];
  for (let i = 0, j = 0; i < words.length; i++) {
    while (j < others.length && plain[i] !== others[j] && common[i][j + 1] >= common[i + 1][j]) j++;
    const differs = j >= others.length || plain[i] !== others[j];
    if (!differs) j++;
    if (runs.length && runs.at(-1).differs === differs) runs.at(-1).text += words[i];
    else runs.push({ differs, text: words[i] });
  }
  return runs.flatMap(({ differs, text: run }) => {
    const word = run.trimEnd();
    return differs ? [make("mark", {}, word), run.slice(word.length)] : [run];
  });
}

/** What the state leaves open, or names that this block hasn't, chosen: the state is changed. */
function settle(state, { metrics, outputs, baseline, focus }) {
  if (!metrics.some((one) => one.name === state.metric)) {
    state.metric = (metrics.find((one) => one.name !== "bleu") ?? metrics[0])?.name ?? "";
  }
  if (!metrics.length && SCORED.includes(state.sort)) state.sort = "line";
  const first = (...wanted) => wanted.map((test) => outputs.find(test)).find(Boolean) ?? outputs[0];
  const named = (name) => (one) => one.name === name || one.system === name;
  const a = first(
    (one) => named(state.a)(one) && one.behaviour[state.kind], // the seed that has some
    named(state.a),
    (one) => named(focus)(one) && one.system !== baseline,
    (one) => one.system !== baseline,
  );
  const other = (test) => (one) => one !== a && test(one);
  const b = first(
    named(state.b),
    other((one) => one.system === baseline && one.seed === a.seed),
    other(named(baseline)),
    other(() => true),
  );
  Object.assign(state, { a: a.name, b: b.name });
  if (state.kind !== "any" && !a.behaviour[state.kind]) state.kind = "";
}

/** The block as the state asks for it: numbers of both outputs, scores, faults. */
function viewed(state, block) {
  const [a, b] = [state.a, state.b].map((name) => block.outputs.findIndex((one) => one.name === name));
  const m = block.metrics.findIndex((one) => one.name === state.metric);
  const { label, lower } = block.metrics[m] ?? {};
  const score = (i, output) => block.rows[i][3][m]?.[output] ?? NaN;
  const gain = (i) => (lower ? -1 : 1) * (score(i, a) - score(i, b));
  const faults = (i, output) =>
    Object.entries(block.outputs[output].behaviour).flatMap(([kind, lines]) => (lines.includes(i + 1) ? kind : []));
  return { ...state, block, a, b, label, lower, score, gain, faults };
}

/** Numbers of the sentences that are asked for, in order; a SyntaxError of the expression. */
function found({ block, a, b, lower, score, gain, faults, ...state }) {
  const literal = state.find.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  if (state.regex && ENDLESS.test(state.find)) throw new SyntaxError("a repeated group that repeats could take forever");
  const cases = state.regex && /[A-Z]/.test(state.find) ? "u" : "iu";
  const wanted = new RegExp(state.regex ? state.find : literal, cases);
  const texts = {
    any: ([source, references, lines]) => [source ?? "", ...references, ...lines],
    source: ([source]) => [source ?? ""],
    reference: ([, references]) => references,
    a: ([, , lines]) => [lines[a]],
    b: ([, , lines]) => [lines[b]],
  }[state.where];
  const size = (i) => (block.rows[i][1][0] ?? block.rows[i][2][a]).length;
  const key = {
    loss: gain,
    gain: (i) => -gain(i),
    low: (i) => (lower ? -1 : 1) * score(i, a),
    high: (i) => (lower ? 1 : -1) * score(i, a),
    longest: (i) => -size(i),
    shortest: size,
    findings: (i) => -faults(i, a).length,
    line: (i) => i,
  }[state.sort];
  const odd = (i) => (state.kind === "any" ? faults(i, a).length : faults(i, a).includes(state.kind));
  const keys = new Map();
  block.rows.forEach((row, i) => {
    if (state.kind && !odd(i)) return;
    if (state.find && !texts(row).some((text) => wanted.test(text))) return;
    keys.set(i, Number.isNaN(key(i)) ? Infinity : key(i));
  });
  return [...keys.keys()].sort((i, j) => keys.get(i) - keys.get(j) || i - j);
}

/** "+1.2", "−0.8". */
const signed = (number, digits) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(digits)}`;

function sentence(view, i) {
  const { block, a, b, label, score, gain } = view;
  const [source, references, lines] = block.rows[i];
  const pair = (name, ...content) =>
    make("div", { class: "pair" }, make("dt", {}, name), make("dd", { dir: "auto" }, ...content));
  const translated = (output, other, name) => {
    const against = { reference: references[0], other: lines[other] }[view.marks];
    const number = score(i, output);
    return pair(
      name,
      ...(against === undefined ? [lines[output]] : marked(lines[output], against)),
      Number.isNaN(number) ? null : make("span", { class: "near" }, `${label} ${number}`),
      ...view.faults(i, output).map((kind) => make("span", { class: "kind" }, inWords(kind))),
    );
  };
  const difference = gain(i) ? `${signed(gain(i), 1)} ${label}` : "equal";
  const every = make("details", {}, make("summary", {}, `All ${lines.length} translations`));
  const fill = () => {
    const rows = block.outputs.map((one, output) => translated(output, a, one.name));
    every.append(make("dl", { class: "sides" }, ...rows));
  };
  every.addEventListener("toggle", fill, { once: true });
  const both = a !== b;
  return make(
    "li",
    { class: "card sentence" },
    make(
      "div",
      { class: "where" },
      make("span", {}, `line ${i + 1}`),
      both && !Number.isNaN(gain(i)) ? make("b", {}, difference) : null,
    ),
    make(
      "dl",
      { class: "sides" },
      source === null ? null : pair("source", source),
      ...references.map((reference) => pair("reference", reference)),
      translated(a, b, `A · ${block.outputs[a].name}`),
      both ? translated(b, a, `B · ${block.outputs[b].name}`) : null,
    ),
    lines.length > 2 ? every : null,
  );
}

/** How many sentences, and what the metric says of A and B in them. */
function summary({ block, a, b, label, gain }, shown) {
  const gains = shown.map(gain).filter((one) => !Number.isNaN(one));
  const count = `${shown.length} of ${block.rows.length} sentences.`;
  if (!gains.length || a === b) return count;
  const worse = gains.filter((one) => one < 0).length;
  const better = gains.filter((one) => one > 0).length;
  const mean = signed(gains.reduce((sum, one) => sum + one, 0) / gains.length, 2);
  const said = `A is worse than B in ${worse}, better in ${better}, equal in ${gains.length - worse - better}`;
  return `${count} By ${label}, ${said}; on average ${mean}.`;
}

function browser(place, scripts) {
  const state = { ...DEFAULTS };
  const controls = make("div", { class: "controls" });
  const status = make("p", { class: "status", role: "status" });
  const list = make("ol", { class: "found", tabindex: "-1", "aria-label": "Sentences" });
  const pages = make("div", { class: "pages" });
  let block = null;

  function show() {
    const view = viewed(state, block);
    let shown;
    try {
      shown = found(view);
    } catch (error) {
      status.textContent = `This isn’t a regular expression: ${error.message}`;
      list.replaceChildren();
      pages.replaceChildren();
      return;
    }
    const page = Math.max(0, Math.min(+state.page, Math.ceil(shown.length / PAGE) - 1));
    const here = shown.slice(page * PAGE, (page + 1) * PAGE);
    status.textContent = summary(view, shown);
    list.start = page * PAGE + 1;
    list.replaceChildren(...here.map((i) => sentence(view, i)));
    const turn = (text, to) => {
      const disabled = to < 0 || to * PAGE >= shown.length;
      const click = () => {
        change({ page: String(to) });
        list.focus({ preventScroll: true });
        status.scrollIntoView();
      };
      return make("button", { type: "button", disabled, click }, text);
    };
    const range = `${page * PAGE + 1} to ${page * PAGE + here.length} of ${shown.length}`;
    const where = make("span", {}, here.length ? range : "none");
    pages.replaceChildren(turn("Previous", page - 1), where, turn("Next", page + 1));
  }

  function change(values) {
    Object.assign(state, { page: "0" }, values);
    settle(state, block);
    if ("a" in values || "b" in values) build();
    const set = Object.entries(state).filter(([key, value]) => value !== DEFAULTS[key]);
    history.replaceState(null, "", `#sentences?${new URLSearchParams(set)}`);
    show();
  }

  function build() {
    const focused = all("select, input, button", controls).indexOf(document.activeElement);
    const pick = (label, key, options) => choice(label, options, state[key], (value) => change({ [key]: value }));
    const names = block.outputs.map((one) => [one.name, one.name]);
    const metrics = block.metrics.map((one) => [one.name, one.label]);
    const places = scripts.map((one) => [one.dataset.key, one.dataset.title]);
    const { behaviour } = block.outputs.find((one) => one.name === state.a);
    const kinds = Object.entries(behaviour).map(([kind, lines]) => [kind, `${inWords(kind)} (${lines.length})`]);
    const sorts = Object.entries(SORTS).filter(([key]) => metrics.length || !SCORED.includes(key));
    const swap = { type: "button", "aria-label": "Swap A and B", click: () => change({ a: state.b, b: state.a }) };
    const search = { type: "search", value: state.find, input: (event) => change({ find: event.target.value }) };
    const expression = (event) => change({ regex: event.target.checked ? "1" : "" });
    const regex = { type: "checkbox", checked: !!state.regex, change: expression };
    controls.replaceChildren(
      places.length > 1 ? choice("Test set", places, state.at, (at) => open({ at })) : "",
      pick("System A", "a", names),
      make("button", swap, "⇄"),
      pick("System B", "b", names),
      metrics.length > 1 ? pick("Metric", "metric", metrics) : "",
      pick("Sort by", "sort", sorts),
      kinds.length ? pick("Behaviour of A", "kind", [["", "all"], ["any", "anything odd"], ...kinds]) : "",
      pick("Mark", "marks", Object.entries(MARKS)),
      make(
        "div",
        { class: "search" },
        field("Search", make("input", search), "field wide"),
        pick("in", "where", Object.entries(WHERE)),
        make("label", { class: "check" }, make("input", regex), "regular expression (a capital letter in it: with case)"),
      ),
    );
    all("select, input, button", controls)[focused]?.focus();
  }

  async function open(values) {
    Object.assign(state, values);
    const script = scripts.find((one) => one.dataset.key === state.at) ?? scripts[0];
    if (!block || state.at !== block.key) {
      status.textContent = "Opening …";
      block = { key: script.dataset.key, ...(await unpacked(script)) };
    }
    state.at = block.key;
    settle(state, block);
    build();
    show();
  }

  /** "#sentences?a=…" is what a link asks for; all that it leaves open is as at first. */
  async function follow() {
    const [target, query] = location.hash.split("?");
    if (target !== "#sentences" || query === undefined) return false;
    await open({ ...DEFAULTS, ...Object.fromEntries(new URLSearchParams(query)) });
    place.closest("section").scrollIntoView();
    return true;
  }

  place.append(controls, status, list, pages);
  place.hidden = false;
  for (const fixed of all(".without-scripts")) fixed.hidden = true;
  for (const cell of all("[data-see]")) {
    const link = make("a", { href: `#sentences?${cell.dataset.see}`, title: "These sentences" }, ...cell.childNodes);
    cell.replaceChildren(link);
  }
  addEventListener("hashchange", follow);
  const near = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    near.disconnect();
    if (!block) open({});
  }, { rootMargin: "600px" });
  follow().then((asked) => asked || near.observe(place));
}

const place = document.getElementById("browser");
const scripts = all("script[data-key]");
if (place && scripts.length && "DecompressionStream" in window) browser(place, scripts);
