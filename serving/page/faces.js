// Faces: their frames over a picture, and the list of them beside it.

import { placeBeside, scaled } from "./boxes.js";
import { colorOf, faceColor, inOrder, inkOn, labelOf, percent, shortLabelOf } from "./emotions.js";
import { make } from "./dom.js";

const MOST_PANELS = 8; // more of them would hide the picture; the list has the bars of every face
const LINE = 13; // pixels of one bar of a panel
const PANEL_WIDTH = 132;
const LEAST_PICTURE = 480; // pixels of width below which the panels would hide it
const LETTER = 7.5; // pixels of width, about, of a letter on a chip

/** Return the bars of a face, one a class. */
export function barsOf(face) {
  const top = Math.max(...Object.values(face.probabilities));
  return make(
    "ul",
    { className: "bars" },
    ...inOrder(face.probabilities).map(([emotion, share]) => {
      const bar = make("span", { className: "bar" });
      bar.style.width = `${100 * share}%`;
      bar.style.backgroundColor = colorOf(emotion);
      return make(
        "li",
        { className: share === top ? "likeliest" : "" },
        make("span", { className: "name", textContent: emotion }),
        make("span", { className: "track", "aria-hidden": "true" }, bar),
        make("span", { className: "share", textContent: percent(share) }),
      );
    }),
  );
}

/** Return the entry of a face in the list; `picture` is an image or a video from which its portrait is cut. */
export function faceEntry(name, face, picture, size) {
  const title = make("h3", { textContent: `${name}: ${labelOf(face)}` });
  return make(
    "article",
    { className: "face" },
    picture ? portrait(picture, face.box, size) : null,
    make("div", {}, title, barsOf(face)),
  );
}

function portrait(picture, box, size) {
  const canvas = make("canvas", { width: 96, height: 96, "aria-hidden": "true" });
  const natural = {
    width: picture.naturalWidth || picture.videoWidth,
    height: picture.naturalHeight || picture.videoHeight,
  };
  const cut = scaled(box, size, natural);
  const side = Math.max(cut.width, cut.height) * 1.15;
  const [x, y] = [cut.x + (cut.width - side) / 2, cut.y + (cut.height - side) / 2];
  canvas.getContext("2d").drawImage(picture, x, y, side, side, 0, 0, 96, 96);
  return canvas;
}

/**
 * Draw the frames of the faces over a picture; `size` is that of the picture to which the boxes belong.
 * A face's `name` stands at its frame. Bars are left out where they would hide the picture.
 */
export function drawFaces(overlay, faces, size, { mirrored = false, bars = true } = {}) {
  const bounds = { width: overlay.clientWidth, height: overlay.clientHeight };
  const frames = faces.map((face) => scaled(face.box, size, bounds, mirrored));
  const marks = faces.map((face, position) => frameOf(face, frames[position], bounds));
  const withBars = bars && faces.length <= MOST_PANELS && bounds.width >= LEAST_PICTURE;
  overlay.replaceChildren(...marks, ...(withBars ? panels(faces, frames, bounds) : []));
}

function frameOf(face, frame, bounds) {
  const color = faceColor(face);
  const words = `${face.name} ${shortLabelOf(face)}`;
  const fits = LETTER * words.length < Math.max(2 * frame.width, 60);
  const chip = make("span", { className: "chip", textContent: fits ? words : face.name });
  Object.assign(chip.style, { backgroundColor: color, color: inkOn(color) });
  const mark = make("div", { className: `frame${face.uncertain ? " uncertain" : ""}` }, chip);
  place(mark, frame);
  mark.style.borderColor = color;
  mark.classList.toggle("label-inside", frame.y < 22);
  mark.classList.toggle("label-left", frame.x > bounds.width / 2);
  return mark;
}

function panels(faces, frames, bounds) {
  const taken = [];
  return faces.map((face, position) => {
    const size = { width: PANEL_WIDTH, height: LINE * Object.keys(face.probabilities).length + 6 };
    const chips = frames.map(({ x, y, width }) => ({ x, y: y - 22, width: Math.max(width, 90), height: 22 }));
    const others = [...frames.filter((_, other) => other !== position), ...chips, ...taken];
    const box = placeBeside(frames[position], size, bounds, others);
    taken.push(box);
    const panel = make("div", { className: "panel" }, barsOf(face));
    place(panel, box);
    return panel;
  });
}

function place(element, { x, y, width, height }) {
  Object.assign(element.style, { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` });
}
