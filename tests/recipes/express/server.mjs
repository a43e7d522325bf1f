import express from "express";
import session from "express-session";
import { purge } from "../purge/purge.mjs";

const { PORT, SITE, PURGE_SECRET } = process.env;
const products = new Map([["1", "Chair"], ["2", "Table"]]);
const app = express();

// The edge states the site's host and scheme in X-Forwarded-Host and X-Forwarded-Proto.
app.set("trust proxy", 1);
app.use(express.urlencoded({ extended: false }));
app.use(session({ secret: "example", resave: false, saveUninitialized: false }));

// Pages that are the same for every visitor, until a product that they show changes.
const shared = (...tags) => (request, response, next) => {
  response.set("Cache-Control", "public, max-age=0, s-maxage=600, stale-while-revalidate=60");
  for (const tag of tags) response.append("Cache-Tag", tag.replace("$id", request.params.id));
  next();
};
const personal = (request, response, next) => {
  response.set("Cache-Control", "private, no-store");
  next();
};

app.get("/", (request, response, next) => {
  const page = request.session.user ? personal : shared("front");
  page(request, response, next);
}, (request, response) => {
  response.send(`<p>Hello, ${request.session.user ?? "guest"}</p>`);
});

app.get("/account", personal, (request, response) => {
  response.send(`<p>Hello, ${request.session.user ?? "guest"}</p>`);
});

app.get("/products/:id", shared("product:$id"), (request, response) => {
  response.send(`<h1>${products.get(request.params.id)}</h1>`);
});

app.get("/products/:id/edit", personal, (request, response) => {
  response.send(`<form method="post"><input name="name"><button>Save</button></form>`);
});

app.post("/products/:id/edit", async (request, response) => {
  const { id } = request.params;
  products.set(id, request.body.name);
  await purge(SITE, PURGE_SECRET, [`tag:product:${id}`]);
  response.redirect(303, `/products/${id}`);
});

app.get("/login", personal, (request, response) => {
  response.send(`<form method="post"><input name="user"><button>Log in</button></form>`);
});

app.post("/login", (request, response) => {
  request.session.user = request.body.user;
  response.redirect(303, "/");
});

app.get("/where", personal, (request, response) => {
  response.send(`${request.protocol}://${request.host}/products/1`);
});

app.get("/old", (request, response) => {
  response.redirect(301, `${request.protocol}://${request.host}/products/1`);
});

app.listen(PORT, "127.0.0.1");
