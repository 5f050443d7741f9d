// Query: by the builder and typed, both ways through pages, with each operator; and longer than a URL may be.
import { given, tell } from "./results.mjs";
import { MUG, client, item, outcomes, watchCalls } from "./sdk.mjs";

const calls = watchCalls();
const { notifications } = client(given);
const create = notifications.createBackInStockNotificationRequest;
const names = ["a", "b", "c", "d", "e"];
const made = {};
for (const name of names)
  made[name] = await create(
    { email: `${name}@query.example`, catalogReference: item(`query-${name}`), itemUrl: `https://shop.example/query/${name}` },
    MUG,
  );
await notifications.markAsNotificationSent(made.e._id);

const all = () => notifications.queryBackInStockNotificationRequests().startsWith("itemUrl", "https://shop.example/query/");
const named = ({ items }) => items.map(({ email }) => email[0]).join("");
const forms = {};

// The builder's pages.
const first = await all().limit(2).find();
const second = await first.next();
const third = await second.next();
const back = await third.prev();
forms.pages = [first, second, third, back, await back.prev()].map(named);
forms.edges = [first.hasPrev(), first.hasNext(), third.hasPrev(), third.hasNext()];
forms.ascending = named(await all().ascending("_createdDate").find());
forms.descending = named(await all().descending("itemUrl").find());
forms.status = named(await all().eq("status", "NOTIFICATION_SENT").find());
forms.notStatus = named(await all().ne("status", "NOTIFICATION_SENT").ascending("itemUrl").find());
forms.autoNotified = named(await all().exists("autoNotified", true).find());
forms.in = named(await all().in("_id", [made.a._id, made.c._id]).ascending("itemUrl").find());
forms.greater = named(await all().gt("itemUrl", "https://shop.example/query/c").ascending("itemUrl").find());
forms.since = named(await all().ge("_createdDate", made.b._createdDate).ascending("itemUrl").find());
forms.contact = named(await all().eq("contactId", made.d.contactId).find());

// Typed queries.
const typed = async (filter, rest = {}) => {
  const inQuery = { itemUrl: { $startsWith: "https://shop.example/QUERY/" } };
  const query = { filter: { $and: [inQuery, filter] }, sort: [{ fieldName: "itemUrl", order: "ASC" }], ...rest };
  return notifications.queryBackInStockNotificationRequests(query);
};
const emails = ({ requests, backInStockNotificationRequests }) =>
  (requests ?? backInStockNotificationRequests).map(({ email }) => email[0]).join("");
forms.or = emails(await typed({ $or: [{ itemUrl: made.a.itemUrl }, { _id: made.e._id }] }));
forms.not = emails(await typed({ $not: { itemUrl: { $in: [made.a.itemUrl, made.b.itemUrl] } } }));
forms.noResult = emails(await typed({ status: "UNSPECIFIED" }));
forms.isAbsent = emails(await typed({ autoNotified: null }));
calls.length = 0;
const many = Array(100).fill(`https://shop.example/${"x".repeat(60)}`);
forms.long = emails(await typed({ itemUrl: { $in: [made.b.itemUrl, ...many] } }));
forms.longCalls = [...calls];
const page = await typed({}, { cursorPaging: { limit: 2 } });
forms.typed = emails(page);
const cursors = (page.metadata ?? page.pagingMetadata).cursors;
forms.typedNext = emails(await notifications.queryBackInStockNotificationRequests({ cursorPaging: { cursor: cursors.next, limit: 2 } }));
forms.nothingAsked = (await notifications.queryBackInStockNotificationRequests({})).requests?.length >= 5;

forms.errors = await outcomes({
  field: () => typed({ email: { $startsWith: "a" } }),
  operator: () => typed({ status: { $regex: ".*" } }),
  sort: () => typed({}, { sort: [{ fieldName: "email", order: "ASC" }] }),
  limit: () => typed({}, { cursorPaging: { limit: 101 } }),
  cursor: () => notifications.queryBackInStockNotificationRequests({ cursorPaging: { cursor: "x" } }),
  cursorOfAnotherFilter: () => typed({ status: "FAILED" }, { cursorPaging: { cursor: cursors.next } }),
  cursorOfAnotherSort: () =>
    typed({}, { sort: [{ fieldName: "itemUrl", order: "DESC" }], cursorPaging: { cursor: cursors.next } }),
  builder: () => all().limit(1000).find(),
});
tell(forms);
