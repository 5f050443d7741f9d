// Each page for admins as people look at it: light and dark, wide and narrow. Notices scripts that ran though they must not.
import { axe, open } from "./browser.mjs";
import { given, tell } from "./results.mjs";

const WIDE = { width: 1280, height: 900 };
const NARROW = { width: 320, height: 800 };
const LOOKS = {
  light: { viewport: WIDE },
  dark: { viewport: WIDE, colorScheme: "dark" },
  narrow: { viewport: NARROW },
  narrowDark: { viewport: NARROW, colorScheme: "dark" },
};
const { browser, close: closeBrowser } = await open();
const looks = {};
await Promise.all(
  Object.entries(LOOKS).map(async ([look, options]) => {
    const { page, context, seen, close } = await open({ browser, ...options });
    await context.addCookies([{ name: given.cookie, value: given.secret, url: given.base }]);
    const dialogs = [];
    page.on("dialog", (dialog) => (dialogs.push(dialog.message()), dialog.dismiss()));
    for (const [name, path] of Object.entries(given.pages)) {
      const reply = await page.goto(given.base + path);
      const found = await page.evaluate(() => ({
        isTooWide: document.documentElement.scrollWidth > innerWidth,
        headings: document.querySelectorAll("h1").length,
        attacked: globalThis.attacked ?? null,
      }));
      const isThere = new URL(page.url()).pathname === new URL(given.base + path).pathname; // and not the log-in
      looks[`${name} ${look}`] = { status: reply.status(), isThere, ...found, axe: await axe(page) };
      if (given.pictures) await page.screenshot({ path: `${given.pictures}/${name}-${look}.png`, fullPage: true });
    }
    looks[look] = { ...seen, dialogs };
    await close();
  }),
);
await closeBrowser();
tell(looks);
