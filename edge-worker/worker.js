// The worker's entry module: starts the wasm and hands each event to it.
//
// A panic ends a wasm instance for good: its memory may hold a half-finished change. The panic hook
// of the `worker` crate then sets `criticalError`, and the next event begins with a new instance.
// `instanceId` grows with each instance.
import { DurableObject } from "cloudflare:workers";
import * as wasm from "./build/edge_worker.js";
import module from "./build/edge_worker_bg.wasm";

wasm.initSync({ module });
const state = wasm.__worker_init_state();

// Runs one event in a usable instance, and returns its response or a promise of it.
function run(event) {
  if (state.criticalError) {
    console.log("Starting a new wasm instance after a panic");
    wasm.__wbg_reset_state();
    state.criticalError = false;
  }
  try {
    return event();
  } catch (error) {
    noteTrap(error);
    throw error;
  }
}

// Marks the instance as unusable if the error is a trap, such as an exhausted stack, which runs no
// panic hook.
function noteTrap(error) {
  if (error instanceof WebAssembly.RuntimeError) {
    console.error("Critical", error);
    state.criticalError = true;
  }
}

// A trap in a resumed future reaches no caller, only the global handler.
addEventListener("error", ({ error }) => noteTrap(error));

// An object: of a class, the runtime would create an instance for each request.
export default {
  fetch: (request, env, context) => run(() => wasm.fetch(request, env, context)),
};

export class JournalObject extends DurableObject {
  #object;
  #instanceId;

  fetch(request) {
    return run(() => this.#current().fetch(request));
  }

  // The Rust object, made again when its instance was replaced. It has no state beside its storage.
  #current() {
    if (this.#instanceId !== state.instanceId) {
      this.#object = new wasm.JournalObject(this.ctx, this.env);
      this.#instanceId = state.instanceId;
    }
    return this.#object;
  }
}
