// The pages that mails lead to, as people see them: light and dark, wide and narrow, from right to left, and used
// without JavaScript.
import { axe, open } from "./browser.mjs";
import { given, tell } from "./results.mjs";

const LOOKS = {
  light: {},
  dark: { colorScheme: "dark" },
  narrow: { viewport: { width: 320, height: 640 } },
  rightToLeft: { locale: "ar", viewport: { width: 320, height: 640 } },
};
const { browser, close: closeBrowser, page, seen } = await open({ javaScriptEnabled: false, locale: "en" });
const looks = {};
for (const [look, options] of Object.entries(LOOKS)) {
  const { page, seen, close } = await open({ browser, ...options });
  for (const [name, link] of Object.entries(given.links)) {
    const status = (await page.goto(link)).status();
    const dir = await page.evaluate(() => document.documentElement.dir);
    const isTooWide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    looks[`${name} ${look}`] = { status, dir, isTooWide, axe: await axe(page) };
    if (given.pictures) await page.screenshot({ path: `${given.pictures}/${name}-${look}.png`, fullPage: true });
  }
  looks[look] = seen;
  await close();
}

// Used without JavaScript.
const heading = () => page.locator("h1").innerText();
const press = async (button) => {
  const [reply] = await Promise.all([page.waitForNavigation(), button.click()]);
  return reply.status();
};
const buttons = () => page.getByRole("button");
const used = {};
await page.goto(given.links.confirm);
used.asked = await heading();
used.confirming = [await press(buttons().first()), await heading()];
await page.goto(given.links.leave);
used.leaving = [await press(page.getByRole("button", { name: given.words.stopAll }).first()), await page.getByRole("status").innerText()];
used.takingBack = [await press(page.getByRole("button", { name: given.words.takeBack })), await page.getByRole("status").innerText()];
used.erasing = [await press(page.getByRole("button", { name: given.words.erase })), await heading()];
used.erased = [await press(buttons().first()), await heading()];
await closeBrowser();
tell({ looks, used, errors: seen.errors, violations: seen.violations, foreign: seen.foreign });
