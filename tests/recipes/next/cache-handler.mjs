import FileSystemCache from "next/dist/server/lib/incremental-cache/file-system-cache.js";
import { purge } from "../purge/purge.mjs";

const { SITE, PURGE_SECRET } = process.env;

/** Next's own cache, which also purges the edge for updateTag, revalidateTag and revalidatePath. */
export default class EdgeCacheHandler extends FileSystemCache.default {
  async revalidateTag(tags, durations) {
    await super.revalidateTag(tags, durations);
    await purge(SITE, PURGE_SECRET, [tags].flat().map(scope), durations ? "expire" : "remove");
  }
}

/** Next states a path as a tag: `_N_T_/products/1`, `_N_T_/products/[id]/page`. */
function scope(tag) {
  if (!tag.startsWith("_N_T_/")) return `tag:${tag}`;
  const path = tag.slice("_N_T_".length).replace(/\/(layout|page|index)$/, "");
  const fixed = path.replace(/\/\([^/]*\)/g, "").replace(/\/\[.*/, "");
  return `path:${new URL(SITE).host}${fixed}`;
}
