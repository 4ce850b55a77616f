// The Video tab: a local file, sampled frame by frame, as a timeline of each face.

import { pause, predict } from "./api.js";
import { scaled } from "./boxes.js";
import { byId, count, say } from "./dom.js";
import { drawFaces } from "./faces.js";
import { takeFrame } from "./frames.js";
import { takeFiles } from "./photo.js";
import { pointAt, seriesRows, tracksOf } from "./series.js";
import { download, toCsv } from "./table.js";
import { drawTimeline } from "./timeline.js";
import { Tracker } from "./tracks.js";

const LONGEST = 1280; // pixels of a frame's longer side
const UNREADABLE =
  "This browser cannot decode that video. Try H.264 in MP4 or VP9 in WebM, or predict it with " +
  "run.py --pipeline inference.";

/** Start the tab; `facts.threshold` is the confidence below which an answer is uncertain. */
export function startVideo(facts) {
  const shown = { file: null, address: null, samples: [], tracks: [], step: 1, move: () => {} };
  let running = null;

  const redraw = () => {
    const player = byId("video-player");
    shown.move(player.currentTime);
    drawNow(player, shown);
  };
  const choose = async ([file]) => {
    if (!file) return;
    running?.abort();
    running = null;
    clear(shown);
    try {
      await open(file, shown);
      say(byId("video-status"), `${file.name} is ready.`);
      byId("video-start").disabled = false;
    } catch (error) {
      say(byId("video-status"), error.message, true);
    }
  };
  const start = async () => {
    const own = (running = new AbortController());
    showBusy(true);
    try {
      await sample(shown, facts, own.signal);
      say(byId("video-status"), summary(shown, ""));
    } catch (error) {
      if (running !== own) return; // another video was chosen
      if (own.signal.aborted) say(byId("video-status"), summary(shown, "Cancelled. "));
      else say(byId("video-status"), `${error.message} ${summary(shown, "")}`, true);
    }
    running = null;
    showBusy(false);
    finish(shown, redraw);
  };

  takeFiles(byId("video-drop"), byId("video-file"), choose);
  byId("video-start").addEventListener("click", start);
  byId("video-cancel").addEventListener("click", () => running?.abort());
  byId("video-csv").addEventListener("click", () =>
    download(`${shown.file.name}.csv`, "text/csv", toCsv(seriesRows(shown.samples))),
  );
  for (const event of ["timeupdate", "seeked"]) byId("video-player").addEventListener(event, redraw);
  new ResizeObserver(redraw).observe(byId("video-player"));
  return { onHide: () => byId("video-player").pause() };
}

function clear(shown) {
  if (shown.address) URL.revokeObjectURL(shown.address);
  Object.assign(shown, { file: null, address: null, samples: [], tracks: [], move: () => {} });
  byId("video-timeline").replaceChildren();
  byId("video-stage").hidden = true;
  byId("video-csv").hidden = true;
  byId("video-start").disabled = true;
  showBusy(false);
}

function showBusy(isBusy) {
  byId("video-start").hidden = isBusy;
  byId("video-rate").disabled = isBusy;
  byId("video-cancel").hidden = !isBusy;
  byId("video-progress").hidden = !isBusy;
  if (isBusy) byId("video-cancel").focus();
}

async function open(file, shown) {
  Object.assign(shown, { file, address: URL.createObjectURL(file) });
  const player = byId("video-player");
  player.src = shown.address;
  shown.duration = await readDuration(player);
  byId("video-stage").hidden = false;
}

/** Return a video's seconds; a recording that does not say so is sought to its end first. */
async function readDuration(video) {
  await happens(video, "loadedmetadata");
  if (video.duration === Infinity) {
    video.currentTime = 1e9;
    await happens(video, "seeked");
    video.currentTime = 0;
  }
  if (!video.videoWidth || !(video.duration > 0)) throw new Error(UNREADABLE);
  return video.duration;
}

