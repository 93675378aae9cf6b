"use strict";
// One case after the other: keys and buttons do the same; what is sent comes back as the next case.
(() => {
  const main = document.querySelector("main");
  const told = document.getElementById("told");
  const keys = document.getElementById("keys");
  const base = main.dataset.base;
  const REASONS = "12345678";
  const UNDO = 120_000;
  const OPENED = "hallmark-review-opened";
  let busy = false;
  let ends = 0;
  let seen = 0;
  let since = 0;
  let zoom = 1;
  let word = "";
  let warned = false;
  let undoable = 0;
  let unfolded = new Set();
  try { unfolded = new Set(JSON.parse(sessionStorage.getItem(OPENED) ?? "[]")); } catch { /* it holds for this page then */ }

  const id = (name) => document.getElementById(name);
  const article = () => main.querySelector("article.case");

  function say(text, bad = false) {
    told.textContent = text;
    told.classList.toggle("bad", bad);
  }

  // Seconds that the case was looked at: a hidden page counts for nothing.
  function looked() {
    const now = performance.now();
    if (since) seen += now - since;
    since = document.hidden ? 0 : now;
    return seen / 1000;
  }

  // Had the person unfolded what a reviewer said? It stays so where the page is loaded anew, or the verdict taken back. Null: there is none.
  function opened(shown) {
    return shown.querySelector("details[data-answered]") ? unfolded.has(shown.dataset.key) : null;
  }

  function begun() {
    const shown = article();
    ends = shown ? performance.now() + 1000 * Number(shown.dataset.seconds) : 0;
    seen = 0;
    since = document.hidden ? 0 : performance.now();
    word = "";
    warned = false;
    zoomed(1);
    undoable = id("undo") && !id("undo").hidden ? performance.now() + UNDO : 0;
    tick();
    if (!shown) counted();
  }

  function show(html) {
    const page = new DOMParser().parseFromString(html, "text/html");
    main.replaceChildren(...[...page.body.childNodes].map((each) => document.importNode(each, true)));
    begun();
    window.scrollTo(0, 0);
    id("begin").focus({ preventScroll: true });
  }

  async function send(path, body, done) {
    if (busy) return;
    busy = true;
    main.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(`${base}/${path}`, {
        method: "POST",
        credentials: "same-origin",
        headers: { "content-type": "application/json", "x-hallmark-review": "1" },
        body: JSON.stringify(body),
      });
      if (answer.ok) return await done(answer);
      const why = await answer.json().catch(() => ({ message: `the server answered ${answer.status}` }));
      say([why.message, why.got, why.fix].filter(Boolean).join(": "), true);
      if (answer.status === 409) over();
    } catch {
      say("Not sent: the server does not answer. Press the key again.", true);
    } finally {
      busy = false;
      main.removeAttribute("aria-busy");
    }
  }

  const next = () => send("next", {}, async (answer) => {
    say("");
    show(await answer.text());
    if (!article()) say("Nothing waits for you now.");
  });

  function judge(reason) {
    const shown = article();
    const chosen = word;
    const verdict = { word: chosen, note: id("note").value.trim(), seconds: Math.round(looked()), opened: opened(shown), ...(reason ? { reason } : {}) };
    return send("verdict", { token: shown.dataset.token, verdict }, async (answer) => {
      const item = shown.dataset.item;
      show(await answer.text());
      say(`${item}: ${chosen}${reason ? `, ${reason}` : ""}.`);
    });
  }

  const undo = () => send("undo", {}, async (answer) => {
    show(await answer.text());
    say("Taken back: this case is yours again.");
  });

  const release = () => send("release", { token: article().dataset.token }, async (answer) => {
    show(await answer.text());
    say("Put back.");
  });

  const renew = () => send("renew", { token: article().dataset.token }, async (answer) => {
    ends = performance.now() + 1000 * (await answer.json()).seconds;
    warned = false;
    tick();
    say("The case is yours for longer.");
  });

  function choose(chosen) {
    word = chosen;
    for (const each of main.querySelectorAll("[data-word][aria-expanded]")) {
      each.setAttribute("aria-expanded", String(each.dataset.word === chosen));
    }
    if (chosen === "authentic") return judge("");
    id("reasons").hidden = !chosen;
    if (chosen) id("reasons").querySelector("button").focus();
  }

  // The claim has ended: nothing of this case can be sent any more.
  function over() {
    const shown = article();
    if (!shown || shown.dataset.over) return;
    shown.dataset.over = "1";
    for (const each of shown.querySelectorAll("[data-word], [data-reason], #renew, #release")) each.disabled = true;
    const button = document.createElement("button");
    button.type = "button";
    button.id = "next";
    button.append("Next case");
    const key = document.createElement("kbd");
    key.append("Enter");
    button.append(key);
    id("renew").before(button);
    button.focus();
  }

  function tick() {
    const now = performance.now();
    if (undoable && now > undoable) {
      if (id("undo")) id("undo").hidden = true;
      undoable = 0;
    }
    const lease = id("lease");
    if (!lease || !ends) return;
    const left = Math.max(0, Math.ceil((ends - now) / 1000));
    lease.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")} left`;
    lease.classList.toggle("soon", left <= 60);
    if (left <= 60 && left > 0 && !warned) {
      warned = true;
      say("One minute left with this case. More time: L.");
    }
    if (left === 0 && !article().dataset.over) {
      say("Your time with this case is over: it has gone back.", true);
      over();
    }
  }

  async function counted() {
    if (article() || document.hidden) return;
    try {
      const answer = await fetch(`${base}/counts`, { credentials: "same-origin" });
      const open = (await answer.json()).open;
      if (id("counts")) id("counts").textContent = open ? `${open} ${open === 1 ? "case waits" : "cases wait"}.` : "No case waits. This page looks again by itself.";
    } catch {
      if (id("counts")) id("counts").textContent = "The server does not answer.";
    }
  }

  function zoomed(factor) {
    const views = [...main.querySelectorAll(".view")];
    const middles = views.map((each) => [(each.scrollLeft + each.clientWidth / 2) / each.scrollWidth, (each.scrollTop + each.clientHeight / 2) / each.scrollHeight]);
    zoom = Math.min(8, Math.max(1, factor));
    main.style.setProperty("--zoom", String(zoom));
    main.classList.toggle("zoomed", zoom > 1);
    id("zoom")?.setAttribute("aria-pressed", String(zoom > 1));
    views.forEach((each, number) => {
      each.scrollLeft = middles[number][0] * each.scrollWidth - each.clientWidth / 2;
      each.scrollTop = middles[number][1] * each.scrollHeight - each.clientHeight / 2;
    });
  }

  function pick(kind, place) {
    const all = [...main.querySelectorAll(`[data-kind="${kind}"]`)];
    if (!all.length) return;
    const chosen = all[(place + all.length) % all.length];
    const picture = chosen.querySelector("img");
    for (const each of all) each.setAttribute("aria-pressed", String(each === chosen));
    id(kind).src = picture.src;
    id(kind).alt = picture.alt;
    id(`${kind}-name`).textContent = picture.alt;
  }

  function step(kind, by) {
    const all = [...main.querySelectorAll(`[data-kind="${kind}"]`)];
    pick(kind, all.findIndex((each) => each.getAttribute("aria-pressed") === "true") + by);
  }

  main.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.disabled) return;
    if (button?.dataset.word) choose(button.dataset.word);
    else if (button?.dataset.reason) judge(button.dataset.reason);
    else if (button?.dataset.cite) pick("reference", Number(button.dataset.cite));
    else if (button?.dataset.kind) pick(button.dataset.kind, Number(button.dataset.place));
    else if (button) ({ next, undo, renew, release, zoom: () => zoomed(zoom > 1 ? 1 : 3), larger: () => zoomed(zoom * 1.5), smaller: () => zoomed(zoom / 1.5) })[button.id]?.();
    else if (event.target.closest(".view") && !dragged) zoomed(zoom > 1 ? 1 : 3);
  });

  // The event "toggle" does not come where it is folded again at once.
  new MutationObserver((changes) => {
    if (!changes.some((each) => each.target.open && each.target.matches("details[data-answered]"))) return;
    unfolded.add(article().dataset.key);
    try { sessionStorage.setItem(OPENED, JSON.stringify([...unfolded].slice(-200))); } catch { /* it holds for this page then */ }
  }).observe(main, { subtree: true, attributeFilter: ["open"] });

  // A zoomed photo is moved by dragging it, or by the arrow keys where it has the focus.
  let drag = null;
  let dragged = false;
  main.addEventListener("pointerdown", (event) => {
    const view = event.target.closest(".view");
    dragged = false;
    if (view && zoom > 1 && event.pointerType === "mouse") drag = { view, x: event.clientX + view.scrollLeft, y: event.clientY + view.scrollTop };
  });
  window.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const left = drag.x - event.clientX;
    const top = drag.y - event.clientY;
    if (Math.abs(left - drag.view.scrollLeft) + Math.abs(top - drag.view.scrollTop) > 4) dragged = true;
    drag.view.scrollLeft = left;
    drag.view.scrollTop = top;
  });
  window.addEventListener("pointerup", () => { drag = null; });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      if (document.activeElement === id("note")) return id("note").blur();
      if (word) { choose(""); return; }
      return zoomed(1);
    }
    if (event.target.matches("textarea, input")) return;
    if (event.key === "Enter" && id("next") && !event.target.closest("button, a")) return next();
    if (!keys.checked || event.repeat) return;
    const key = event.key.toLowerCase();
    const shown = article();
    const live = shown && !shown.dataset.over;
    if (key === "u" && id("undo") && !id("undo").hidden) return undo();
    if (!shown) return;
    const panning = zoom > 1 && event.target.closest(".view");
    const does = {
      arrowleft: () => panning || step("photo", -1), arrowright: () => panning || step("photo", 1),
      r: () => { const said = main.querySelector("details.said"); if (said) said.open = !said.open; },
      j: () => step("reference", 1), k: () => step("reference", -1),
      z: () => zoomed(zoom > 1 ? 1 : 3), "+": () => zoomed(zoom * 1.5), "-": () => zoomed(zoom / 1.5),
      ...(live ? { a: () => choose("authentic"), c: () => choose("counterfeit"), t: () => choose("cannot tell"), l: renew, p: release } : {}),
      n: () => { event.preventDefault(); id("note").focus(); },
    };
    if (live && word && REASONS.includes(key)) {
      const reason = main.querySelectorAll("[data-reason]")[Number(key) - 1];
      if (reason) judge(reason.dataset.reason);
    } else does[key]?.();
  });

  function setKeys(on) {
    keys.checked = on;
    document.body.classList.toggle("no-keys", !on);
  }
  keys.addEventListener("change", () => {
    setKeys(keys.checked);
    try { localStorage.setItem("hallmark-review-keys", keys.checked ? "on" : "off"); } catch { /* it holds for this page then */ }
  });
  try { setKeys(localStorage.getItem("hallmark-review-keys") !== "off"); } catch { setKeys(true); }

  document.addEventListener("visibilitychange", looked);
  setInterval(tick, 500);
  setInterval(counted, 10_000);
  begun();
})();
