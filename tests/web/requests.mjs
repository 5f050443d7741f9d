// The seven methods on requests but for query, each with its errors.
import { given, tell } from "./results.mjs";
import { MUG, NOBODY, client, item, outcome, outcomes } from "./sdk.mjs";

const bell = client(given);
const { notifications } = bell;
const create = (request, details = MUG) => notifications.createBackInStockNotificationRequest(request, details);
const get = (id) => notifications.getBackInStockNotificationRequest(id);
const mark = (id) => notifications.markAsNotificationSent(id);
const remove = (id) => notifications.deleteBackInStockNotificationRequest(id);
const count = async (references) =>
  (await notifications.getBackInStockNotificationRequestsCountByCatalogReferences(references)).countsPerCatalogReference;

const jane = { email: "jane@customer.example", catalogReference: item("sdk-mug", { variantId: NOBODY }) };
const results = {};

const made = await create({ ...jane, itemUrl: "https://shop.example/p/sdk-mug" });
results.made = made;
results.isDate = made._createdDate instanceof Date;
results.again = await outcome(() => create(jane));
results.got = await get(made._id);
results.counted = await count([jane.catalogReference, item("sdk-nobody")]);
results.marked = (await mark(made._id)).request;
results.markedAgain = (await mark(made._id)).request;
results.countedAfter = await count([jane.catalogReference]);
const second = await create(jane); // the first is resolved
results.isAnother = second._id !== made._id;
results.removed = (await remove(second._id)) ?? null;

results.errors = await outcomes({
  getNobody: () => get(NOBODY),
  getNoId: () => get("no-id"),
  removeNobody: () => remove(NOBODY),
  removeTwice: () => remove(second._id),
  markNobody: () => mark(NOBODY),
  markNoId: () => mark("no-id"),
  createNothing: () => create({}, {}),
  createWrong: () =>
    create(
      { email: "jane", itemUrl: "javascript:alert(1)", catalogReference: { appId: "", catalogItemId: "x".repeat(37) } },
      { name: "Mug", price: "$385" },
    ),
  createWrongOptions: () => create({ ...jane, catalogReference: item("sdk-mug", deep(30)) }),
  createWrongImage: () => create({ ...jane, email: "image@customer.example" }, { ...MUG, image: "ftp://host/cup.png" }),
  count101: () => count(Array.from({ length: 101 }, (_, number) => v3(number))),
  count0: () => count([]),
  noKey: () => client({ ...given, key: "" }).notifications.getBackInStockNotificationRequest(NOBODY),
  unknownKey: () => client({ ...given, key: "sb_admin_x" }).notifications.getBackInStockNotificationRequest(NOBODY),
  readKeyCreates: () => client({ ...given, key: given.readKey }).notifications.createBackInStockNotificationRequest(jane, MUG),
  readKeyRemoves: () => client({ ...given, key: given.readKey }).notifications.deleteBackInStockNotificationRequest(made._id),
});
results.readKeyGets = await client({ ...given, key: `Bearer ${given.readKey}` }).notifications.getBackInStockNotificationRequest(made._id);
results.counted100 = (await count(Array.from({ length: 100 }, (_, number) => v3(number)))).length;
results.images = await outcomes({
  url: () => create({ ...jane, email: "url@customer.example" }, { ...MUG, image: "https://img.example/cup.png" }),
  wix: () =>
    create({ ...jane, email: "wix@customer.example" }, { ...MUG, image: "wix:image://v1/abc~mv2.png/cup.png#originWidth=9&originHeight=9" }),
});
tell(results);

/** A reference as Catalog V3 makes it, of the length that those have. */
function v3(number) {
  const id = `00000000-0000-4000-8000-${String(number).padStart(12, "0")}`;
  return item(id, { variantId: id, options: { "0d4bf7f2-b1a4-4b3e-8c87-7a1b2d9c1c11": "5c2f0e0e-3a53-4a43-8a7f-2b9e4a6b8f10" } });
}

function deep(depth) {
  return depth ? { deeper: deep(depth - 1) } : { end: true };
}
