import { data } from "react-router";
import { personal } from "../caching.js";
import { userOf } from "../shop.server.js";

export async function loader({ request }) {
  return data({ user: (await userOf(request)) ?? "guest" }, { headers: personal });
}

export const headers = ({ loaderHeaders }) => loaderHeaders;

export default function Account({ loaderData }) {
  return <p>{`Hello, ${loaderData.user}`}</p>;
}
