// Takes the pictures of the pages for admins, light and dark. It logs in by the one-time link that the demo prints.
import { readFileSync } from "node:fs";
import { open } from "./browser.mjs";
import { given, tell } from "./results.mjs";

const viewport = { width: 1200, height: 820 };
const LINK = /(http:\/\/127\.0\.0\.1:\d+)\/admin\/first\/\S+/;
const MOST_SECONDS = 90;
const later = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

// The browser is up before the demo is: its mails are sent within seconds.
const { browser, page: light, context, close } = await open({ viewport });
const { page: dark, context: darkContext } = await open({ browser, viewport, colorScheme: "dark" });
const [link, base] = await found(() => LINK.exec(readFileSync(given.said, "utf8")));
await light.goto(link);
await light.locator("main button").first().click();
await light.waitForURL((url) => !url.pathname.includes("/first/"));
await darkContext.addCookies(await context.cookies());
const taken = [];

/** Looks until there is something. */
async function found(look, every = 100) {
  for (let waited = 0; waited < MOST_SECONDS * 1000; waited += every) {
    const seen = await look();
    if (seen) return seen;
    await later(every);
  }
  throw new Error("the demo does not get so far");
}

async function take(name, path, drawn = 0) {
  await Promise.all([light, dark].map((page) => page.goto(base + path)));
  await later(drawn); // until charts are drawn, and what is live has moved
  for (const [page, end] of [[light, ""], [dark, "-dark"]]) {
    await page.screenshot({ path: `${given.folder}/${name}${end}.png` });
    taken.push(`${name}${end}.png`);
  }
}

/** Waits until a page has what this selects. */
const until = (path, selector) =>
  found(async () => {
    await light.goto(base + path);
    return light.locator(selector).count();
  }, 300);

await until("/admin/", "#mailing progress");
await take("overview", "/admin/", 2500);
await until("/admin/failed", 'main a[href*="/admin/requests/"]');
const request = await light.locator('main a[href*="/admin/requests/"]').first().getAttribute("href");
await take("failed", "/admin/failed");
await take("why", request);
await take("demand", "/admin/items");
await take("mail", "/admin/mail?item=mug-blue", 1000);
await close();
tell(taken);
