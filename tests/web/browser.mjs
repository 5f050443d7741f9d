// Chromium for the tests: one page, and all that went wrong on it. It reaches this machine only.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const HERE = new Set(["localhost", "127.0.0.1"]);

/**
 * Opens a page. `options` are Playwright's for a context, such as `javaScriptEnabled: false`, `locale`, `colorScheme`
 * or `viewport`. Certificates are not checked: pages of the tests have one of a CA that Chromium doesn't know.
 *
 * `browser` is one that another call opened: it is faster than a new one, and stays open.
 *
 * `seen` fills while the page is used: `errors` (console and uncaught), `violations` of a Content-Security-Policy, and
 * `foreign` (addresses of other machines that the page asked for; they are not reached).
 */
export async function open({ browser: lent, ...options } = {}) {
  const browser = lent ?? (await launch());
  const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options });
  const seen = { errors: [], violations: [], foreign: [] };
  await watchViolations(context, seen, options);
  context.on("request", (request) => {
    const { protocol, hostname } = new URL(request.url());
    if (protocol.startsWith("http") && !HERE.has(hostname)) seen.foreign.push(request.url());
  });
  context.on("page", (page) => watch(page, seen));
  const page = await context.newPage();
  return { page, context, browser, seen, close: () => (lent ? context : browser).close() };
}

const launch = () =>
  chromium.launch({
    executablePath: process.env.TEST_CHROMIUM || "/usr/bin/chromium",
    args: ["--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"],
  });

/** Runs axe on the page. Returns what it found: rule, and where. It never answers where JavaScript is off. */
export async function axe(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  return violations.flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target.join(" ")}`));
}

async function watchViolations(context, seen, { javaScriptEnabled = true }) {
  if (!javaScriptEnabled) return; // the console still tells of them
  await context.exposeFunction("__violated", (text) => seen.violations.push(text));
  await context.addInitScript(() =>
    document.addEventListener("securitypolicyviolation", (event) =>
      globalThis.__violated(`${event.effectiveDirective}: ${event.blockedURI || "inline"}`),
    ),
  );
}

function watch(page, seen) {
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("console", (message) => {
    if (message.type() !== "error") return;
    const text = message.text();
    (text.includes("Content Security Policy") ? seen.violations : seen.errors).push(text);
  });
}
