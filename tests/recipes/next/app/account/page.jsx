import { cookies } from "next/headers";
import { Suspense } from "react";

async function Greeting() {
  const user = (await cookies()).get("session")?.value ?? "guest";
  return <p>{`Hello, ${user}`}</p>;
}

export default function Page() {
  return <Suspense><Greeting /></Suspense>;
}
