// Emotions: their order, colours and words, the same as in the project's plots.

const COLORS = ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ece133", "#56b4e9", "#ca9161", "#fbafe4"];
const GREY = "#949494"; // uncertain
let classes = [];

/** Set the order of the classes, which decides their colours. */
export function setClasses(names) {
  classes = [...names];
}

/** Return the colour of an emotion; what is not a class is grey. */
export function colorOf(emotion) {
  const position = classes.indexOf(emotion);
  return position < 0 ? GREY : COLORS[position % COLORS.length];
}

/** Return black or white, whichever has more contrast (WCAG 2) to a colour such as "#0173b2". */
export function inkOn(color) {
  const [red, green, blue] = [1, 3, 5].map((start) => {
    const level = Number.parseInt(color.slice(start, start + 2), 16) / 255;
    return level <= 0.04045 ? level / 12.92 : ((level + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000000" : "#ffffff";
}

/** Return the probabilities as [emotion, share] in the order of the classes. */
export function inOrder(probabilities) {
  const known = classes.filter((name) => name in probabilities);
  const others = Object.keys(probabilities).filter((name) => !known.includes(name));
  return [...known, ...others].map((name) => [name, probabilities[name]]);
}

/** Return the most likely emotion of a face. */
export function likeliest(face) {
  return inOrder(face.probabilities).reduce((best, each) => (each[1] > best[1] ? each : best), ["", -1])[0];
}

export const percent = (share) => `${Math.round(100 * share)}%`;

/** Return what is said of a face: "happy 87%", or "uncertain (happy 35%)". */
export function labelOf(face) {
  const guess = `${likeliest(face)} ${percent(face.confidence)}`;
  return face.uncertain ? `uncertain (${guess})` : guess;
}

/** Return the same for a small place: "happy 87%", or "happy? 35%". */
export const shortLabelOf = (face) => `${likeliest(face)}${face.uncertain ? "?" : ""} ${percent(face.confidence)}`;

export const faceColor = (face) => (face.uncertain ? GREY : colorOf(likeliest(face)));
