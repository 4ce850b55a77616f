// The Photo tab: pictures in, their faces framed, and one table of them all.

import { predict } from "./api.js";
import { byId, count, make, say } from "./dom.js";
import { likeliest } from "./emotions.js";
import { drawFaces, faceEntry } from "./faces.js";
import { FACE_COLUMNS, download, faceCells, toCsv, toTable } from "./table.js";

/** Start the tab; `facts.limits` are the server's, or null until they are known. */
export function startPhoto(facts) {
  const pictures = []; // {file, answer or problem, redraw}
  const redrawAll = () => pictures.forEach((picture) => picture.redraw?.());
  let stop = new AbortController();
  let waiting = Promise.resolve();

  const add = (files) => {
    const added = [...files].map((file) => begin(file, pictures));
    const { signal } = stop;
    waiting = waiting.then(() => answerAll(added, pictures, facts, signal));
  };
  const clear = () => {
    stop.abort();
    stop = new AbortController();
    pictures.splice(0).forEach((picture) => picture.forget());
    showTable(pictures);
    say(byId("photo-status"), "No photo yet.");
    byId("photo-clear").hidden = true;
  };

  takeFiles(byId("photo-drop"), byId("photo-files"), add);
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!byId("photo").hidden && files.length) add(files);
  });
  byId("photo-clear").addEventListener("click", clear);
  byId("photo-bars").addEventListener("change", redrawAll);
  byId("photo-csv").addEventListener("click", () => download("faces.csv", "text/csv", toCsv(rowsOf(pictures))));
  byId("photo-json").addEventListener("click", () =>
    download("faces.json", "application/json", JSON.stringify(pictures.map(recordOf), null, 2)),
  );
  return { onShow: redrawAll };
}

/** Let a place take files that are chosen or dropped. */
export function takeFiles(place, input, take) {
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = ""; // the same file can be chosen again
  });
  place.addEventListener("dragover", () => place.classList.add("over"));
  place.addEventListener("dragleave", () => place.classList.remove("over"));
  place.addEventListener("drop", (event) => {
    place.classList.remove("over");
    if (event.dataTransfer.files.length) take([...event.dataTransfer.files]);
  });
}

/** Put a picture on the page before its answer is there. */
function begin(file, pictures) {
  const address = URL.createObjectURL(file);
  const image = make("img", { src: address, alt: `The picture ${file.name}` });
  const overlay = make("div", { className: "overlay", "aria-hidden": "true" });
  const stage = make("div", { className: "stage" }, image, overlay);
  const line = make("p", { textContent: "Waiting …" });
  const list = make("div", { className: "faces" });
  const title = make("h2", { textContent: file.name || "Pasted picture" });
  const entry = make(
    "article",
    { className: "picture" },
    title,
    line,
    make("div", { className: "split" }, stage, list),
  );
  const observer = new ResizeObserver(() => picture.redraw?.());
  const picture = {
    file,
    image,
    overlay,
    stage,
    line,
    list,
    forget: () => {
      observer.disconnect();
      URL.revokeObjectURL(address);
      entry.remove();
    },
  };
  observer.observe(image);
  byId("photo-pictures").append(entry);
  byId("photo-clear").hidden = false;
  pictures.push(picture);
  return picture;
}

async function answerAll(added, pictures, facts, signal) {
  for (const [position, picture] of added.entries()) {
    if (signal.aborted) return;
    if (added.length > 1) say(byId("photo-status"), `Photo ${position + 1} of ${added.length} …`);
    else say(byId("photo-status"), "The server looks at the photo …");
    await answer(picture, facts, signal);
    if (signal.aborted) return;
    showTable(pictures);
  }
  summarise(pictures);
}

