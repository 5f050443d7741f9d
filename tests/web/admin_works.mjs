// What admins do, without JavaScript and by the keyboard alone: each button and link is reached with Tab.
import { open } from "./browser.mjs";
import { given, tell } from "./results.mjs";

const { page, context, seen, close } = await open({ javaScriptEnabled: false });
await context.addCookies([{ name: given.cookie, value: given.secret, url: given.base }]);
const MOST_TABS = 250;

const go = (path) => page.goto(`${given.base}/admin${path}`);
const heading = () => page.locator("h1").innerText();
const said = () => page.getByRole("status").first().innerText();

/** Moves the focus to what has this name, as somebody without a mouse does. */
async function reach(role, name) {
  for (let tabs = 0; tabs < MOST_TABS; tabs++) {
    await page.keyboard.press("Tab");
    const wanted = page.getByRole(role, { name }).and(page.locator(":focus"));
    if (await wanted.count()) return;
  }
  throw new Error(`Tab does not lead to ${role} ${name} on ${page.url()}`);
}
async function press(role, name, key = "Enter") {
  await reach(role, name);
  const [reply] = await Promise.all([page.waitForNavigation(), page.keyboard.press(key)]);
  return reply.status();
}
async function write(name, text) {
  await reach("textbox", name);
  await page.keyboard.press("Control+A");
  await page.keyboard.type(text);
}

/** Loads the page again until it says this. A page that is about something running does so by itself, but more slowly. */
async function until(words) {
  for (let looks = 0; looks < 120 && !(await page.getByText(words).count()); looks++) {
    await new Promise((later) => setTimeout(later, 250));
    await page.goto(page.url());
  }
}

const done = {};
// The first stop of Tab skips the menu.
await go("/failed");
await page.keyboard.press("Tab");
done.skip = await page.locator(":focus").innerText();

// A group is retried, looked at, and undone.
await go("/failed?code=RECIPIENT_REJECTED");
done.preview = [await press("button", /^Retry all/), await heading(), await page.locator(".lead").innerText()];
done.confirmed = await press("button", /^Retry \d+$/);
await until(/^Done:/);
done.retried = await page.locator(".lead").innerText();
done.undo = await press("button", /^Undo/);
await until(/^Undone:/);
done.undone = await page.locator(".lead").innerText();

// Some are ticked, and marked.
await go("/failed?code=MESSAGE_REJECTED");
await reach("checkbox", /^Pick the request of/);
await page.keyboard.press("Space");
done.ticked = [await press("button", "Mark as sent…"), await page.locator(".lead").innerText()];

// A filter with nonsense is shown back, with what is wrong.
await go("/failed?since=yesterday-ish");
done.nonsense = [await page.locator("#since").inputValue(), await page.locator("#since-about").innerText()];

// Sending is paused and goes on.
await go("/");
done.paused = [await press("button", "Pause all sending"), await said()];
done.resumed = [await press("button", /^Resume/), await said()];

// A customer is found by the address, which is in no URL.
await go("/why");
await write(/Address/, given.email);
done.found = [await press("button", "Tell me why"), page.url().includes("@"), await page.locator("main .lead, main .note").first().innerText()];

// What if some come back?
await go(`/items/${given.app}/mug-1`);
await write("Pieces", "5");
done.whatIf = [await press("button", "Tell me"), await page.getByText(/came back now/).innerText()];
await close();
tell({ done, seen });
