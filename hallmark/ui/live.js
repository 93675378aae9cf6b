"use strict";
// Follows the stream of events, and takes over the parts of the page that are others by now; what is open, chosen and focused stays so.
(() => {
  const main = document.querySelector("main");
  const state = document.getElementById("live");
  if (!main || !state || !window.EventSource) return;
  const parts = (page) => new Map([...page.querySelectorAll("[data-part]")].map((each) => [each.dataset.part, each]));
  const told = new Map([...parts(document)].map(([name, each]) => [name, each.outerHTML]));
  let mark = main.dataset.mark;
  let source = null;

  function say(text) {
    if (state.textContent !== text) state.textContent = text;
  }

  function replace(old, fresh) {
    const open = new Map([...old.querySelectorAll("details[id]")].map((each) => [each.id, each.open]));
    const chosen = [...old.querySelectorAll("input:checked")].map((each) => each.id);
    const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
    const made = document.importNode(fresh, true);
    for (const each of made.querySelectorAll("details[id]")) if (open.has(each.id)) each.open = open.get(each.id);
    old.replaceWith(made);
    for (const id of chosen) {
      const input = document.getElementById(id);
      if (input) input.checked = true;
    }
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  }

  async function refresh() {
    const answer = await fetch(location.href, { credentials: "same-origin" });
    if (!answer.ok) return say(`The page could not be read again (${answer.status}); reload it.`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = parts(page);
    const here = parts(document);
    if ([...fresh.keys()].join("\n") !== [...here.keys()].join("\n")) {
      const whole = page.querySelector("main");
      if (whole) replace(document.querySelector("main"), whole);
      told.clear();
    } else {
      for (const [name, each] of fresh) if (told.get(name) !== each.outerHTML) replace(here.get(name), each);
    }
    for (const [name, each] of fresh) told.set(name, each.outerHTML);
    mark = page.querySelector("main")?.dataset.mark;
  }

  function follow() {
    if (source) return;
    source = new EventSource(state.dataset.events);
    source.addEventListener("open", () => say("Live: what changes is shown here by itself."));
    source.addEventListener("error", () => say("Not connected: trying again. What stands here may be old."));
    source.addEventListener("mark", (event) => {
      if (event.data !== mark) refresh().catch(() => say("The page could not be read again; trying at the next change."));
    });
  }

  // A hidden page holds no connection: a browser has few of them for one host.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      source?.close();
      source = null;
    } else follow();
  });
  follow();
})();
