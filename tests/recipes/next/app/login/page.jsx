import { cookies } from "next/headers";
import { redirect } from "next/navigation";

async function login(form) {
  "use server";
  (await cookies()).set("session", form.get("user"), { httpOnly: true });
  redirect("/account");
}

export default function Page() {
  return (
    <form action={login}>
      <input name="user" />
      <button>Log in</button>
    </form>
  );
}
