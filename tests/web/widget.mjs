// The sign-up form in Chromium, on pages of a shop with a strict policy: by keyboard, in another direction, without
// JavaScript, and at a second visit.
import { createServer } from "node:http";
import { axe, open } from "./browser.mjs";
import { given, tell } from "./results.mjs";

const bell = `https://${given.host}/widget/`;
const server = await serve(given.shopPort);
const shop = `http://127.0.0.1:${given.shopPort}`;

tell({ script: await withScript(), plain: await withoutScript() });
server.close();

async function withScript() {
  const { page, context, seen, close } = await open({ viewport: { width: 320, height: 640 } });
  const asked = [];
  context.on("request", (request) => request.url().startsWith(bell) && asked.push(request.url().slice(bell.length)));
  await page.goto(`${shop}/de`);
  await page.evaluate(() => document.addEventListener("stockbell:subscribed", (event) => (globalThis.told = event.detail)));
  const before = [...asked];
  const found = { wrong: await byKeyboard(page, "nobody"), focus: await focused(page), axe: await axeAlone(page, seen) };
  found.done = await byKeyboard(page, "ada@mail.example");
  found.told = await page.evaluate(() => globalThis.told);
  found.focusAfter = await focused(page);
  found.stored = await page.evaluate(() => Object.keys(localStorage).join());
  found.values = await page.evaluate(() => Object.values(localStorage).join());
  await page.reload();
  found.again = await state(page);
  await page.selectOption("#colour", "Red");
  found.other = await state(page);
  await page.selectOption("#colour", "Sand");
  found.inStock = await state(page);
  await page.evaluate(() => Stockbell.set({ item: "set-by-script", options: { Size: "L" } }));
  await page.selectOption("#colour", "Red");
  found.set = await page.evaluate(() => document.querySelector("stockbell-notify").look());
  found.axeAgain = await axeAlone(page, seen);
  await page.goto(`${shop}/ar`);
  await page.waitForSelector(".stockbell-status", { state: "attached" });
  found.arabic = await page.evaluate(() => ({
    label: document.querySelector(".stockbell-form label").textContent,
    align: getComputedStyle(document.querySelector(".stockbell-form label")).textAlign,
    isTooWide: document.documentElement.scrollWidth > innerWidth,
    height: Math.min(...[...document.querySelectorAll("stockbell-notify :is(button, [type=email])")].map((each) => each.hidden ? 99 : each.offsetHeight)),
  }));
  found.axeArabic = await axeAlone(page, seen);
  found.errors = [...seen.errors]; // our page answers with 400, which Chromium calls an error
  await page.goto(`${shop}/plain`);
  await page.fill("[type=email]", "bo@mail");
  await page.click("button");
  found.ours = await page.textContent("#error");
  found.axeOurs = await axeAlone(page, seen);
  const cookies = await context.cookies();
  await close();
  return { ...found, before, cookies, violations: seen.violations, foreign: seen.foreign };
}

/** axe adds a style of its own, which the page's policy forbids. */
async function axeAlone(page, seen) {
  const before = seen.violations.length;
  const found = await axe(page);
  seen.violations.length = before;
  return found;
}

/** Fills in and sends the form as one does without a mouse, and waits for what it says. */
async function byKeyboard(page, address) {
  for (let tabs = 0; tabs < 9 && (await focused(page)) !== "email"; tabs++) await page.keyboard.press("Tab");
  await page.keyboard.press("ControlOrMeta+A");
  await page.keyboard.type(address);
  await page.evaluate(() => (document.querySelector(".stockbell-error").textContent = ""));
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector(".stockbell-status").textContent + document.querySelector(".stockbell-error").textContent);
  return state(page);
}

function focused(page) {
  return page.evaluate(() => document.activeElement.name || document.activeElement.className);
}

function state(page) {
  return page.evaluate(() => {
    const form = document.querySelector("stockbell-notify");
    if (form.hidden) return "hidden";
    const text = (name) => form.querySelector(name).textContent;
    const hasForm = form.querySelector("form").offsetHeight > 0;
    return { says: text(".stockbell-status"), error: text(".stockbell-error"), hasForm };
  });
}

async function withoutScript() {
  const { page, seen, close } = await open({ javaScriptEnabled: false });
  await page.goto(`${shop}/plain`);
  await page.fill("[type=email]", "cy@mail.example");
  await page.click("button");
  const asked = await page.textContent("h1");
  await page.waitForTimeout(2100); // a person reads the page
  await page.click("button");
  const done = await page.textContent("h1");
  await close();
  return { asked, done, foreign: seen.foreign };
}

/** A shop that allows its pages our host, and nothing else. */
async function serve(port) {
  const policy =
    `default-src 'none'; script-src ${bell}; style-src ${bell}; connect-src ${bell}; form-action ${bell}; base-uri 'none'`;
  const script = `<script src="${bell}v1.js" data-key="${given.shopKey}" defer></script>`;
  const select = `<label for="colour">Colour</label><select id="colour" name="Colour" autocomplete="off">
    <option>Blue</option><option>Red</option><option data-in-stock>Sand</option></select>`;
  const words = `text-label="البريد الإلكتروني" text-button="أعلموني" text-title="أعلموني عند توفره" text-consent="رسالة واحدة"`;
  const form = (inner, item = "mug-1") => `<stockbell-notify item="${item}" variant-from="#colour" privacy="/privacy" ${inner}</stockbell-notify>`;
  const plain = `<form action="${bell}subscribe" method="post"><input type="hidden" name="key" value="${given.shopKey}">
    <input type="hidden" name="item" value="mug-plain"><label for="email">Email</label>
    <input id="email" name="email" type="email"><button>Notify me</button></form>`;
  const pages = {
    "/de": `<html lang="de-AT"><head><title>Shop</title>${script}</head><body><main><h1>Tasse</h1>${select}${form(">")}`,
    "/ar": `<html lang="ar" dir="rtl"><head><title>Shop</title>${script}</head><body><main><h1>كوب</h1>${select}${form(`${words}>`, "mug-2")}`,
    "/plain": `<html lang="en"><head><title>Shop</title></head><body><main><h1>Mug</h1>${form(`>${plain}`)}`,
  };
  const server = createServer(({ url }, reply) => {
    reply.setHeader("Content-Security-Policy", policy);
    reply.setHeader("Content-Type", "text/html; charset=utf-8");
    reply.statusCode = pages[url] ? 200 : 204;
    reply.end(pages[url] && `<!doctype html>${pages[url]}</main></body></html>`);
  });
  await new Promise((listening) => server.listen(port, "127.0.0.1", listening));
  return server;
}
