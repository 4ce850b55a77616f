// Markdown of a model card as elements: headings, lists, tables, code, emphasis. Links, images and HTML stay text.

import { make } from "./dom.js";

const ENTITIES = { "&lt;": "<", "&gt;": ">", "&amp;": "&", "&quot;": '"', "&#39;": "'" };
const INLINE = new RegExp(
  [
    /\\([!-/:-@[-`{-~])/, // a character that is escaped
    /(&(?:lt|gt|amp|quot|#39);)/,
    /`([^`]+)`/,
    /\*\*((?:[^*\\]|\\.)+)\*\*/,
    /\*((?:[^*\\\s]|\\.)(?:[^*\\]|\\.)*)\*/,
  ]
    .map(({ source }) => source)
    .join("|"),
  "g",
);

/** Return the elements of a Markdown text; its headings begin at level `level`. */
export function renderMarkdown(text, level = 3) {
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  const blocks = [];
  while (lines.length) blocks.push(nextBlock(lines, level));
  return blocks.filter(Boolean);
}

function nextBlock(lines, level) {
  const line = lines[0];
  if (!line.trim()) return void lines.shift();
  const heading = /^(#{1,6}) +(.*)$/.exec(lines[0]);
  if (heading) {
    lines.shift();
    return make(`h${Math.min(6, heading[1].length + level - 1)}`, {}, ...inline(heading[2]));
  }
  if (/^```/.test(line)) return code(lines);
  if (line.startsWith("|") && /^\|[\s:|-]+$/.test(lines[1] ?? "")) return table(lines);
  if (/^[-*+] /.test(line)) return list(lines, "ul", /^[-*+] +/);
  if (/^\d{1,9}[.)] /.test(line)) return list(lines, "ol", /^\d{1,9}[.)] +/);
  return make(
    "p",
    {},
    ...inline(take(lines, (each) => each.trim() && !/^(#{1,6} |```|\||[-*+] )/.test(each)).join(" ")),
  );
}

/** Take the first line and those after it for which `belongs` holds. */
function take(lines, belongs) {
  const taken = [lines.shift()];
  while (lines.length && belongs(lines[0])) taken.push(lines.shift());
  return taken;
}

function code(lines) {
  const body = take(lines, (each) => !/^```\s*$/.test(each)).slice(1);
  lines.shift();
  return make("pre", {}, make("code", { textContent: body.join("\n") }));
}

function list(lines, tag, mark) {
  const items = [];
  while (lines.length && mark.test(lines[0])) {
    const item = take(lines, (each) => /^\s+\S/.test(each)).map((each) => each.trim());
    items.push(make("li", {}, ...inline(item.join(" ").replace(mark, ""))));
  }
  return make(tag, {}, ...items);
}

function table(lines) {
  const rows = take(lines, (each) => each.startsWith("|")).map(cells);
  const right = rows[1].map((each) => each.endsWith(":"));
  const row = (texts, tag) =>
    make(
      "tr",
      {},
      ...texts.map((text, column) => make(tag, { className: right[column] ? "number" : "" }, ...inline(text))),
    );
  const made = make(
    "table",
    {},
    make("thead", {}, row(rows[0], "th")),
    make("tbody", {}, ...rows.slice(2).map((each) => row(each, "td"))),
  );
  return make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": rows[0].join(", ") }, made);
}

function cells(line) {
  return line
    .trim()
    .replace(/^\|/, "")
    .replace(/(?<!\\)\|$/, "")
    .split(/(?<!\\)\|/)
    .map((each) => each.trim());
}

function inline(text) {
  const parts = [];
  let at = 0;
  for (const found of text.matchAll(INLINE)) {
    const [whole, escaped, entity, mono, strong, emphasis] = found;
    parts.push(text.slice(at, found.index));
    if (escaped) parts.push(escaped);
    else if (entity) parts.push(ENTITIES[entity]);
    else if (mono) parts.push(make("code", { textContent: mono }));
    else parts.push(make(strong ? "strong" : "em", {}, ...inline(strong ?? emphasis)));
    at = found.index + whole.length;
  }
  parts.push(text.slice(at));
  return parts.filter((part) => part !== "");
}
