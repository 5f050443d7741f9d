// Our events as their receivers read them: Wix's SDK, and the library of Standard Webhooks.
import { AppStrategy, createClient } from "@wix/sdk";
import * as notifications from "@wix/auto_sdk_ecom_back-in-stock-notifications";
import { Webhook } from "standardwebhooks";
import { given, tell } from "./results.mjs";

const client = createClient({ modules: { notifications }, auth: AppStrategy({ appId: "ours", publicKey: given.publicKey }) });
const handled = [];
for (const kind of ["Created", "Updated", "Deleted"])
  client.notifications[`onBackInStockNotificationRequest${kind}`](({ entity, metadata }) => {
    handled.push({ kind, entity, isDate: entity._createdDate instanceof Date, metadata });
  });

const refusal = async (call) => {
  try {
    await call();
    return null;
  } catch (error) {
    return error.code ?? error.message;
  }
};

for (const token of given.tokens) await client.webhooks.process(token);
const [header, payload, signature] = given.tokens[0].split(".");
const claim = Buffer.from(payload, "base64url").toString().replace("RECEIVED", "REGEIVED");
const refused = {
  changed: await refusal(() => client.webhooks.process([header, Buffer.from(claim).toString("base64url"), signature].join("."))),
  expired: await refusal(() => client.webhooks.process(given.expired)),
  byAnother: await refusal(() => client.webhooks.process(given.byAnother)),
};

const { body, headers } = given.standard;
const verified = (secret) => new Webhook(secret).verify(body, headers);
tell({
  handled,
  refused,
  standard: given.secrets.map((secret) => verified(secret)),
  standardRefused: {
    changed: await refusal(() => new Webhook(given.secrets[0]).verify(body.replace("SENT", "SEND"), headers)),
    secret: await refusal(() => verified(given.otherSecret)),
    old: await refusal(() => new Webhook(given.secrets[0]).verify(given.old.body, given.old.headers)),
  },
});
