// The SDK in Chromium, on pages of other origins than ours: the shop's, and one that is not listed with the key.
import { createServer } from "node:http";
import { build } from "esbuild";
import { open } from "./browser.mjs";
import { given, tell } from "./results.mjs";

const { outputFiles } = await build({
  entryPoints: ["shop_page.mjs"],
  bundle: true,
  format: "iife",
  platform: "browser",
  write: false,
  logLevel: "error",
});
const PAGE = `<!doctype html><html lang="en"><title>Shop</title><script src="/shop.js"></script>`;
const servers = [await serve(given.shopPort), await serve(0)];
const [shop, stranger] = servers.map((server) => `http://127.0.0.1:${server.address().port}`);
const { page, seen, context, close } = await open();
const asked = [];
context.on("request", (request) => {
  const { host, pathname } = new URL(request.url());
  if (host === given.host) asked.push(`${request.method()} ${pathname}`);
});

const at = async (origin, work, ...rest) => {
  await page.goto(origin);
  return page.evaluate(([work, ...rest]) => globalThis[work](...rest), [work, { ...given, shop }, ...rest]);
};
const found = {
  made: await at(shop, "signUp", "page@customer.example"),
  again: await at(shop, "signUp", "page@customer.example"),
  wrong: await at(shop, "signUp", "page"),
  elsewhere: await at(stranger, "signUp", "elsewhere@customer.example"),
  query: await at(shop, "find"),
  tooMuch: await at(shop, "sendTooMuch"),
};
await close();
servers.forEach((server) => server.close());
tell({ ...found, asked, foreign: seen.foreign, violations: seen.violations });

/** A shop that allows its pages its own script and our host, and nothing else. */
async function serve(port) {
  const policy = `default-src 'none'; script-src 'self'; connect-src https://${given.host}`;
  const server = createServer(({ url }, reply) => {
    reply.setHeader("Content-Security-Policy", policy);
    const isScript = url === "/shop.js";
    reply.setHeader("Content-Type", isScript ? "text/javascript" : "text/html; charset=utf-8");
    reply.end(isScript ? outputFiles[0].text : PAGE);
  });
  await new Promise((listening) => server.listen(port, "127.0.0.1", listening));
  return server;
}
