// Tables: rows as CSV, as a table on the page, and as a file to keep.

import { make } from "./dom.js";

const FORMULA = /^[=+\-@\t\r]/; // a spreadsheet would compute a cell that begins so

/** Return rows of cells as CSV. Text that a spreadsheet would take for a formula gets an apostrophe before it. */
export function toCsv(rows) {
  const cell = (value) => {
    const text = typeof value === "string" && FORMULA.test(value) ? `'${value}` : String(value ?? "");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

export const FACE_COLUMNS = ["face", "emotion", "confidence", "uncertain", "x", "y", "width", "height", "score"];

/** Return a face's cells under FACE_COLUMNS and these classes. */
export const faceCells = (number, emotion, face, classes) => [
  number,
  emotion,
  rounded(face.confidence),
  String(face.uncertain),
  ...["x", "y", "width", "height"].map((name) => rounded(face.box[name], 1)),
  rounded(face.score),
  ...classes.map((name) => rounded(face.probabilities[name])),
];

/** Return a table element; columns whose cells are numbers stand to the right. */
export function toTable([head, ...rows], caption) {
  const align = (value) => (typeof value === "number" ? "number" : "");
  const header = make(
    "tr",
    {},
    ...head.map((name, column) => make("th", { scope: "col", className: align(rows[0]?.[column]), textContent: name })),
  );
  const body = rows.map((row) =>
    make("tr", {}, ...row.map((value) => make("td", { className: align(value), textContent: String(value ?? "–") }))),
  );
  return make(
    "table",
    {},
    make("caption", { className: "unseen", textContent: caption }),
    make("thead", {}, header),
    make("tbody", {}, ...body),
  );
}

/** Let the browser keep a text as a file. */
export function download(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** Return a number with at most this many digits after the point, as a number. */
export const rounded = (value, digits = 4) => Number(value.toFixed(digits));