function happens(video, name) {
  return new Promise((resolve, reject) => {
    const end = (settle, value) => {
      video.removeEventListener(name, good);
      video.removeEventListener("error", bad);
      settle(value);
    };
    const good = () => end(resolve);
    const bad = () => end(reject, new Error(UNREADABLE));
    video.addEventListener(name, good);
    video.addEventListener("error", bad);
  });
}

/** Ask the server about frame after frame; a second element is sought, so that the player stays free. */
async function sample(shown, facts, signal) {
  const video = document.createElement("video");
  Object.assign(video, { muted: true, preload: "auto", src: shown.address });
  try {
    await happens(video, "loadeddata");
    await sampleAll(video, shown, facts, signal);
  } finally {
    video.removeAttribute("src"); // gives its memory back
    video.load();
  }
}

async function sampleAll(video, shown, facts, signal) {
  const rate = Number(byId("video-rate").value);
  const all = Math.max(1, Math.ceil(shown.duration * rate - 1e-6));
  const tracker = new Tracker({ threshold: facts.threshold });
  const canvas = document.createElement("canvas");
  Object.assign(shown, { samples: [], tracks: [], step: 1 / rate, all });
  for (let number = 0; number < all; number += 1) {
    const seconds = number / rate;
    video.currentTime = seconds;
    await happens(video, "seeked");
    signal.throwIfAborted();
    const answer = await patiently(await takeFrame(video, canvas, LONGEST), signal);
    signal.throwIfAborted();
    const size = { width: video.videoWidth, height: video.videoHeight };
    const faces = answer.faces.map((face) => ({ ...face, box: scaled(face.box, answer, size) }));
    shown.samples.push({ seconds, faces: tracker.update(faces, seconds), small: answer.too_small });
    byId("video-progress").value = (number + 1) / all;
    const isTold = number % Math.max(1, Math.round(all / 10)) === 0; // ten times in all
    if (isTold) say(byId("video-status"), `Frame ${number + 1} of ${all} …`);
  }
}

/** Predict a frame; where the server is busy, wait as long as it says and try once more. */
async function patiently(frame, signal) {
  try {
    return await predict(frame, signal);
  } catch (problem) {
    if (signal.aborted || problem.retryAfter == null) throw problem;
    await pause(problem.retryAfter, signal);
    return predict(frame, signal);
  }
}

function summary({ samples, all }, before) {
  const faces = new Set(samples.flatMap((each) => each.faces.map((face) => face.id))).size;
  const without = samples.filter((each) => !each.faces.length).length;
  const small = samples.reduce((sum, each) => sum + each.small, 0);
  const done =
    samples.length === all ? count(samples.length, "frame") : `${samples.length} of ${count(all ?? 0, "frame")}`;
  return (
    `${before}${done} done: ${faces ? count(faces, "face") : "no face found"}` +
    `${without && faces ? `, ${count(without, "frame")} without a face` : ""}` +
    `${small ? `, ${count(small, "face")} too small to be judged` : ""}.`
  );
}

function finish(shown, redraw) {
  shown.tracks = tracksOf(shown.samples);
  byId("video-csv").hidden = !shown.samples.length;
  if (!byId("video-csv").hidden) byId("video-csv").focus();
  const player = byId("video-player");
  const jump = (seconds) => {
    player.currentTime = seconds;
    shown.move(seconds);
  };
  shown.move = drawTimeline(byId("video-timeline"), shown.tracks, { duration: shown.duration, step: shown.step, jump });
  redraw();
}

function drawNow(player, { tracks, step }) {
  const points = tracks.map((track) => pointAt(track, player.currentTime, step)).filter(Boolean);
  const named = points.map((face) => ({ ...face, name: `#${face.id}` }));
  const size = { width: player.videoWidth || 1, height: player.videoHeight || 1 };
  drawFaces(byId("video-stage").querySelector(".overlay"), named, size, { bars: false });
}
