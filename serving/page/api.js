// The server's answers: faces of a picture, facts of the model, and problems as sentences.

const TOKEN = "face-emotion-token"; // in sessionStorage: for this tab only
export const served = new EventTarget(); // "model": an answer named the model that gave it
let askForToken = async () => null;
let asking = null;

/** What went wrong, as one sentence. `retryAfter` is in seconds, or null where trying again does not help. */
export class Problem extends Error {
  constructor(sentence, status = 0, retryAfter = null) {
    super(sentence);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** Set the function that asks a person for the token; it gets whether one was refused and returns one or null. */
export function setTokenAsker(ask) {
  askForToken = ask;
}

/** Return the faces of a picture, by the bytes of its file. */
export async function predict(picture, signal) {
  const headers = { "Content-Type": picture.type || "application/octet-stream" };
  const answer = await ask("v1/emotions", { method: "POST", body: picture, headers, signal });
  served.dispatchEvent(new CustomEvent("model", { detail: answer.model }));
  return answer;
}

/** Return what the server says of its model. */
export async function describeModel() {
  const facts = await ask("v1/model", {});
  served.dispatchEvent(new CustomEvent("model", { detail: facts }));
  return facts;
}

/** Wait; an aborted signal ends it with the signal's reason. */
export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const timer = setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        reject(signal.reason);
      },
      { once: true },
    );
  });
}

async function ask(path, request) {
  for (;;) {
    const token = sessionStorage.getItem(TOKEN);
    const headers = { ...request.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
    const response = await send(path, { ...request, headers });
    if (response.ok) return response.json();
    const problem = await readProblem(response);
    if (response.status !== 401 || !(await newToken(token))) throw problem;
  }
}

async function send(path, request) {
  try {
    return await fetch(path, { cache: "no-store", ...request });
  } catch (error) {
    if (request.signal?.aborted) throw request.signal.reason;
    throw new Problem(`The server at ${location.host} does not answer. Is it still running?`);
  }
}

async function readProblem(response) {
  const said = await response.json().catch(() => ({}));
  const sentence = asSentence(said.detail || said.title || `the server answered with status ${response.status}`);
  const seconds = Number.parseFloat(response.headers.get("Retry-After"));
  return new Problem(sentence, response.status, Number.isFinite(seconds) ? seconds : null);
}

/** Return a problem's words with a capital letter and a full stop. */
function asSentence(words) {
  const text = String(words);
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".");
}

/** Ask a person once, however many requests were refused; return whether there is another token than `refused`. */
async function newToken(refused) {
  if (sessionStorage.getItem(TOKEN) !== refused) return true; // given meanwhile
  asking ??= askForToken(refused !== null).finally(() => {
    asking = null;
  });
  const given = await asking;
  if (given) sessionStorage.setItem(TOKEN, given);
  return Boolean(given);
}
