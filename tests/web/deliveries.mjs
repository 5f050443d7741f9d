// Our events, delivered: a receiver that takes both formats while the SDK makes, marks and deletes a request.
import { once } from "node:events";
import { createServer } from "node:http";
import { setTimeout } from "node:timers/promises";
import { AppStrategy, createClient } from "@wix/sdk";
import * as notifications from "@wix/auto_sdk_ecom_back-in-stock-notifications";
import { Webhook } from "standardwebhooks";
import { given, tell } from "./results.mjs";
import { MUG, client, item } from "./sdk.mjs";

const read = { wix: [], standard: [] };
const receiver = createClient({ modules: { notifications }, auth: AppStrategy({ appId: "ours", publicKey: given.publicKey }) });
for (const kind of ["Created", "Updated", "Deleted"])
  receiver.notifications[`onBackInStockNotificationRequest${kind}`](({ entity, metadata }) => {
    read.wix.push([metadata.slug, entity._id, entity.status, entity.email ?? null]);
  });

const server = createServer(async (request, reply) => {
  const body = Buffer.concat(await request.toArray()).toString();
  try {
    if (request.url === "/wix") await receiver.webhooks.process(body);
    else {
      const { type, data } = new Webhook(given.secret).verify(body, request.headers);
      read.standard.push([type.split(".")[1], data.id, data.status, data.email ?? null]);
    }
    reply.writeHead(204).end();
  } catch (error) {
    console.error(error); // the test shows it
    reply.writeHead(400).end();
  }
});
await once(server.listen(given.port, "127.0.0.1"), "listening");

const both = async (count) => {
  while (read.wix.length < count || read.standard.length < count) await setTimeout(20);
};
const shop = client(given).notifications;
const made = await shop.createBackInStockNotificationRequest({ email: "told@customer.example", catalogReference: item("told") }, MUG);
await both(1); // changes that follow each other at once are told as one
await shop.markAsNotificationSent(made._id);
await both(2);
await shop.deleteBackInStockNotificationRequest(made._id);
await both(3);
server.close();
server.closeAllConnections();
tell({ id: made._id, ...read });
