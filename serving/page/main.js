// The page: starts its tabs and says which model answers.

import { describeModel, served, setTokenAsker } from "./api.js";
import { byId } from "./dom.js";
import { setClasses } from "./emotions.js";
import { startModel } from "./model.js";
import { startPhoto } from "./photo.js";
import { startTabs } from "./tabs.js";
import { askForToken } from "./token.js";
import { startVideo } from "./video.js";
import { startWebcam } from "./webcam.js";

// what the tabs need of the model before they have asked for it
const facts = { threshold: 0, limits: null };
let last = null;

function sayWhichModel({ detail: model }) {
  const same = last && last.sha256 === model.sha256 && last.version === model.version;
  const changed = last && !same ? " It has just changed." : "";
  last = model;
  if (same) return;
  byId("served-by").textContent = `Model ${model.name}, version ${model.version} (${model.source}).${changed}`;
}

async function learnFacts() {
  const answer = await describeModel();
  setClasses(answer.classes);
  Object.assign(facts, { threshold: answer.threshold, limits: answer.limits });
  return answer;
}

for (const place of document.querySelectorAll(".server-address")) place.textContent = location.host;
for (const name of ["dragover", "drop"]) {
  window.addEventListener(name, (event) => event.preventDefault()); // a file dropped beside the place is not opened
}
setTokenAsker(askForToken);
served.addEventListener("model", sayWhichModel);

const panels = {
  photo: startPhoto(facts),
  webcam: startWebcam(facts),
  video: startVideo(facts),
  model: startModel(learnFacts),
};
startTabs(document.querySelector("[role=tablist]"), (shown) => {
  for (const [name, panel] of Object.entries(panels)) {
    if (name === shown) panel.onShow?.();
    else panel.onHide?.();
  }
});
if (!last) {
  learnFacts().catch((problem) => {
    byId("served-by").textContent = problem.message;
  });
}
