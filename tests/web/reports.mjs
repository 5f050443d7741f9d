// Reports: by reference, by ids, and what is refused. The worker beside tells those who are reported.
import { setTimeout } from "node:timers/promises";
import { given, tell } from "./results.mjs";
import { MUG, NOBODY, client, item, outcomes } from "./sdk.mjs";

const { notifications } = client(given);
const make = (name, reference) =>
  notifications.createBackInStockNotificationRequest({ email: `${name}@report.example`, catalogReference: reference }, MUG);
const report = (rest, details = MUG) => notifications.reportItemsBackInStock(details, rest);
const status = async ({ _id }) => {
  for (;;) {
    const { status, autoNotified } = await notifications.getBackInStockNotificationRequest(_id);
    if (["NOTIFICATION_SENT", "FAILED"].includes(status)) return [status, autoNotified];
    await setTimeout(50);
  }
};

const red = item("report-shirt", { options: { Color: "Red" } });
const blue = item("report-shirt", { options: { Color: "Blue" } });
const people = {
  red: await make("red", red),
  blue: await make("blue", blue),
  byId: await make("by-id", item("report-other")),
  byEvent: await make("by-event", item("report-event", { customTextFields: { Name: "Zoë" }, options: { Size: 42 } })),
};
const results = { report: (await report({ catalogReference: red, extraAutomationTemplateParameters: { note: "Hello" } })) ?? null };
results.red = await status(people.red);
results.blueWaits = (await notifications.getBackInStockNotificationRequest(people.blue._id)).status;
await report({ requestIds: [people.byId._id, NOBODY] });
results.byId = await status(people.byId);
results.byEvent = await status(people.byEvent); // the test has published the event
results.errors = await outcomes({
  both: () => report({ catalogReference: red, requestIds: [people.red._id] }),
  neither: () => report({}),
  noDetails: () => report({ catalogReference: red }, {}),
  noId: () => report({ requestIds: ["no-id"] }),
  tooMany: () => report({ requestIds: Array(1001).fill(NOBODY) }),
  image: () => report({ catalogReference: red }, { ...MUG, image: "ftp://host/cup.png" }),
  readKey: () => client({ ...given, key: given.readKey }).notifications.reportItemsBackInStock(MUG, { catalogReference: red }),
  markTold: async () => (await notifications.markAsNotificationSent(people.red._id)).request.autoNotified,
});
tell(results);
