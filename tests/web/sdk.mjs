// Wix's SDK, unmodified, as a client of ours: the one option that shops set is `host`.
import { createClient } from "@wix/sdk";
import * as notifications from "@wix/auto_sdk_ecom_back-in-stock-notifications";
import * as settings from "@wix/auto_sdk_ecom_back-in-stock-settings";

/** The client of a shop with this key. `host` is a name and a port. */
export function client({ host, key }) {
  return createClient({
    modules: { notifications, settings },
    host: { apiBaseUrl: host },
    auth: { getAuthHeaders: async () => ({ headers: { Authorization: key } }) },
  });
}

/** What a call came to: its value, or the parts of its error that shops look at. */
export async function outcome(call) {
  try {
    return { value: await call() };
  } catch (error) {
    const { applicationError, validationError } = error.details ?? {};
    return {
      code: applicationError?.code,
      data: applicationError?.data,
      fields: validationError?.fieldViolations?.map(({ field, ruleName, violatedRule }) => [field, ruleName ?? violatedRule]),
      requestId: error.requestId,
    };
  }
}

/** The calls that the SDK makes from now on, by method and path. */
export function watchCalls() {
  const calls = [];
  const { fetch } = globalThis;
  globalThis.fetch = (url, options) => {
    calls.push(`${options?.method ?? "GET"} ${new URL(url).pathname}`);
    return fetch(url, options);
  };
  return calls;
}

/** The outcomes of calls, by their names, one after the other. */
export async function outcomes(calls) {
  const found = {};
  for (const [name, call] of Object.entries(calls)) found[name] = await outcome(call);
  return found;
}

export const STORES = "215238eb-22a5-4c36-9e7b-e7c08025e04e";
export const STORES_AS_SERVED = "1380b703-ce81-ff05-f115-39571d94dfcd";
export const NOBODY = "00000000-0000-4000-8000-000000000000";

/** A reference to an item of Wix Stores. */
export const item = (catalogItemId, options, appId = STORES) => ({ appId, catalogItemId, ...(options && { options }) });
export const MUG = { name: "Blue mug", price: "12.50" };
