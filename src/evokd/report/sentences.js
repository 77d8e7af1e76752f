// Every test sentence: searched, filtered, sorted, any two systems side by side. Goes on where
// page.js ends; a test set's block is unpacked when it is shown.

const PAGE = 25;
/** What stands between spaces, and single characters of scripts without spaces. */
const UNSPACED = String.raw`\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u{20000}-\u{3ffff}`;
const WORDS = new RegExp(`(?:[${UNSPACED}]|[^\\s${UNSPACED}]+)\\s*`, "gu");
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
const PLACES = { any: "anywhere", source: "source", reference: "reference", a: "A", b: "B" };
const MARKS = { reference: "words that the reference hasn’t", other: "where A and B differ", none: "nothing" };
const DEFAULTS = { at: "", a: "", b: "", metric: "", sort: "loss", kind: "", find: "", regex: "", where: "any", marks: "reference", page: "0" };

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
      common[i][j] = plain[i] === others[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
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

function browser(place, scripts) {
  const state = { ...DEFAULTS };
  const controls = make("div", { class: "controls" });
  const status = make("p", { class: "status", role: "status" });
  const list = make("ol", { class: "found", tabindex: "-1", "aria-label": "Sentences" });
  const pages = make("div", { class: "pages" });
  let block = null;
  let opened = null;

  /** Output number: by its name, or the first seed of a system. */
  const output = (name) => {
    const exact = block.outputs.findIndex((one) => one.name === name);
    return exact >= 0 ? exact : block.outputs.findIndex((one) => one.system === name);
  };

  /** Whatever the address left open, or says of another test set, is chosen. */
  function settle() {
    if (!block.metrics.some((one) => one.name === state.metric)) {
      state.metric = (block.metrics.find((one) => one.name !== "bleu") ?? block.metrics[0])?.name ?? "";
    }
    const others = block.outputs.filter((one) => one.system !== block.baseline && one.system !== "teacher");
    const odd = block.outputs.find((one) => one.system === state.a && one.behaviour[state.kind]);
    if (odd) state.a = odd.name;
    if (output(state.a) < 0) state.a = block.outputs[Math.max(output(block.focus), 0)].name;
    state.a = block.outputs[output(state.a)].name;
    if (output(state.b) < 0) {
      const a = block.outputs[output(state.a)];
      const b = block.outputs.find((one) => one.system === block.baseline && one.seed === a.seed && one !== a)
        ?? block.outputs.find((one) => one.system === block.baseline && one !== a)
        ?? others.find((one) => one !== a) ?? block.outputs.find((one) => one !== a) ?? a;
      state.b = b.name;
    }
    state.b = block.outputs[output(state.b)].name;
    const kinds = block.outputs[output(state.a)].behaviour;
    if (state.kind !== "any" && !kinds[state.kind]) state.kind = "";
    if (!block.metrics.length && !["longest", "shortest", "findings"].includes(state.sort)) state.sort = "line";
  }

  /** Numbers of the sentences that are asked for, in order, and the gain of A over B in each. */
  function search() {
    const [a, b] = [output(state.a), output(state.b)];
    const m = block.metrics.findIndex((one) => one.name === state.metric);
    const sign = block.metrics[m]?.lower ? -1 : 1;
    const score = (i, one) => block.rows[i][3][m]?.[one] ?? NaN;
    const gain = (i) => sign * (score(i, a) - score(i, b));
    const findings = block.rows.map(() => []);
    for (const [kind, lines] of Object.entries(block.outputs[a].behaviour)) {
      for (const line of lines) findings[line - 1]?.push(kind);
    }
    const escaped = state.find.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    const wanted = new RegExp(state.regex ? state.find : escaped, "iu");
    const texts = {
      any: ([source, references, lines]) => [source ?? "", ...references, ...lines],
      source: ([source]) => [source ?? ""],
      reference: ([, references]) => references,
      a: ([, , lines]) => [lines[a]],
      b: ([, , lines]) => [lines[b]],
    }[state.where];
    const size = (i) => (block.rows[i][1][0] ?? block.rows[i][0] ?? block.rows[i][2][a]).length;
    const key = {
      loss: gain,
      gain: (i) => -gain(i),
      low: (i) => sign * score(i, a),
      high: (i) => -sign * score(i, a),
      longest: (i) => -size(i),
      shortest: size,
      findings: (i) => -findings[i].length,
      line: (i) => i,
    }[state.sort];
    const found = block.rows.flatMap((row, i) => {
      const kind = !state.kind || (state.kind === "any" ? findings[i].length : findings[i].includes(state.kind));
      return kind && (!state.find || texts(row).some((text) => wanted.test(text))) ? [i] : [];
    });
    const keys = new Map(found.map((i) => [i, Number.isNaN(key(i)) ? Infinity : key(i)]));
    found.sort((i, j) => keys.get(i) - keys.get(j) || i - j);
    return { a, b, found, gain, score };
  }

  function sentence(i, { a, b, gain, score }) {
    const [source, references, lines] = block.rows[i];
    const m = block.metrics.findIndex((one) => one.name === state.metric);
    const label = block.metrics[m]?.label;
    const pair = (name, ...content) =>
      make("div", { class: "pair" }, make("dt", {}, name), make("dd", { dir: "auto" }, ...content));
    const translated = (one, other, name) => {
      const against = state.marks === "other" ? other : references[0];
      const words = state.marks === "none" || against == null ? [lines[one]] : marked(lines[one], against);
      const kinds = Object.entries(block.outputs[one].behaviour).filter(([, own]) => own.includes(i + 1));
      const number = score(i, one);
      return pair(
        name,
        ...words,
        Number.isNaN(number) ? null : make("span", { class: "near" }, `${label} ${+number.toFixed(2)}`),
        ...kinds.map(([kind]) => make("span", { class: "kind" }, inWords(kind))),
      );
    };
    const difference = gain(i);
    const signed = difference ? `${difference < 0 ? "−" : "+"}${Math.abs(difference).toFixed(1)} ${label}` : "equal";
    const others = make("details", {}, make("summary", {}, `All ${lines.length} translations`));
    others.addEventListener("toggle", () => {
      if (others.children.length > 1) return;
      const rows = block.outputs.map((one, k) => translated(k, lines[a], one.name));
      others.append(make("dl", { class: "sides" }, ...rows));
    });
    return make(
      "li",
      { class: "card sentence" },
      make("div", { class: "where" }, make("span", {}, `line ${i + 1}`), Number.isNaN(difference) || a === b ? null : make("b", {}, signed)),
      make(
        "dl",
        { class: "sides" },
        source == null ? null : pair("source", source),
        ...references.map((reference) => pair("reference", reference)),
        translated(a, lines[b], `A · ${state.a}`),
        a === b ? null : translated(b, lines[a], `B · ${state.b}`),
      ),
      lines.length > 2 ? others : null,
    );
  }

  function show() {
    let result;
    try {
      result = search();
    } catch (error) {
      status.textContent = `This isn’t a regular expression: ${error.message}`;
      return;
    }
    const { found, gain } = result;
    const first = Math.min(+state.page, Math.ceil(found.length / PAGE) - 1) * PAGE || 0;
    const gains = found.map(gain).filter((one) => !Number.isNaN(one));
    const worse = gains.filter((one) => one < 0).length;
    const better = gains.filter((one) => one > 0).length;
    const label = block.metrics.find((one) => one.name === state.metric)?.label;
    const mean = gains.reduce((sum, one) => sum + one, 0) / gains.length;
    status.textContent = `${found.length} of ${block.rows.length} sentences.`
      + (gains.length && state.a !== state.b
        ? ` By ${label}, A is worse than B in ${worse}, better in ${better}, equal in ${gains.length - worse - better}; on average ${mean < 0 ? "−" : "+"}${Math.abs(mean).toFixed(2)}.`
        : "");
    list.start = first + 1;
    list.replaceChildren(...found.slice(first, first + PAGE).map((i) => sentence(i, result)));
    const turn = (text, page) =>
      make("button", { type: "button", disabled: page < 0 || page * PAGE >= found.length, click: () => change({ page: String(page) }, true) }, text);
    const page = first / PAGE;
    const range = found.length ? `${first + 1} to ${Math.min(first + PAGE, found.length)} of ${found.length}` : "none";
    pages.replaceChildren(turn("Previous", page - 1), make("span", {}, range), turn("Next", page + 1));
  }

  function change(values, toTop = false) {
    Object.assign(state, { page: "0" }, values);
    settle();
    if ("a" in values || "b" in values) build();
    const set = Object.entries(state).filter(([key, value]) => value !== DEFAULTS[key]);
    history.replaceState(null, "", `#sentences?${new URLSearchParams(set)}`);
    show();
    if (toTop) {
      list.focus({ preventScroll: true });
      status.scrollIntoView({ block: "start" });
    }
  }

  function build() {
    const focused = [...controls.querySelectorAll("select, input, button")].indexOf(document.activeElement);
    const names = block.outputs.map((one) => [one.name, one.name]);
    const entries = (table) => Object.entries(table);
    const pick = (label, key, options) => choice(label, options, state[key], (value) => change({ [key]: value }));
    const own = Object.entries(block.outputs[output(state.a)].behaviour);
    const kinds = own.map(([kind, lines]) => [kind, `${inWords(kind)} (${lines.length})`]);
    const sorts = entries(SORTS).filter(([key]) => block.metrics.length || ["longest", "shortest", "findings", "line"].includes(key));
    const input = make("input", { type: "search", value: state.find, input: () => change({ find: input.value }) });
    const regex = make("input", { type: "checkbox", checked: state.regex === "1", change: () => change({ regex: regex.checked ? "1" : "" }) });
    const swap = () => change({ a: state.b, b: state.a });
    controls.replaceChildren(
      scripts.length > 1 ? choice("Test set", scripts.map((one) => [one.dataset.key, one.dataset.title]), state.at, (at) => open({ at })) : "",
      pick("System A", "a", names),
      make("button", { type: "button", click: swap, "aria-label": "Swap A and B", title: "Swap A and B" }, "⇄"),
      pick("System B", "b", names),
      block.metrics.length > 1 ? pick("Metric", "metric", block.metrics.map((one) => [one.name, one.label])) : "",
      pick("Sort by", "sort", sorts),
      kinds.length ? pick("Behaviour of A", "kind", [["", "all"], ["any", "anything odd"], ...kinds]) : "",
      pick("Mark", "marks", entries(MARKS)),
      make(
        "div",
        { class: "search" },
        field("Search", input, "field wide"),
        pick("in", "where", entries(PLACES)),
        make("label", { class: "check" }, regex, "regular expression"),
      ),
    );
    controls.querySelectorAll("select, input, button")[focused]?.focus();
  }

  async function open(values) {
    Object.assign(state, values);
    const script = scripts.find((one) => one.dataset.key === state.at) ?? scripts[0];
    state.at = script.dataset.key;
    if (opened !== script) {
      status.textContent = "Opening …";
      block = await unpacked(script);
      opened = script;
    }
    settle();
    build();
    show();
  }

  place.append(controls, status, list, pages);
  place.hidden = false;
  for (const fixed of all(".without-scripts")) fixed.hidden = true;

  /** "#sentences?a=…" is what a link asks for; all that it leaves open is as at first. */
  async function follow() {
    const [target, query] = location.hash.split("?");
    if (target !== "#sentences" || query === undefined) return false;
    await open({ ...DEFAULTS, ...Object.fromEntries(new URLSearchParams(query)) });
    place.closest("section").scrollIntoView();
    return true;
  }
  addEventListener("hashchange", follow);
  const near = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    near.disconnect();
    if (!opened) open({});
  }, { rootMargin: "600px" });
  follow().then((asked) => asked || near.observe(place));
  for (const cell of all("[data-see]")) {
    const link = make("a", { href: `#sentences?${cell.dataset.see}`, title: "These sentences" }, ...cell.childNodes);
    cell.replaceChildren(link);
  }
}

const place = document.getElementById("browser");
const scripts = all("script[data-key]");
if (place && scripts.length && "DecompressionStream" in window) browser(place, scripts);
