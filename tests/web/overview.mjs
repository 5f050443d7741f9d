// Overview as an admin uses it: it is live, holds still when asked to, and knows keys; charts are drawn from tables.
import { axe, open } from "./browser.mjs";
import { given, tell } from "./results.mjs";
import { MUG, client, item } from "./sdk.mjs";

const { page, context, seen, close } = await open({ colorScheme: "light" });
await context.addCookies([{ name: "stockbell", value: given.secret, url: given.base }]);
let people = 0;
const signUp = () =>
  client(given).notifications.createBackInStockNotificationRequest(
    { email: `live-${(people += 1)}@people.example`, catalogReference: item("live-mug") },
    MUG,
  );
const tile = () => page.locator(".tile dd").first().innerText();
const bar = page.locator("[data-live-bar]");
/** The tile as it is once it differs, and whether the next event of the stream has come. */
const changed = async (from) => {
  await page.waitForFunction((text) => document.querySelector(".tile dd").innerText !== text, from);
  return tile();
};
const events = (number) =>
  page.evaluate(
    (left) =>
      new Promise((done) =>
        document.addEventListener("htmx:sse:before:message", () => (left -= 1) || done(true), { passive: true }),
      ),
    number,
  );

await signUp();
await page.goto(`${given.base}/admin/`, { waitUntil: "load" });
await page.waitForFunction(() => document.querySelectorAll("canvas[role=img]").length === 3);
const results = { axe: await axe(page) };

// Live
const before = await tile();
await signUp();
results.live = (await changed(before)) !== before;

// A chart is kept while its table is changed, and so is what was opened
results.charts = await page.evaluate(() =>
  [...document.querySelectorAll("canvas")].map((canvas) => {
    const { type, data } = globalThis.Chart.getChart(canvas).config;
    const rows = canvas.closest("figure").querySelector("tbody").rows.length;
    const name = document.getElementById(canvas.getAttribute("aria-labelledby")).textContent;
    return [type, data.datasets.length, data.labels.length === rows, name];
  }),
);
await page.evaluate(() => (globalThis.kept = document.querySelector("canvas")));
await page.locator("figure summary").first().click();
await events(2);
results.kept = await page.evaluate(() => [
  globalThis.kept.isConnected,
  document.querySelector("figure details").open,
]);
const colour = () => page.evaluate(() => globalThis.Chart.getChart(globalThis.kept).data.datasets[0].backgroundColor);
const light = await colour();
await page.emulateMedia({ colorScheme: "dark" });
await page.waitForFunction((old) => globalThis.Chart.getChart(globalThis.kept).data.datasets[0].backgroundColor !== old, light);
results.colours = [light, await colour()];

// Held while something is selected in it, and while it is paused
await page.evaluate(() => getSelection().selectAllChildren(document.querySelector("#sentence")));
const held = await tile();
await signUp();
await events(2);
results.held = [(await tile()) === held, await bar.locator("span").innerText()];
await page.evaluate(() => getSelection().removeAllRanges());
results.released = (await changed(held)) !== held;
await page.getByRole("button", { name: "Pause updates" }).click();
results.paused = await bar.locator("span").innerText();
const paused = await tile();
await signUp();
await page.getByRole("button", { name: "Go on" }).click();
results.resumed = (await changed(paused)) !== paused;

// Keys
const focused = () => page.evaluate(() => document.activeElement.id);
const isOpen = () => page.evaluate(() => document.querySelector("dialog").open);
await page.keyboard.press("?");
results.help = [await isOpen()];
await page.keyboard.press("Escape");
results.help.push(await isOpen());
await page.keyboard.press("/");
results.search = await focused();
await page.keyboard.type("g?r/");
results.typed = [await page.locator("#find").inputValue(), new URL(page.url()).pathname];
await page.keyboard.press("Escape");
await page.keyboard.press("?");
await page.getByLabel("Keys are on").uncheck();
await page.getByRole("button", { name: "Close" }).click();
await page.reload();
await page.keyboard.press("/");
results.off = await focused();
await page.getByRole("button", { name: "Keyboard" }).click();
await page.getByLabel("Keys are on").check();
await page.keyboard.press("Escape");
await page.keyboard.press("g");
await Promise.all([page.waitForURL("**/admin/requests"), page.keyboard.press("r")]);
results.went = new URL(page.url()).pathname;

tell({ ...results, seen });
await close();
