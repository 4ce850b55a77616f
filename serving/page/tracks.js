// Tracks: which face of a frame is which face of the frame before, and its probabilities smoothed over time.

import { overlap } from "./boxes.js";

const LEAST_OVERLAP = 0.3; // intersection over union from which two boxes are one face
const FORGET_SECONDS = 1; // a face that was out of view for longer, and in MISSES answers, gets a new number
const MISSES = 2;
const SMOOTH_SECONDS = 0.5; // the time in which an old probability loses 63% of its weight

/** Gives faces numbers that stay, by the overlap of their boxes from frame to frame. */
export class Tracker {
  constructor({ forget = FORGET_SECONDS, smooth = SMOOTH_SECONDS, threshold = 0 } = {}) {
    Object.assign(this, { forget, smooth, threshold, tracks: [], next: 1 });
  }

  /** Return the faces of a frame at `seconds` with their `id`; their probabilities are smoothed over the track. */
  update(faces, seconds) {
    this.tracks = this.tracks.filter((track) => seconds - track.seen <= this.forget || track.misses < MISSES);
    const matches = match(this.tracks, faces);
    for (const track of this.tracks) track.misses += 1;
    return faces.map((face, position) => {
      const track = matches.get(position) ?? this.begin(face, seconds);
      track.probabilities = this.blend(track, face.probabilities, seconds);
      Object.assign(track, { box: face.box, seen: seconds, misses: 0 });
      return { ...face, id: track.id, ...judge(track.probabilities, this.threshold) };
    });
  }

  begin(face, seconds) {
    const track = { id: this.next++, probabilities: face.probabilities, seen: seconds };
    this.tracks.push(track);
    return track;
  }

  blend(track, probabilities, seconds) {
    const share = this.smooth > 0 ? Math.exp(-Math.max(0, seconds - track.seen) / this.smooth) : 0;
    const mixed = Object.entries(probabilities).map(([name, value]) => [
      name,
      share * (track.probabilities[name] ?? value) + (1 - share) * value,
    ]);
    return Object.fromEntries(mixed);
  }
}

/** Return the track of each face by the face's position: the pairs that overlap most first, each used once. */
function match(tracks, faces) {
  const pairs = tracks.flatMap((track) =>
    faces.map((face, position) => ({ track, position, share: overlap(track.box, face.box) })),
  );
  const matches = new Map();
  const taken = new Set();
  for (const { track, position, share } of pairs.sort((one, other) => other.share - one.share)) {
    if (share < LEAST_OVERLAP || taken.has(track) || matches.has(position)) continue;
    taken.add(track);
    matches.set(position, track);
  }
  return matches;
}

/** Return probabilities with the emotion, confidence and uncertainty that follow from them. */
export function judge(probabilities, threshold) {
  const [emotion, confidence] = Object.entries(probabilities).reduce((best, each) => (each[1] > best[1] ? each : best));
  return { probabilities, emotion, confidence, uncertain: confidence < threshold };
}
