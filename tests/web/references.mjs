// References come back exactly as they were given, by every method; and the prefix of Wix's own host works.
import { given, tell } from "./results.mjs";
import { MUG, NOBODY, STORES, STORES_AS_SERVED, client, item } from "./sdk.mjs";

const { notifications } = client(given);
const references = {
  nested: item("ref-shirt", { variantId: NOBODY, options: { Size: "M", Color: "Blue" }, customTextFields: { Name: "Zoë 🐈 <b>" } }),
  served: item("ref-cup", { variantId: NOBODY }, STORES_AS_SERVED),
  numbers: item("ref-poster", { width: 40, height: 59.4, framed: true }),
  none: item("ref-plain"),
  empty: item("ref-empty", {}),
};
const found = {};
for (const [name, reference] of Object.entries(references)) {
  const email = `${name}@customer.example`;
  const made = await notifications.createBackInStockNotificationRequest({ email, catalogReference: reference }, MUG);
  const { requests } = await notifications.queryBackInStockNotificationRequests({ filter: { _id: made._id } });
  const counts = await notifications.getBackInStockNotificationRequestsCountByCatalogReferences([reference]);
  found[name] = {
    given: reference,
    id: made._id,
    answers: [
      made.catalogReference,
      (await notifications.getBackInStockNotificationRequest(made._id)).catalogReference,
      requests[0].catalogReference,
      counts.countsPerCatalogReference[0].catalogReference,
    ],
    count: counts.countsPerCatalogReference[0].count,
  };
}
const other = item("ref-cup", { variantId: NOBODY }, STORES);
const counted = await notifications.getBackInStockNotificationRequestsCountByCatalogReferences([other]);

// As a client of Wix's own host calls: with a prefix, without a SDK.
const call = async (method, path, body) => {
  const headers = { Authorization: given.key, "Content-Type": "application/json" };
  const url = `https://${given.host}/back-in-stock-service/v1/back-in-stock-notification-requests${path}`;
  const reply = await fetch(url, { method, headers, body: body && JSON.stringify(body) });
  return [reply.status, await reply.json()];
};
const request = { email: "prefix@customer.example", catalogReference: item("ref-prefix") };
const [createdStatus, { request: created }] = await call("POST", "", { request, itemDetails: MUG });
const prefixed = {
  create: createdStatus,
  get: (await call("GET", `/${created.id}`))[1].request.id === created.id,
  query: (await call("POST", "/query", { query: { filter: { id: created.id } } }))[1].requests.length,
  settings: (await call("PUT", "/settings", {}))[1].settings.collectionStates.length,
  remove: await call("DELETE", `/${created.id}`),
};
tell({ found, underTheOtherId: counted.countsPerCatalogReference[0], prefixed });
