// Makes frames as high as their mails, brings the findings, and shows a change of a file without losing the place.
// Without it the page shows the same once it is loaded again.
"use strict";
(() => {
  const $ = (what, where = document) => where.querySelector(what);
  const EVERY = 500;
  const state = $("#state"), usual = state.dataset.live;
  let shown = document.body.dataset.version, busy = false, ended = false, turn = 0;
  document.body.classList.add("live");
  state.textContent = usual;

  const say = (words, isBad = false) => {
    state.textContent = words;
    state.classList.toggle("bad", isBad);
  };
  const read = async (url) => {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(answer.statusText);
    return answer.text();
  };

  // A frame runs no scripts; ours may look into it, since it is of our origin.
  const known = new WeakSet();
  const fit = (frame) => {
    const inside = frame.contentDocument;
    if (inside?.readyState !== "complete" || inside.URL === "about:blank") return; // `load` comes later
    frame.style.height = "0";
    frame.style.height = `${inside.documentElement.scrollHeight}px`;
    const width = inside.documentElement.scrollWidth, caption = frame.previousElementSibling;
    $("em", caption)?.remove();
    if (width > frame.clientWidth) {
      caption.append(" ", Object.assign(document.createElement("em"), { textContent: `cut off: it is ${width} px wide` }));
    }
    if (known.has(inside)) return;
    known.add(inside);
    inside.addEventListener("click", (event) => {
      const link = event.target.closest("a[href]");
      event.preventDefault();
      if (link && /^https?:/.test(link.href)) open(link.href, "_blank", "noopener");
    });
  };
  const watch = () => {
    for (const frame of document.querySelectorAll("iframe")) {
      frame.addEventListener("load", () => fit(frame));
      fit(frame);
    }
  };

  const find = async () => {
    const version = shown, place = $("#findings");
    let found;
    place.setAttribute("aria-busy", "true");
    try {
      found = await read("findings");
    } catch {
      found = '<p class="trouble">The check could not be done. stockbell templates check may say why.</p>';
    }
    if (version !== shown) return; // another one is under way
    const opened = $("details", place)?.open;
    place.innerHTML = found;
    place.setAttribute("aria-busy", "false");
    if (opened && $("details", place)) $("details", place).open = true;
  };

  // Shows what the page's address says. What has the focus, and the place, stay.
  const refresh = async () => {
    const mine = turn += 1, heights = new Map(), before = shown;
    const text = await read(location.href);
    if (mine !== turn) return; // another choice was made since
    const anew = new DOMParser().parseFromString(text, "text/html");
    const place = scrollY, main = $("main");
    for (const frame of document.querySelectorAll("iframe")) heights.set(frame.src, frame.style.height);
    for (const frame of anew.querySelectorAll("iframe")) frame.style.height = heights.get(frame.src) || "";
    $("#findings", anew).replaceWith($("#findings"));
    main.style.minHeight = `${innerHeight + place}px`; // a mail that can't be made is short
    main.replaceChildren(...$("main", anew).childNodes);
    const [form, other] = [$("form"), $("form", anew)], controls = (each) => [...each.elements].filter((one) => one.name);
    const same = (each) => controls(each).map((one) => [one.name, ...[...(one.options || [])].map((way) => way.value)]).join();
    if (same(form) !== same(other)) form.replaceWith(other);
    else for (const one of controls(other)) form.elements[one.name].value = one.value;
    const name = document.activeElement.closest("nav a")?.textContent;
    $("nav").replaceWith($("nav", anew));
    [...document.querySelectorAll("nav a")].find((each) => each.textContent === name)?.focus();
    shown = anew.body.dataset.version;
    watch();
    scrollTo(0, place);
    if (shown !== before) {
      say(`Shown anew at ${new Date().toLocaleTimeString()}.`);
      find();
    }
  };
  const go = async (url, isNew = true) => {
    if (isNew) history.pushState(null, "", url);
    $("main").style.minHeight = "";
    try {
      await refresh();
    } catch {
      lose();
    }
  };
  const lose = () => {
    ended = true;
    say("The preview does not answer. This page goes on once it is started again.", true);
  };

  // A connection that is kept would be one of the six that a browser has for all tabs.
  const look = async () => {
    if (document.hidden || busy) return;
    busy = true;
    try {
      const same = await read("version") === shown;
      if (!same || ended) await refresh();
      if (same && ended) say(usual);
      ended = false;
    } catch {
      lose();
    }
    busy = false;
  };
  setInterval(look, EVERY);
  document.addEventListener("visibilitychange", look);
  document.addEventListener("change", ({ target: { form } }) => form && go(`?${new URLSearchParams(new FormData(form))}`));
  document.addEventListener("click", (event) => {
    const link = event.target.closest("nav a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(link.href);
  });
  addEventListener("popstate", () => go(location.href, false));
  watch();
  find();
})();
