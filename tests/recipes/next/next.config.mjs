import { fileURLToPath } from "node:url";

/** @type {import("next").NextConfig} */
export default {
  cacheComponents: true,
  cacheHandler: fileURLToPath(new URL("./cache-handler.mjs", import.meta.url)),
  // The folder above, which has the function that purges.
  turbopack: { root: fileURLToPath(new URL("..", import.meta.url)) },
  async headers() {
    return [{ source: "/products/:id", headers: [{ key: "Cache-Tag", value: "product::id" }] }];
  },
  async redirects() {
    return [{ source: "/old", destination: "/products/1", permanent: true }];
  },
};
