import { index, route } from "@react-router/dev/routes";

export default [
  index("routes/front.jsx"),
  route("products/:id", "routes/product.jsx"),
  route("products/:id/edit", "routes/edit.jsx"),
  route("login", "routes/login.jsx"),
  route("account", "routes/account.jsx"),
  route("where", "routes/where.jsx"),
  route("old", "routes/old.jsx"),
];
