// What a shop's own page does with the SDK. It is bundled for the browser.
import { MUG, client, item, outcome } from "./sdk.mjs";

globalThis.signUp = (given, email) =>
  outcome(() =>
    client(given).notifications.createBackInStockNotificationRequest(
      { email, itemUrl: `${given.shop}/p/page-mug`, catalogReference: item("page-mug", { variantId: "blue" }) },
      MUG,
    ),
  );
globalThis.find = (given) => outcome(() => client(given).notifications.queryBackInStockNotificationRequests({}));
globalThis.sendTooMuch = async ({ host, key }) => {
  const reply = await fetch(`https://${host}/v1/back-in-stock-notification-requests`, {
    method: "POST",
    headers: { Authorization: key, "Content-Type": "application/json" },
    body: JSON.stringify({ text: "x".repeat(70_000) }),
  });
  return [reply.status, (await reply.json()).details.applicationError.code, Boolean(reply.headers.get("x-wix-request-id"))];
};
