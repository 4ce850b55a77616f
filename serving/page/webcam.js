// The Webcam tab: one frame under way at most, always the newest; faces keep their numbers.

import { pause, predict } from "./api.js";
import { byId, count, say } from "./dom.js";
import { labelOf } from "./emotions.js";
import { drawFaces, faceEntry } from "./faces.js";
import { takeFrame } from "./frames.js";
import { Tracker } from "./tracks.js";

const LONGEST = 640; // pixels of a frame's longer side
const LIST_SECONDS = 0.2; // between two redrawings of the list beside the picture
const SPEECH_SECONDS = 3; // between two sentences to a screen reader
const CAMERA = { video: { width: { ideal: 1280 }, height: { ideal: 720 } }, audio: false };

/** Start the tab; `facts.threshold` is the confidence below which an answer is uncertain. */
export function startWebcam(facts) {
  let running = null; // an AbortController while the camera is on

  const stop = (sentence = "The camera is off.", isProblem = false) => {
    running?.abort();
    running = null;
    const video = byId("webcam-video");
    video.srcObject?.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
    forget();
    say(byId("webcam-status"), sentence, isProblem);
  };
  const start = async () => {
    const own = (running = new AbortController());
    byId("webcam-start").disabled = true;
    say(byId("webcam-status"), "Waiting for the camera …");
    try {
      await openCamera(own.signal);
      showLive(true);
      await watch(new Tracker({ threshold: facts.threshold }), own.signal);
    } catch (error) {
      if (!own.signal.aborted) stop(sentenceOf(error), true);
    }
  };

  byId("webcam-start").addEventListener("click", start);
  byId("webcam-stop").addEventListener("click", () => {
    stop();
    byId("webcam-start").focus();
  });
  byId("webcam-mirror").addEventListener("change", mirror);
  mirror();
  return { onHide: () => running && stop("The camera was switched off when you left this tab.") };
}

function mirror() {
  byId("webcam-video").classList.toggle("mirrored", byId("webcam-mirror").checked);
}

function showLive(isLive) {
  byId("webcam-live").hidden = !isLive;
  byId("webcam-stop").hidden = !isLive;
  byId("webcam-start").hidden = isLive;
  byId("webcam-start").disabled = false;
  byId("webcam-notice").open = !isLive;
  if (isLive) byId("webcam-stop").focus();
}

function forget() {
  showLive(false);
  byId("webcam-faces").replaceChildren();
  byId("webcam-stage").querySelector(".overlay").replaceChildren();
  for (const name of ["rate", "latency", "count"]) byId(`webcam-${name}`).textContent = "–";
}

async function openCamera(signal) {
  if (!navigator.mediaDevices) {
    throw new Error(
      "The browser gives a camera only to pages on localhost or over HTTPS. Open the page at one of them.",
    );
  }
  const stream = await navigator.mediaDevices.getUserMedia(CAMERA);
  if (signal.aborted) {
    // stopped while the browser asked for permission
    stream.getTracks().forEach((track) => track.stop());
    signal.throwIfAborted();
  }
  const video = byId("webcam-video");
  video.srcObject = stream;
  await video.play();
}

function sentenceOf(error) {
  const causes = {
    NotAllowedError: "The camera was not allowed. Allow it in the browser's address bar and start again.",
    NotFoundError: "No camera was found. Connect one and start again.",
    NotReadableError: "The camera is used by another program. Close that and start again.",
  };
  return causes[error.name] ?? error.message;
}

/** Send frame after frame, each the newest when the answer before it is there. */
async function watch(tracker, signal) {
  const canvas = document.createElement("canvas");
  const video = byId("webcam-video");
  const done = []; // {at, took} of the answers of the last second or so, in milliseconds
  const said = { at: 0, list: 0, sentence: "" };
  let refused = false;
  for (;;) {
    await nextFrame(video, signal);
    const frame = await takeFrame(video, canvas, LONGEST);
    const began = performance.now();
    try {
      const answer = await predict(frame, signal);
      signal.throwIfAborted();
      const now = performance.now();
      done.push({ at: now, took: now - began });
      while (done.length > 2 && now - done[0].at > 2000) done.shift();
      show(tracker.update(answer.faces, began / 1000), answer, done, said);
      refused = false;
    } catch (problem) {
      if (signal.aborted || problem.retryAfter == null || refused) throw problem;
      refused = true; // once: then the server is too busy for a webcam
      say(byId("webcam-status"), `The server is busy. Trying again in ${problem.retryAfter} s …`);
      await pause(problem.retryAfter, signal);
    }
  }
}

function nextFrame(video, signal) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    video.srcObject.getVideoTracks()[0].onended = () => reject(new Error("The camera was disconnected."));
    video.requestVideoFrameCallback(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    });
  });
}

function show(faces, answer, done, said) {
  const named = faces.map((face) => ({ ...face, name: `#${face.id}` }));
  const options = { mirrored: byId("webcam-mirror").checked, bars: byId("webcam-bars").checked };
  drawFaces(byId("webcam-stage").querySelector(".overlay"), named, answer, options);
  const last = done.at(-1);
  if (last.at - said.list >= 1000 * LIST_SECONDS) {
    said.list = last.at;
    byId("webcam-faces").replaceChildren(...named.map((face) => faceEntry(`Face ${face.name}`, face, null, answer)));
    const seconds = (last.at - done[0].at) / 1000;
    byId("webcam-rate").textContent = seconds > 0 ? ((done.length - 1) / seconds).toFixed(1) : "–";
    const sorted = done.map(({ took }) => took).sort((one, other) => one - other);
    byId("webcam-latency").textContent = `${Math.round(sorted[sorted.length >> 1])} ms`;
    byId("webcam-count").textContent = String(faces.length);
  }
  speak(named, answer.too_small, last.at, said);
}

/** Say what changed, but not more often than a person can listen to. */
function speak(faces, small, now, said) {
  const left = small ? ` ${count(small, "face is", "faces are")} too small to be judged; come closer.` : "";
  const seen = faces.map((face) => `${face.name} ${face.uncertain ? "uncertain" : labelOf(face).split(" ")[0]}`);
  const sentence = (faces.length ? `${count(faces.length, "face")}: ${seen.join(", ")}.` : "No face found.") + left;
  if (sentence === said.sentence || now - said.at < 1000 * SPEECH_SECONDS) return;
  Object.assign(said, { sentence, at: now });
  say(byId("webcam-status"), sentence);
}
