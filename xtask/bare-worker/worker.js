// The entry module: as that of the edge worker, without its recovery from a panic.
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import * as wasm from "./build/edge_worker.js";
import module from "./build/edge_worker_bg.wasm";

wasm.initSync({ module });

export default class Worker extends WorkerEntrypoint {
  fetch(request) {
    return wasm.fetch(request, this.env, this.ctx);
  }
}

// strata-edge has an object of this class.
export class JournalObject extends DurableObject {}
