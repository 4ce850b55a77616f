// Elements of the page, made without HTML text, so that no name from outside can become markup.

export const byId = (id) => document.getElementById(id);

/** Return a new element; a property that begins with "aria-", "data-" or is "role" becomes an attribute. */
export function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (/^(aria-|data-|role$)/.test(name)) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Show a sentence in a status line, as a problem or not. */
export function say(line, sentence, isProblem = false) {
  line.textContent = sentence;
  line.classList.toggle("problem", isProblem);
}

/** Return "1 face", "2 faces". */
export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}
