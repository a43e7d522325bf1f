# The worker that checks the golden vectors, for `workerd serve`. `cargo xtask vectors` puts the modules into build/.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "main", worker = .vectors)],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);

const vectors :Workerd.Worker = (
  modules = [
    (name = "worker.js", esModule = embed "worker.js"),
    (name = "strata_vectors.js", esModule = embed "build/strata_vectors.js"),
    (name = "strata_vectors_bg.wasm", wasm = embed "build/strata_vectors_bg.wasm"),
  ],
  # The same date as the edge worker's, in wrangler.toml.
  compatibilityDate = "2026-11-01",
);
