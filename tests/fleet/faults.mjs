// The built worker on a platform whose parts a test can break, in one isolate at a time:
//
//   /__fault/set?NAME=VALUE&…  sets faults, in place of all earlier ones
//   journal=cut                calls of the journal object fail
//   journal-delay=MS           calls of the journal object take longer
//   cache=fail                 calls of the Cache API fail
//   cache=forget               the Cache API stores nothing, and finds nothing
//   cache-delay=MS             calls of the Cache API take longer
//   /__fault/journal-calls     the number of calls of the journal object so far
//   /__fault/journal?path=P    POST: sends the body to the journal object
import worker, { JournalObject } from "./worker.js";

export { JournalObject };

let faults = new URLSearchParams();
let journalCalls = 0;

const delay = (name) => {
  const ms = Number(faults.get(name) ?? 0);
  return ms > 0 ? new Promise((resolve) => setTimeout(resolve, ms)) : undefined;
};

const real = globalThis.caches;
const cacheApi = {
  async open(name) {
    const cache = await real.open(name);
    const call = (method) => async (...args) => {
      await delay("cache-delay");
      if (faults.get("cache") === "fail") throw new Error("the Cache API is broken");
      if (faults.get("cache") === "forget") return method === "delete" ? false : undefined;
      return cache[method](...args);
    };
    return { match: call("match"), put: call("put"), delete: call("delete") };
  },
};
Object.defineProperty(globalThis, "caches", { configurable: true, value: cacheApi });

const stub = (object) => ({
  async fetch(...args) {
    journalCalls += 1;
    await delay("journal-delay");
    if (faults.get("journal") === "cut") throw new Error("the journal object is cut off");
    return object.fetch(...args);
  },
});

const namespace = (objects) => new Proxy(objects, {
  get: (target, name) => (name === "getByName" ? (of) => stub(target.getByName(of)) : target[name]),
});

export default {
  async fetch(request, env, context) {
    const platform = { ...env, JOURNAL: namespace(env.JOURNAL) };
    const { pathname, searchParams } = new URL(request.url);
    switch (pathname) {
      case "/__fault/set":
        faults = searchParams;
        return new Response("set");
      case "/__fault/journal-calls":
        return new Response(String(journalCalls));
      case "/__fault/journal":
        return platform.JOURNAL.getByName("journal")
          .fetch(`https://journal${searchParams.get("path")}`, { method: "POST", body: await request.text() });
    }
    return worker.fetch(request, platform, context);
  },
};
