import { data } from "react-router";
import { personal, shared } from "../caching.js";
import { userOf } from "../shop.server.js";

export async function loader({ request }) {
  const user = await userOf(request);
  return data({ user: user ?? "guest" }, { headers: user ? personal : shared("front") });
}

export const headers = ({ loaderHeaders }) => loaderHeaders;

export default function Front({ loaderData }) {
  return <p>{`Hello, ${loaderData.user}`}</p>;
}
