// The token: asked for in a dialog when the server wants one.

import { byId, say } from "./dom.js";

/** Ask for the token and return it, or null where the person gives none. */
export function askForToken(wasRefused) {
  const dialog = byId("token-dialog");
  const field = byId("token-value");
  const sentence = wasRefused ? "That is not its token. Try again." : "It is kept for this browser tab only.";
  say(byId("token-reason"), sentence, wasRefused);
  field.value = "";
  dialog.returnValue = "cancel"; // what the Escape key leaves
  dialog.showModal();
  field.focus();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        resolve(dialog.returnValue === "use" ? field.value.trim() || null : null);
        field.value = "";
      },
      { once: true },
    );
  });
}
