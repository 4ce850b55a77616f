// The Model tab: which model answers, since when and why, its scores, and its card.

import { byId, make, say } from "./dom.js";
import { arrange, change, written } from "./metrics.js";
import { renderMarkdown } from "./markdown.js";

const SOURCES = {
  registry: "the registry's champion",
  released: "the released model that comes with the project",
  bundle: "the bundle that the settings name",
};

/** Start the tab; `learn` asks the server for what it says of its model. */
export function startModel(learn) {
  const refresh = async () => {
    say(byId("model-status"), "Asking the server …");
    try {
      const facts = await learn();
      byId("model-facts").replaceChildren(...sections(facts));
      say(byId("model-status"), `As of ${new Date().toLocaleTimeString("en-GB")}.`);
    } catch (problem) {
      say(byId("model-status"), problem.message, true);
    }
  };
  byId("model-refresh").addEventListener("click", refresh);
  return { onShow: refresh };
}

function sections(facts) {
  return [identity(facts), decision(facts), scores(facts), card(facts)];
}

function section(title, ...children) {
  return make("section", { className: "block" }, make("h2", { textContent: title }), ...children);
}

function identity(facts) {
  const since = facts.since ? new Date(facts.since) : null;
  const rows = [
    ["Name", facts.name],
    ["Version", facts.version],
    ["Comes from", SOURCES[facts.source] ?? facts.source],
    ["Serves since", since && !Number.isNaN(since.valueOf()) ? whenWritten(since) : "not known"],
    ["SHA-256", make("code", { textContent: facts.sha256 })],
    ["Emotions", facts.classes.join(", ")],
    ["Uncertain", `below a confidence of ${Math.round(100 * facts.threshold)}%`],
    ["Limits of a picture", limitsOf(facts.limits)],
    ["MLflow", linkTo(facts.mlflow)],
  ];
  return section(
    `${facts.name}, version ${facts.version}`,
    make(
      "dl",
      { className: "facts" },
      ...rows.map(([name, value]) => make("div", {}, make("dt", { textContent: name }), make("dd", {}, value))),
    ),
  );
}

const whenWritten = (date) => date.toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" });

function limitsOf(limits) {
  const sizes = [
    [limits?.max_file_bytes, (most) => `${(most / 1e6).toFixed(0)} MB`],
    [limits?.max_pixels, (most) => `${(most / 1e6).toFixed(0)} million pixels`],
    [limits?.max_faces, (most) => `${most} faces`],
  ];
  return (
    sizes
      .filter(([most]) => most)
      .map(([most, write]) => write(most))
      .join(", ") || "not known"
  );
}

/** Return a link only where the address is one of the web: nothing else may be opened from here. */
function linkTo(address) {
  const parsed = address && URL.canParse(address) ? new URL(address) : null;
  if (!parsed || !["http:", "https:"].includes(parsed.protocol)) return address || "not linked";
  return make("a", {
    href: parsed.href,
    target: "_blank",
    rel: "noreferrer noopener",
    textContent: "Open the run in MLflow",
  });
}

function decision({ decision: last }) {
  if (!last)
    return section("Last decision", make("p", { textContent: "The server knows of no decision on this model." }));
  const outcome = make("p", {}, make("strong", { textContent: last.promoted ? "Promoted." : "Not promoted." }));
  return section(
    "Last decision",
    outcome,
    make("ul", {}, ...last.reasons.map((reason) => make("li", { textContent: reason }))),
  );
}

function scores({ metrics, previous }) {
  const rows = arrange(metrics, previous?.metrics);
  if (!rows.length)
    return section("Test figures", make("p", { textContent: "The server has no figures of this model." }));
  const main = rows.filter(
    ({ subset, metric }) => /^test(_tta)?$/.test(subset || metric.split("_")[0]) && !/_(low|high)$/.test(metric),
  );
  const others = rows.filter((row) => !main.includes(row));
  const against = previous
    ? `The columns “change” are against version ${previous.version}, the champion before.`
    : "The server knows of no champion before this one.";
  const note = make("p", {
    className: "quiet",
    textContent: `Clean: without the test faces that also came as training. ${against}`,
  });
  const more = others.length
    ? make(
        "details",
        {},
        make("summary", { textContent: `All other figures (${others.length})` }),
        scoreTable(others, previous, "All other figures"),
      )
    : null;
  return section("Test figures", note, main.length ? scoreTable(main, previous, "Test figures") : null, more);
}

function scoreTable(rows, previous, label) {
  const head = ["figure", "all", ...(previous ? ["change"] : []), "clean", ...(previous ? ["change"] : [])];
  const body = rows.map((row) => {
    const name = [row.subset === "test" ? "" : row.subset, row.metric].filter(Boolean).join(" / ").replaceAll("_", " ");
    const pair = (now, before) => [written(row.metric, now), ...(previous ? [change(row.metric, now, before)] : [])];
    return [name.replace("f1", "F1"), ...pair(row.all, row.before), ...pair(row.clean, row.cleanBefore)];
  });
  const cell = (tag, text, column) =>
    make(tag, { className: column ? "number" : "", textContent: text, ...(tag === "th" ? { scope: "col" } : {}) });
  const table = make(
    "table",
    {},
    make("thead", {}, make("tr", {}, ...head.map((text, column) => cell("th", text, column)))),
    make("tbody", {}, ...body.map((row) => make("tr", {}, ...row.map((text, column) => cell("td", text, column))))),
  );
  return make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": label }, table);
}

function card({ card: text }) {
  if (!text) return section("Model card", make("p", { textContent: "This model has no card." }));
  const [, title, body] = /^# +(.*)\n([^]*)$/.exec(text) ?? [null, "Model card", text];
  return make("section", { className: "block card" }, ...renderMarkdown(`# ${title}\n${body}`, 2));
}
