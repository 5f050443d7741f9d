// Settings: collecting on and off, under both of the ids that Wix Stores goes by.
import { given, tell } from "./results.mjs";
import { MUG, NOBODY, STORES, STORES_AS_SERVED, client, item, outcomes } from "./sdk.mjs";

const { notifications, settings } = client(given);
const create = () =>
  notifications.createBackInStockNotificationRequest({ email: "s@customer.example", catalogReference: item("settings") }, MUG);
const collecting = ({ collectionStates }) =>
  Object.fromEntries(collectionStates.map(({ appId, collectingRequests }) => [appId, collectingRequests]));
const states = async (call) => {
  const answer = await call;
  return collecting(answer.settings ?? answer);
};
const results = { atFirst: await states(settings.getSettings()) };
results.stopped = await states(settings.stopCollectingRequests(STORES));
results.whileStopped = await outcomes({ create });
results.started = await states(settings.startCollectingRequests(STORES_AS_SERVED));
results.after = await states(settings.getSettings());
results.created = (await create()).status;
results.errors = await outcomes({
  other: () => settings.startCollectingRequests(NOBODY),
  noId: () => settings.startCollectingRequests("stores"),
  noStop: () => settings.stopCollectingRequests("stores"),
  readKeyStops: () => client({ ...given, key: given.readKey }).settings.stopCollectingRequests(STORES),
});
results.readKeyGets = await states(client({ ...given, key: given.readKey }).settings.getSettings());
tell(results);
