// The built worker on a platform whose parts a test can break. This file replaces parts of the
// platform, and is not deployed.
import worker, { JournalObject } from "../../edge-worker/worker.js";

export { JournalObject };

const real = globalThis.caches;
const broken = new Set();
const points = [];
// The calls of the worker's own cache, by method.
const calls = { match: 0, put: 0, delete: 0 };

const breaksOff = () => new ReadableStream({
  start: (controller) => controller.error(new Error("the body breaks off")),
});

const cacheApi = {
  async open(name) {
    const cache = await real.open(name);
    const call = (method) => async (...args) => {
      if (name === "strata") calls[method] += 1;
      if (broken.has("cache") && name === "strata") throw new Error("the Cache API is broken");
      if (broken.has("silent")) return new Promise(() => {});
      const answer = await cache[method](...args);
      return broken.has("body") && answer instanceof Response ? new Response(breaksOff(), answer) : answer;
    };
    return { match: call("match"), put: call("put"), delete: call("delete") };
  },
};
Object.defineProperty(globalThis, "caches", { configurable: true, value: cacheApi });

const platform = (env) => ({
  ...env,
  get JOURNAL() {
    return broken.has("journal") ? {} : env.JOURNAL;
  },
  ANALYTICS: {
    writeDataPoint(point) {
      if (broken.has("analytics")) throw new Error("the dataset is broken");
      env.ANALYTICS.writeDataPoint(point);
      points.push(point);
    },
  },
});

export default {
  async fetch(request, env, context) {
    const { pathname, searchParams } = new URL(request.url);
    const what = searchParams.get("what");
    switch (pathname) {
      case "/__fault/break":
        broken.add(what);
        return new Response("broken");
      case "/__fault/mend":
        broken.delete(what);
        return new Response("mended");
      case "/__fault/points":
        return Response.json(points);
      case "/__fault/calls":
        return Response.json(calls);
      case "/__fault/panic":
        globalThis.__worker_init_state.criticalError = true;
        return new Response("marked as panicked");
      case "/__fault/instance":
        return Response.json(globalThis.__worker_init_state.instanceId);
      case "/__fault/plant": {
        const cache = await real.open("strata");
        await cache.put(what, new Response("", { headers: { "cache-control": "max-age=60" } }));
        return new Response("planted");
      }
      case "/__fault/holds": {
        const cache = await real.open("strata");
        return Response.json(await cache.match(what) !== undefined);
      }
    }
    return worker.fetch(request, platform(env), context);
  },
};
