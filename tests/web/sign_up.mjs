// Signs one person up for an item with options.
import { given, tell } from "./results.mjs";
import { MUG, client, item } from "./sdk.mjs";

const made = await client(given).notifications.createBackInStockNotificationRequest(
  { email: given.email, catalogReference: item("people-mug", { options: { Color: "Blue" } }) },
  { ...MUG, name: "A blue mug with a very long name, so that it has to be broken into lines on a telephone" },
);
tell({ contactId: made.contactId });
