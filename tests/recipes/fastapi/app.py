import os
from typing import Annotated

from fastapi import Depends, FastAPI, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.middleware.sessions import SessionMiddleware

from purge import purge

SITE, PURGE_SECRET = os.environ["SITE"], os.environ["PURGE_SECRET"]
products = {1: "Chair", 2: "Table"}  # stands for a database
app = FastAPI(default_response_class=HTMLResponse)
app.add_middleware(SessionMiddleware, secret_key="example")


class SiteHost:
    """Takes the site's host from X-Forwarded-Host. Uvicorn takes only the scheme and the client."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        fields = scope.get("headers", [])
        host = dict(fields).get(b"x-forwarded-host")
        if host:
            others = [field for field in fields if field[0] != b"host"]
            scope = scope | {"headers": [(b"host", host), *others]}
        await self.app(scope, receive, send)


app.add_middleware(SiteHost)


def share(response: Response, *tags: str):
    """Makes a page the same for all visitors, until a product that it shows changes."""
    response.headers["Cache-Control"] = "public, max-age=0, s-maxage=600, stale-while-revalidate=60"
    response.headers["Cache-Tag"] = ",".join(tags)


def personal(response: Response):
    response.headers["Cache-Control"] = "private, no-store"


def form(field: str):
    return f'<form method="post"><input name="{field}"><button>Save</button></form>'


@app.get("/")
def front(request: Request, response: Response):
    user = request.session.get("user")
    personal(response) if user else share(response, "front")
    return f"<p>Hello, {user or 'guest'}</p>"


@app.get("/account", dependencies=[Depends(personal)])
def account(request: Request):
    return f"<p>Hello, {request.session.get('user', 'guest')}</p>"


@app.get("/products/{id}")
def product(id: int, response: Response):
    share(response, f"product:{id}")
    return f"<h1>{products[id]}</h1>"


@app.get("/products/{id}/edit", dependencies=[Depends(personal)])
def edit(id: int):
    return form("name")


@app.post("/products/{id}/edit")
def save(id: int, name: Annotated[str, Form()]):
    products[id] = name
    purge(SITE, PURGE_SECRET, [f"tag:product:{id}"])
    return RedirectResponse(f"/products/{id}", 303)


@app.get("/login", dependencies=[Depends(personal)])
def ask():
    return form("user")


@app.post("/login")
def login(request: Request, user: Annotated[str, Form()]):
    request.session["user"] = user
    return RedirectResponse("/", 303)


@app.get("/where", dependencies=[Depends(personal)])
def where(request: Request):
    return str(request.url_for("product", id=1))


@app.get("/old")
def old(request: Request):
    return RedirectResponse(request.url_for("product", id=1), 301)
