import { purge } from "./purge.mjs";

const [site, mode, ...scopes] = process.argv.slice(2);
await purge(site, process.env.PURGE_SECRET, scopes, mode);
