import { cacheLife, cacheTag } from "next/cache";

export default async function Page() {
  "use cache";
  cacheTag("about");
  cacheLife("max");
  return <p>Built {new Date().toISOString()}</p>;
}
