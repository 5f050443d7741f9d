// Takes the pictures of the pages for admins, light and dark. It logs in by the demo's one-time link.
import { open } from "./browser.mjs";
import { given, tell } from "./results.mjs";

const viewport = { width: 1200, height: 820 };
const { browser, page: light, context, close } = await open({ viewport });
await light.goto(given.base + given.link);
await light.locator("main button").first().click();
await light.waitForURL(/\/admin\/?(?!first)/);
const dark = await (await open({ browser, viewport, colorScheme: "dark" })).context;
await dark.addCookies(await context.cookies());
const taken = [];

async function take(name, path, ready = async () => {}) {
  for (const [page, end] of [[light, ""], [await dark.newPage(), "-dark"]]) {
    await page.goto(given.base + path);
    await ready(page);
    await page.screenshot({ path: `${given.folder}/${name}${end}.png` });
    taken.push(`${name}${end}.png`);
    if (end) await page.close();
  }
}

const isSending = (page) => page.waitForFunction(() => document.querySelector("main progress, main [role=progressbar]"), null, { timeout: 60_000 });
const drawn = (page) => page.waitForTimeout(2500); // until the charts have been drawn, and the figures have moved
await take("overview", "/admin/", async (page) => (await isSending(page), await drawn(page)));
await take("demand", "/admin/items");
await light.goto(`${given.base}/admin/failed`);
await light.waitForFunction(() => document.querySelector('main a[href*="/admin/requests/"]') || location.reload(), null, { polling: 1000, timeout: 60_000 });
const request = await light.locator('main a[href*="/admin/requests/"]').first().getAttribute("href");
await take("failed", "/admin/failed");
await take("why", request);
await take("mail", "/admin/mail?item=mug-blue");
await close();
tell(taken);
