// The same small web shop as ../shop.py: log in, fill a cart, log out.
//
// Its sessions are those of express-session, kept by connect-redis in what it takes for a Redis on its own host. Nothing in it
// knows of haagent. Nobody is asked for a password here, and nothing is sold.
"use strict";

const os = require("node:os");
const express = require("express");
const session = require("express-session");
const { RedisStore } = require("connect-redis");
const { createClient } = require("redis");

const NODE = process.env.SHOP_NODE || os.hostname();
const GOODS = { book: "A book", lamp: "A lamp", kettle: "A kettle", chair: "A chair" };

const escaped = (text) => text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

const cartOf = ({ user, cart }) => `
<header>
  <h1>The shop</h1>
  <form method="post" action="/logout">${escaped(user)} <button>Log out</button></form>
</header>
<h2>Your cart</h2>
<ul>
  ${cart.map((item) => `<li class="item">${GOODS[item]}</li>`).join("\n  ") || "<li>Nothing yet</li>"}
</ul>
<h2>Put in</h2>
${Object.entries(GOODS).map(([item, name]) => `<form class="line" method="post" action="/add">${name}
  <button name="item" value="${item}">Add</button></form>`).join("\n")}`;

const LOG_IN = `
<header><h1>The shop</h1></header>
<form method="post" action="/login">
  <label>Who are you? <input name="user" required autofocus></label> <button>Log in</button>
</form>`;

const page = (session) => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>The shop</title>
<style>
  body { font: 1.1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
  header, form.line { display: flex; justify-content: space-between; align-items: baseline }
  button { font: inherit; padding: .2rem .8rem } ul { padding-left: 1.2rem } footer { color: #777; font-size: .9rem }
</style>
${session.user ? cartOf(session) : LOG_IN}
<footer>Served by ${escaped(NODE)}</footer>
`;

async function main() {
  const redis = createClient({ url: process.env.SHOP_REDIS || "redis://127.0.0.1:6380/0" });
  redis.on("error", (error) => console.error(`redis: ${error.message}`)); // it connects again by itself
  await redis.connect();

  const app = express();
  app.use(express.urlencoded({ extended: false }));
  app.use((request, response, next) => {
    response.set({ "Cache-Control": "no-store", "X-Served-By": NODE });
    next();
  });
  app.use(
    session({
      store: new RedisStore({ client: redis }),
      secret: process.env.SHOP_SECRET || "the same on every node",
      resave: false,
      saveUninitialized: false,
      cookie: { sameSite: "lax" },
    }),
  );
  app.get("/", (request, response) => response.send(page(request.session)));
  app.post("/login", (request, response, next) => {
    // who knew the old identifier does not know the new one
    request.session.regenerate((error) => {
      if (error) return next(error);
      Object.assign(request.session, { user: request.body.user, cart: [] });
      response.redirect(303, "/");
    });
  });
  app.post("/add", (request, response) => {
    const { item } = request.body;
    if (request.session.user && Object.hasOwn(GOODS, item)) request.session.cart.push(item);
    response.redirect(303, "/");
  });
  app.post("/logout", (request, response, next) => {
    request.session.destroy((error) => (error ? next(error) : response.redirect(303, "/")));
  });
  app.listen(Number(process.env.PORT || 8080), process.env.SHOP_HOST || "0.0.0.0");
}

main();
