import node from "@astrojs/node";
import { defineConfig } from "astro/config";

export default defineConfig({
  output: "server",
  adapter: node({ mode: "standalone" }),
  // The hosts of the site. Astro believes X-Forwarded-Host for these only, and otherwise refuses
  // forms: their Origin is the site's, and Host is the origin's.
  security: { allowedDomains: [{ hostname: "shop.example" }, { hostname: "127.0.0.1" }] },
});
