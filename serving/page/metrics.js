// Metrics: the scores of a model as rows, with all test faces and the clean ones side by side.

/** Return [subset, metric] of a name such as "test_clean/accuracy"; the subset is "" where the name has none. */
function split(name) {
  const at = name.lastIndexOf("/");
  return at < 0 ? ["", name] : [name.slice(0, at), name.slice(at + 1)];
}

const withoutClean = (name) => name.replace(/[_ ]?clean/, "").replace(/^[_/ ]+/, "");

/**
 * Return rows {subset, metric, all, clean, before, cleanBefore} of the metrics of a model and of the one before it.
 * A number is in the column "clean" where "clean" is in its name. Missing numbers are undefined.
 */
export function arrange(metrics, previous = {}) {
  const rows = new Map();
  const put = (numbers, all, clean) => {
    for (const [name, value] of Object.entries(numbers)) {
      const key = withoutClean(name);
      const [subset, metric] = split(key);
      if (!rows.has(key)) rows.set(key, { subset, metric });
      rows.get(key)[name.includes("clean") ? clean : all] = value;
    }
  };
  put(metrics, "all", "clean");
  put(previous, "before", "cleanBefore");
  return [...rows.values()];
}

/** Return a score as a reader expects it: shares as percent, counts as they are, the rest with four digits. */
export function written(metric, value) {
  if (value === undefined || value === null) return "–";
  if (/accuracy|precision|recall|f1/.test(metric) && value >= 0 && value <= 1) return `${(100 * value).toFixed(2)}%`;
  return Number.isInteger(value) ? value.toLocaleString("en") : value.toFixed(4);
}

/** Return how a score changed, with its sign; an empty text where one of the two is missing. */
export function change(metric, now, before) {
  if (typeof now !== "number" || typeof before !== "number") return "";
  const share = /accuracy|precision|recall|f1/.test(metric);
  const difference = share ? 100 * (now - before) : now - before;
  const digits = share ? 2 : Number.isInteger(difference) ? 0 : 4;
  const sign = difference > 0 ? "+" : difference < 0 ? "−" : "±";
  return `${sign}${Math.abs(difference).toFixed(digits)}${share ? " points" : ""}`;
}
