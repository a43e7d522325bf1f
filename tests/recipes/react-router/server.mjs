import { createRequestHandler } from "@react-router/express";
import express from "express";
import * as build from "./build/server/index.js";

const app = express();
// The edge states the site's host and scheme in X-Forwarded-Host and X-Forwarded-Proto. Without
// this line React Router refuses forms: their Origin is the site's, and Host is the origin's.
app.set("trust proxy", 1);
// The adapter would join the site's host with the origin's port.
app.use((request, response, next) => {
  request.headers.host = request.host;
  next();
});
app.use("/assets", express.static("build/client/assets", { immutable: true, maxAge: "1y" }));
app.use(express.static("build/client"));
app.all("/{*path}", createRequestHandler({ build }));
app.listen(process.env.PORT, "127.0.0.1");