async function answer(picture, facts, signal) {
  const most = facts.limits?.max_file_bytes;
  if (most && picture.file.size > most) {
    fail(picture, `The file has ${megabytes(picture.file.size)}, and the server takes at most ${megabytes(most)}.`);
    return;
  }
  try {
    picture.answer = await predict(picture.file, signal);
  } catch (problem) {
    if (!signal.aborted) fail(picture, problem.message);
    return;
  }
  await picture.image.decode().catch(() => {
    picture.stage.replaceChildren(
      make("p", { className: "quiet", textContent: "This browser cannot show the picture." }),
    );
    picture.image = null;
  });
  showFaces(picture);
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

function fail(picture, sentence) {
  picture.problem = sentence;
  say(picture.line, sentence, true);
}

function showFaces(picture) {
  const { faces, too_small: small, first_of_several: several } = picture.answer;
  const named = faces.map((face, position) => ({ ...face, name: String(position + 1) }));
  say(picture.line, sentenceOf(faces.length, small) + passedOver(several ? 1 : 0));
  picture.list.replaceChildren(
    ...named.map((face) => faceEntry(`Face ${face.name}`, face, picture.image, picture.answer)),
  );
  picture.redraw = () => {
    if (picture.image) drawFaces(picture.overlay, named, picture.answer, { bars: byId("photo-bars").checked });
  };
  picture.redraw();
}

function sentenceOf(faces, small) {
  const left = small ? ` ${count(small, "face is", "faces are")} too small to be judged.` : "";
  return (
    (faces ? `${count(faces, "face")} found.` : small ? "No face found that is large enough." : "No face found.") + left
  );
}

function passedOver(several) {
  if (!several) return "";
  return ` ${count(several, "file holds", "files hold")} several pictures, of which only the first was looked at.`;
}

function summarise(pictures) {
  const answered = pictures.filter((picture) => picture.answer);
  const failed = pictures.filter((picture) => picture.problem).length;
  const faces = answered.reduce((sum, { answer }) => sum + answer.faces.length, 0);
  const small = answered.reduce((sum, { answer }) => sum + answer.too_small, 0);
  const several = answered.filter(({ answer }) => answer.first_of_several).length;
  if (pictures.length === 1 && failed) {
    say(byId("photo-status"), `The photo was not answered: ${pictures[0].problem}`, true);
    return;
  }
  const where = pictures.length > 1 ? `${count(answered.length, "photo")} answered: ` : "";
  const problems = failed ? ` ${count(failed, "photo was", "photos were")} not answered; each says why.` : "";
  say(byId("photo-status"), `${where}${sentenceOf(faces, small)}${passedOver(several)}${problems}`, failed > 0);
}

function rowsOf(pictures) {
  const classes = pictures.flatMap(({ answer }) =>
    answer?.faces.length ? [Object.keys(answer.faces[0].probabilities)] : [],
  );
  const head = ["picture", ...FACE_COLUMNS, ...(classes[0] ?? []), "model", "version", "problem"];
  const rows = pictures.flatMap(({ file, answer, problem }) => {
    const model = [answer?.model.name ?? "", answer?.model.version ?? ""];
    const empty = new Array(head.length - 4).fill("");
    if (!answer?.faces.length)
      return [[file.name, ...empty, ...model, problem ?? (answer ? "no face found" : "not answered")]];
    return answer.faces.map((face, position) => [
      file.name,
      ...faceCells(position + 1, likeliest(face), face, classes[0]),
      ...model,
      "",
    ]);
  });
  return [head, ...rows];
}

const recordOf = ({ file, answer, problem }) => ({
  picture: file.name,
  ...(answer ?? { problem: problem ?? "not answered" }),
});

function showTable(pictures) {
  const [head, ...rows] = rowsOf(pictures);
  const columns = ["picture", "face", "emotion", "confidence", "uncertain", "x", "y", "width", "height"];
  const shown = (row, name) => {
    const cell = row[head.indexOf(name)];
    if (name === "uncertain") return cell === "true" ? "yes" : "no";
    return cell;
  };
  const faces = rows.filter((row) => row[1] !== "").map((row) => columns.map((name) => shown(row, name)));
  byId("photo-table").hidden = !pictures.length;
  byId("photo-table")
    .querySelector(".scroll")
    .replaceChildren(toTable([columns, ...faces], "All faces of all photos"));
}
