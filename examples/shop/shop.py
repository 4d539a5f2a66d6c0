"""A small web shop: log in, fill a cart, log out.

Its sessions are those of Flask-Session in what it takes for a Redis on its own host. Nothing in it knows of haagent.
Nobody is asked for a password here, and nothing is sold.
"""

from __future__ import annotations

import os
import socket

import waitress
from flask import Flask, Response, redirect, render_template_string, request, session, url_for
from flask_session import Session
from redis import Redis

NODE = os.environ.get("SHOP_NODE") or socket.gethostname()
GOODS = {"book": "A book", "lamp": "A lamp", "kettle": "A kettle", "chair": "A chair"}

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>The shop</title>
<style>
  body { font: 1.1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
  header, form.line { display: flex; justify-content: space-between; align-items: baseline }
  button { font: inherit; padding: .2rem .8rem } ul { padding-left: 1.2rem } footer { color: #777; font-size: .9rem }
</style>
<header>
  <h1>The shop</h1>
  {% if session.user %}
  <form method="post" action="/logout">{{ session.user }} <button>Log out</button></form>
  {% endif %}
</header>
{% if session.user %}
<h2>Your cart</h2>
<ul>{% for item in session.cart %}
  <li class="item">{{ goods[item] }}</li>{% else %}
  <li>Nothing yet</li>{% endfor %}
</ul>
<h2>Put in</h2>
{% for item, name in goods.items() %}
<form class="line" method="post" action="/add">{{ name }} <button name="item" value="{{ item }}">Add</button></form>
{% endfor %}
{% else %}
<form method="post" action="/login">
  <label>Who are you? <input name="user" required autofocus></label> <button>Log in</button>
</form>
{% endif %}
<footer>Served by {{ node }}</footer>
"""

app = Flask(__name__)
app.config.update(
    SESSION_TYPE="redis",
    SESSION_REDIS=Redis.from_url(os.environ.get("SHOP_REDIS", "redis://127.0.0.1:6380/0")),
    SESSION_COOKIE_SAMESITE="Lax",
)
Session(app)


@app.get("/")
def cart() -> str:
    return render_template_string(PAGE, goods=GOODS, node=NODE)


@app.post("/login")
def login() -> Response:
    session.clear()
    session["user"], session["cart"] = request.form["user"], []
    app.session_interface.regenerate(session)  # who knew the old identifier does not know the new one
    return redirect(url_for("cart"), 303)


@app.post("/add")
def add() -> Response:
    if "user" in session and request.form["item"] in GOODS:
        session["cart"] = [*session["cart"], request.form["item"]]
    return redirect(url_for("cart"), 303)


@app.post("/logout")
def logout() -> Response:
    session.clear()
    return redirect(url_for("cart"), 303)


@app.after_request
def tell_node(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Served-By"] = NODE
    return response


if __name__ == "__main__":
    waitress.serve(app, host=os.environ.get("SHOP_HOST", "0.0.0.0"), port=int(os.environ.get("PORT", "8080")))
