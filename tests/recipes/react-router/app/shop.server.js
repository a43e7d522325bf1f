import { createCookieSessionStorage } from "react-router";

// Stands for a database.
export const products = new Map([["1", "Chair"], ["2", "Table"]]);

const cookie = { name: "__session", secrets: ["example"], httpOnly: true, path: "/", sameSite: "lax" };
const { getSession, commitSession } = createCookieSessionStorage({ cookie });

export async function userOf(request) {
  return (await getSession(request.headers.get("Cookie"))).get("user");
}

export async function cookieOf(user) {
  const session = await getSession();
  session.set("user", user);
  return commitSession(session);
}
