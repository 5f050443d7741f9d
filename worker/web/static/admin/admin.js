// The pages for admins work without this. It shows times as the reader's own, copies commands, and knows some keys.
"use strict";

for (const time of document.querySelectorAll("time[datetime]:not([data-ago])")) {
  const at = new Date(time.dateTime);
  time.textContent = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}
