// The timeline: for each face a lane of each emotion over the seconds of the video; a click jumps there.

import { colorOf, inOrder, labelOf, percent } from "./emotions.js";
import { count, make } from "./dom.js";
import { meansOf, pointAt } from "./series.js";

const SVG = "http://www.w3.org/2000/svg";
const MOST_TRACKS = 12; // plots on the page; the CSV has all
const HELP = "Each lane is a probability from 0 to 100%. A click or the arrow keys jump to that second.";

/** Draw the tracks into `place`; `jump` gets the second that is clicked. Return what moves the play heads. */
export function drawTimeline(place, tracks, { duration, step, jump }) {
  const longest = [...tracks].sort((one, other) => other.points.length - one.points.length).slice(0, MOST_TRACKS);
  const shown = longest.sort((one, other) => one.id - other.id);
  const plots = shown.map((track) => plotTrack(track, { duration, step, jump }));
  const left = tracks.length - shown.length;
  const note = left
    ? make("p", {
        className: "quiet",
        textContent: `${count(left, "face that was", "faces that were")} seen more shortly: only in the CSV.`,
      })
    : null;
  const help = make("p", { className: "quiet", textContent: HELP });
  place.replaceChildren(...(plots.length ? [help] : []), ...plots.map((plot) => plot.section), ...(note ? [note] : []));
  return (seconds) => plots.forEach((plot) => plot.move(seconds));
}

function plotTrack(track, { duration, step, jump }) {
  const names = inOrder(track.points[0].probabilities).map(([name]) => name);
  const head = make("div", { className: "head" });
  const lanes = names.map((name) => lane(track, name, duration, step));
  const slider = make("div", { className: "plot", role: "slider", tabIndex: 0 }, ...lanes, head);
  slider.setAttribute("aria-label", `Timeline of face ${track.id}`);
  slider.setAttribute("aria-valuemin", "0");
  slider.setAttribute("aria-valuemax", duration.toFixed(2));
  const now = make("p", { className: "now", "aria-hidden": "true" });
  let at = 0;
  const move = (seconds) => {
    at = seconds;
    head.style.left = `${100 * Math.min(1, seconds / duration)}%`;
    const point = pointAt(track, seconds, step);
    now.textContent = `${seconds.toFixed(1)} s: ${point ? labelOf(point) : "not in view"}`;
    slider.setAttribute("aria-valuenow", seconds.toFixed(2));
    slider.setAttribute("aria-valuetext", now.textContent);
  };
  listen(slider, { duration, step, seconds: () => at, jump });
  move(0);
  return { section: sectionOf(track, { names, slider, now, duration }), move };
}

function sectionOf(track, { names, slider, now, duration }) {
  const [first, last] = [track.points[0].seconds, track.points.at(-1).seconds];
  const [[emotion, share]] = meansOf(track);
  const seen = `Seen from ${first.toFixed(1)} s to ${last.toFixed(1)} s in ${count(track.points.length, "frame")}`;
  const facts = `${seen}; on average most likely ${emotion} (${percent(share)}).`;
  const labels = names.map((name) => make("span", { textContent: name }));
  return make(
    "section",
    { className: "track-plot" },
    make("div", { className: "row" }, make("h3", { textContent: `Face ${track.id}` }), now),
    make("p", { className: "quiet", textContent: facts }),
    make(
      "div",
      { className: "lanes" },
      make("div", { className: "names", "aria-hidden": "true" }, ...labels),
      slider,
      axis(duration),
    ),
  );
}

function listen(slider, { duration, step, seconds, jump }) {
  const to = (wanted) => jump(Math.max(0, Math.min(duration, wanted)));
  const pointed = (event) => {
    const { left, width } = slider.getBoundingClientRect();
    to((duration * (event.clientX - left)) / width);
  };
  slider.addEventListener("pointerdown", (event) => {
    slider.setPointerCapture(event.pointerId);
    pointed(event);
  });
  slider.addEventListener("pointermove", (event) => slider.hasPointerCapture(event.pointerId) && pointed(event));
  slider.addEventListener("keydown", (event) => {
    const wanted = {
      ArrowRight: seconds() + step,
      ArrowUp: seconds() + step,
      ArrowLeft: seconds() - step,
      ArrowDown: seconds() - step,
      PageUp: seconds() + 10 * step,
      PageDown: seconds() - 10 * step,
      Home: 0,
      End: duration,
    }[event.key];
    if (wanted === undefined) return;
    event.preventDefault();
    to(wanted);
  });
}

/** Return one emotion's share as an area of steps: each sample stands for the time until the next. */
function lane(track, emotion, duration, step) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${duration} 1`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  const steps = track.points.map(({ seconds, probabilities }) => {
    const top = (1 - probabilities[emotion]).toFixed(4);
    const end = Math.min(duration, seconds + step);
    return `M${seconds.toFixed(3)} 1V${top}H${end.toFixed(3)}V1Z`;
  });
  path.setAttribute("d", steps.join(""));
  path.setAttribute("fill", colorOf(emotion));
  svg.append(path);
  return svg;
}

function axis(duration) {
  const wanted = duration / 6;
  const every = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800].find((size) => size >= wanted) ?? 3600;
  const ticks = [];
  for (let second = 0; second <= duration; second += every) {
    const minutes = Math.floor(second / 60);
    const text = duration < 60 ? `${second} s` : `${minutes}:${String(Math.floor(second % 60)).padStart(2, "0")}`;
    const tick = make("span", { textContent: text });
    tick.style.left = `${(100 * second) / duration}%`;
    ticks.push(tick);
  }
  return make("div", { className: "axis", "aria-hidden": "true" }, ...ticks);
}
