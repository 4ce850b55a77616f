// Tabs: one panel is shown; arrow keys, Home and End move between them, and the address names the one.

/** Let the tabs of a list work; `onShow` gets the name of the panel that is shown. */
export function startTabs(list, onShow) {
  const tabs = [...list.querySelectorAll("[role=tab]")];
  const names = tabs.map((tab) => tab.getAttribute("aria-controls"));

  const show = (name) => {
    for (const tab of tabs) {
      const chosen = tab.getAttribute("aria-controls") === name;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = !chosen;
    }
    if (location.hash !== `#${name}`) history.replaceState(null, "", `#${name}`);
    onShow(name);
  };
  list.addEventListener("click", (event) => {
    const tab = event.target.closest("[role=tab]");
    if (tab) show(tab.getAttribute("aria-controls"));
  });
  list.addEventListener("keydown", (event) => {
    const now = tabs.indexOf(document.activeElement);
    const next = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (next === undefined || now < 0) return;
    event.preventDefault();
    const tab = tabs[(next + tabs.length) % tabs.length];
    tab.focus();
    show(tab.getAttribute("aria-controls"));
  });
  const named = () => (names.includes(location.hash.slice(1)) ? location.hash.slice(1) : null);
  window.addEventListener("hashchange", () => named() && show(named()));
  show(named() ?? names[0]);
}
