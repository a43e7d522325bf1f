import { Form, redirect } from "react-router";
import { personal } from "../caching.js";
import { cookieOf } from "../shop.server.js";

export async function action({ request }) {
  const user = (await request.formData()).get("user");
  return redirect("/", { status: 303, headers: { "Set-Cookie": await cookieOf(user) } });
}

export const headers = () => personal;

export default function Login() {
  return (
    <Form method="post">
      <input name="user" />
      <button>Log in</button>
    </Form>
  );
}
