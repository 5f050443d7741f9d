// Makes frames as high as their mails, brings the findings, and shows a change of a file without losing the place.
// Without it the page shows the same once it is loaded again.
"use strict";
(() => {
  const $ = (what, where = document) => where.querySelector(what);
  const state = $("#state"), usual = state.textContent;
  let version = document.body.dataset.version;
  document.body.classList.add("live");

  const say = (words, isBad = false) => {
    state.textContent = words;
    state.classList.toggle("bad", isBad);
  };

  // A frame runs no scripts; ours may look into it, since it is of our origin.
  const known = new WeakSet();
  const fit = (frame) => {
    const inside = frame.contentDocument;
    if (inside?.readyState !== "complete" || inside.URL === "about:blank") return; // `load` comes later
    frame.style.height = "0";
    frame.style.height = `${inside.documentElement.scrollHeight}px`;
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
    const answer = await fetch("findings");
    if (answer.ok) $("#findings").innerHTML = await answer.text();
  };

  const refresh = async () => {
    const place = scrollY, heights = new Map();
    for (const frame of document.querySelectorAll("iframe")) heights.set(frame.src, frame.style.height);
    const answer = await fetch(location.href);
    const anew = new DOMParser().parseFromString(await answer.text(), "text/html");
    $("#findings", anew).replaceWith($("#findings"));
    for (const frame of anew.querySelectorAll("iframe")) frame.style.height = heights.get(frame.src) || "";
    $("main").replaceWith($("main", anew));
    $("form").replaceWith($("form", anew));
    watch();
    scrollTo(0, place);
    say(`Shown anew at ${new Date().toLocaleTimeString()}.`);
    await find();
  };

  const changes = new EventSource("changes");
  changes.onopen = () => say(usual);
  changes.onerror = () => say("The preview has ended. This page goes on once it is started again.", true);
  changes.onmessage = async (event) => {
    if (event.data === version) return;
    version = event.data;
    try {
      await refresh();
    } catch (error) {
      say(`Not shown anew: ${error.message}`, true);
    }
  };
  document.addEventListener("change", (event) => event.target.form?.submit());
  watch();
  find().catch(() => say("The findings of the check could not be read.", true));
})();
