// Answers a POST of a file of vectors with a report from the wasm.
import { check, initSync } from "./strata_vectors.js";
import module from "./strata_vectors_bg.wasm";

initSync({ module });

export default {
  async fetch(request) {
    if (request.method !== "POST") return new Response("expected a POST of a file of vectors\n");
    return new Response(check(await request.text()), { headers: { "content-type": "application/json" } });
  },
};
