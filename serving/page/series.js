// Series: what the sampled frames of a video say of each face over time.

import { inOrder } from "./emotions.js";
import { FACE_COLUMNS, faceCells, rounded } from "./table.js";

const SLACK = 0.001; // seconds by which a browser may seek beside the wanted one

/** Return the faces of all samples as tracks, in the order in which they appear: {id, points: [face with seconds]}. */
export function tracksOf(samples) {
  const tracks = new Map();
  for (const { seconds, faces } of samples) {
    for (const face of faces) {
      if (!tracks.has(face.id)) tracks.set(face.id, { id: face.id, points: [] });
      tracks.get(face.id).points.push({ ...face, seconds });
    }
  }
  return [...tracks.values()];
}

/** Return each emotion's mean probability over a track, the highest first. */
export function meansOf(track) {
  const sums = {};
  for (const { probabilities } of track.points) {
    for (const [name, share] of inOrder(probabilities)) sums[name] = (sums[name] ?? 0) + share / track.points.length;
  }
  return Object.entries(sums).sort((one, other) => other[1] - one[1]);
}

/** Return one row a face and sampled frame, under a head; a frame without a face is a row too. */
export function seriesRows(samples) {
  const first = samples.find(({ faces }) => faces.length);
  const classes = first ? inOrder(first.faces[0].probabilities).map(([name]) => name) : [];
  const head = ["seconds", ...FACE_COLUMNS, ...classes];
  const empty = new Array(head.length - 1).fill("");
  const rows = samples.flatMap(({ seconds, faces }) =>
    faces.length
      ? faces.map((face) => [rounded(seconds, 3), ...faceCells(face.id, face.emotion, face, classes)])
      : [[rounded(seconds, 3), ...empty]],
  );
  return [head, ...rows];
}

/** Return a track's point at these seconds, or null; a point stands for the `step` seconds from its sample on. */
export function pointAt(track, seconds, step) {
  const point = track.points.findLast((each) => each.seconds <= seconds + SLACK);
  return point && seconds <= point.seconds + step + SLACK ? point : null;
}
