// The pages for admins work without this. It shows times as the reader's own, copies commands, ticks all rows, knows
// some keys, and holds what is live still while somebody reads it.
"use strict";
(() => {
  const $ = (what, where = document) => where.querySelector(what);
  const each = (what, act, where = document) => where.querySelectorAll(what).forEach(act);
  const make = (tag, about = {}, ...inside) => {
    const made = Object.assign(document.createElement(tag), about);
    made.append(...inside);
    return made;
  };
  const files = new URL(".", document.currentScript.src);
  const say = (words) => { status.textContent = words; };
  const status = make("p", { className: "unseen", role: "status" });
  document.body.append(status);

  // Times: as the reader's own, and how long ago
  const steps = [[86400, "d"], [3600, "h"], [60, "min"]];
  const length = (seconds) => {
    if (seconds < 59.5) return `${seconds >= 9.95 || seconds === 0 ? Math.round(seconds) : seconds.toFixed(1)} s`;
    const place = steps.findIndex(([size]) => seconds >= size);
    if (place < 0) return "1 min";
    const [size, unit] = steps[place], [smaller, name] = steps[place + 1] || [1, "s"];
    const whole = Math.floor(seconds / size), small = Math.floor((seconds % size) / smaller);
    return `${whole} ${unit}${small && whole < 10 ? ` ${small} ${name}` : ""}`;
  };
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
  const second = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const exact = new Intl.DateTimeFormat(undefined, {
    year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
    timeZoneName: "short",
  });
  const showTime = (time) => {
    const at = new Date(time.dateTime), past = (Date.now() - at) / 1000;
    if (isNaN(at)) return;
    const words = "ago" in time.dataset ? (past >= 0 ? `${length(past)} ago` : `in ${length(-past)}`)
      : ("clock" in time.dataset ? (time.dataset.clock ? second : clock) : exact).format(at);
    if (time.textContent !== words) time.textContent = words;
  };
  const showTimes = (where = document) => each("time[datetime]", showTime, where);
  showTimes();
  setInterval(() => { if (!document.hidden) each("time[data-ago]", (time) => held(time) || showTime(time)); }, 5000);

  // Commands to copy
  const addCopy = (pre) => {
    const button = make("button", { type: "button", className: "copy second", textContent: "Copy" });
    button.onclick = async () => {
      try {
        await navigator.clipboard.writeText(pre.textContent.trim());
        say("Copied");
        button.textContent = "Copied";
      } catch { // no permission, or plain http: select it, so that one key copies it
        getSelection().selectAllChildren(pre);
        say("Selected. Press Control or Command and C to copy.");
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    };
    const box = make("div", { className: "copied" });
    pre.replaceWith(box);
    box.append(pre, button);
  };
  each("pre[data-copy]", addCopy);

  // Rows to tick
  each("table", (table) => {
    const boxes = () => [...table.querySelectorAll("tbody input[type=checkbox][name=id]:not(:disabled)")];
    const head = $("thead th", table);
    if (!boxes().length || !head) return;
    const all = make("input", { type: "checkbox", ariaLabel: "Tick all rows of this page" });
    const count = make("p", { className: "ticked quiet", role: "status" });
    const show = () => {
      const ticked = boxes().filter((box) => box.checked).length;
      all.checked = ticked === boxes().length;
      all.indeterminate = ticked > 0 && !all.checked;
      count.textContent = ticked ? `${ticked} of ${boxes().length} ticked` : "";
    };
    all.onchange = () => { boxes().forEach((box) => { box.checked = all.checked; }); show(); };
    table.addEventListener("change", (event) => event.target !== all && show());
    head.prepend(all);
    (table.closest(".scroll") || table).before(count);
    addEventListener("pageshow", show);
    show();
  });

  // Keys, and the help for them
  const areOn = () => { try { return localStorage.getItem("stockbell.keys") !== "off"; } catch { return true; } };
  const links = [...document.querySelectorAll("nav.side a[data-key]")];
  const help = make("dialog", { className: "help" });
  const row = (keys, words) => [make("dt", {}, ...keys.map((key) => make("kbd", { textContent: key }))), make("dd", { textContent: words })];
  const onOff = make("input", { type: "checkbox", checked: areOn() });
  onOff.onchange = () => { try { localStorage.setItem("stockbell.keys", onOff.checked ? "on" : "off"); } catch { /* for this page only */ } };
  const close = make("button", { textContent: "Close", className: "second" });
  help.setAttribute("aria-labelledby", "keys");
  help.append(make("form", { method: "dialog" }, make("h2", { id: "keys", textContent: "Keyboard" }),
    make("dl", {}, ...row(["/"], "Search"), ...row(["?"], "This help"), ...row(["Esc"], "Close, or leave a field"),
      ...links.flatMap((link) => row(["g", link.dataset.key], link.textContent))),
    make("p", {}, make("label", {}, onOff, " Keys are on")), close));
  document.body.append(help);
  const me = $(".me");
  if (me) {
    const opener = make("button", { type: "button", className: "quiet keys", textContent: "Keyboard" });
    opener.onclick = () => help.showModal();
    me.after(opener);
  }
  let isGoing = 0;
  document.addEventListener("keydown", (event) => {
    const at = event.target, isField = at.isContentEditable || /^(TEXTAREA|SELECT)$/.test(at.tagName)
      || (at.tagName === "INPUT" && !/^(checkbox|radio|button|submit)$/.test(at.type));
    if (event.key === "Escape" && isField && !help.open) at.blur();
    if (isField || help.open || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || !me || !areOn()) return;
    const link = Date.now() - isGoing < 1500 && links.find((one) => one.dataset.key === event.key);
    isGoing = event.key === "g" ? Date.now() : 0;
    if (link) link.click();
    else if (event.key === "/") $("[data-search]").focus();
    else if (event.key === "?") help.showModal();
    else return;
    event.preventDefault();
  });

  // Charts are drawn by a script of their own, where there are any
  if ($("canvas[data-chart]")) {
    const load = (file, next) => document.head.append(make("script", { src: new URL(file, files), onload: next }));
    load("vendor/chart.umd.min.js", () => load("charts.js"));
  }

  // What is live: it holds still while it is paused, somebody has selected something in it, or points at rows of a table
  const live = $("[data-live]");
  let isPaused = false, tone = $("[data-tone]")?.dataset.tone;
  function held(part) {
    if (!live?.contains(part)) return false;
    const chosen = getSelection(), field = document.activeElement;
    return isPaused || (!chosen.isCollapsed && live.contains(chosen.anchorNode)) || !!$("tbody tr:hover", live)
      || (live.contains(field) && field.matches("input, select, textarea"));
  }
  if (live) {
    const state = make("span", { className: "quiet", textContent: "Live", title: "It holds still while you select something, or point at a row" });
    const pause = make("button", { type: "button", className: "second", textContent: "Pause updates" });
    $("[data-live-bar]").append(state, pause);
    const connect = () => htmx.ajax("GET", live.getAttribute("hx-sse:connect"), { source: live });
    let stream = null;
    pause.onclick = () => {
      isPaused = !isPaused;
      pause.textContent = isPaused ? "Go on" : "Pause updates";
      state.textContent = isPaused ? "Paused" : "Live";
      if (isPaused) stream?.reader?.cancel();
      else if (!live._htmx?.sse) connect();
    };
    const on = (name, act) => live.addEventListener(`htmx:${name}`, act);
    on("sse:before:connection", (event) => isPaused && event.preventDefault());
    on("sse:after:connection", (event) => { stream = event.detail.connection; state.textContent = "Live"; });
    on("sse:before:message", (event) => {
      if (event.detail.message.event) return;
      const isHeld = held(live);
      state.textContent = isHeld ? "Held" : "Live";
      if (isHeld) event.preventDefault();
    });
    on("sse:error", () => { state.textContent = "No connection. Trying again."; });
    on("after:swap", () => {
      showTimes(live);
      document.dispatchEvent(new Event("stockbell:numbers"));
      const now = $("[data-tone]", live);
      if (now && now.dataset.tone !== tone) say(now.textContent.trim());
      tone = now?.dataset.tone;
    });
    live.addEventListener("ended", () => {
      state.replaceChildren("Your session has ended. ", make("a", { href: location.href, textContent: "Log in again" }));
      pause.remove();
    });
  }
})();
