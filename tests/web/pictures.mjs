// Makes the pictures of the shop's page in docs/pictures, from a demo that stays open:
//   stockbell demo --shop      and in this folder:      node pictures.mjs http://127.0.0.1:PORT/
import { fileURLToPath } from "node:url";
import { open } from "./browser.mjs";

const folder = fileURLToPath(new URL("../../docs/pictures/", import.meta.url));
const size = { width: 960, height: 560 };

for (const [name, colorScheme] of [["shop.png", "light"], ["shop-dark.png", "dark"]]) {
  const { page, close } = await open({ colorScheme, viewport: size });
  await page.goto(process.argv[2]);
  await page.waitForFunction(() => document.querySelector("#stock").textContent === "Sold out");
  await page.fill("stockbell-notify [type=email]", "ada@mail.example");
  if (name === "shop-dark.png") {
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.querySelector(".stockbell-status").textContent);
    await page.evaluate(() => document.activeElement.blur());
  }
  await page.screenshot({ path: folder + name, clip: { x: 0, y: 0, ...size } });
  await close();
}
