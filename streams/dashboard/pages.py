"""Pages and their files. Everything comes from this package, the report's style sheet and Bokeh's installed script.

The pages are shells; their modules read ``/v1/…`` and put every text in as a text node. With a token, a visitor signs in
once and carries an HttpOnly cookie.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlencode

import jinja2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from extractors.errors import InputError
from streams.egress.report import STATEMENT
from streams.subscriptions import tokens
from streams.subscriptions.app import COOKIE, MAX_BODY, Service, bearer
from streams.subscriptions.app import routes as api_routes

PAGES = {"overview": "Calls", "alerts": "Alerts", "search": "Search", "compare": "Compare"}
_MODULES = (
    "dom", "live", "shell", "overview", "call", "axis", "curves", "evidence", "face", "faces", "figures", "shifts", "transcript", "alerts", "search",
    "compare",
)
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{inline}; connect-src 'self'; img-src 'self' data:; media-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# The chart library puts style elements into its shadow roots; only the page of one call has charts.
_PLAIN, _CHARTS = _POLICY.format(inline=""), _POLICY.format(inline=" 'unsafe-inline'")
_HEADERS = {
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache", "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def create_app(service: Service) -> Starlette:
    """The dashboard with the API that it reads."""
    return Starlette(routes=[*api_routes(service), *routes(service)])


def routes(service: Service) -> list[BaseRoute]:
    """Routes of the pages alone, to be put behind those of the API (and of a gateway, if there is one)."""

    def page(name: str) -> Callable[[Request], Any]:
        async def shown(request: Request) -> Response:
            given = request.query_params.get("token")
            if given is not None:  # out of the address and into the cookie, so that it lands in no history
                kept = [(k, v) for k, v in request.query_params.multi_items() if k != "token"]
                return _signed_in(service, request, given, request.url.path + (f"?{urlencode(kept)}" if kept else ""))
            try:
                tokens.check(service.token, bearer(request))
            except InputError as error:
                return _page("sign-in", 401, reason=error.what if request.cookies.get(COOKIE) else "", to=request.url.path)
            return _page(name)

        return shown

    async def sign_in(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY:
                return PlainTextResponse("too large", 413)
        form = parse_qs(body.decode("utf-8", "replace"))
        to = form.get("to", ["/"])[0]
        return _signed_in(service, request, form.get("token", [""])[0], to if to.startswith("/") and not to.startswith(("//", "/\\")) else "/")

    return [
        Route("/", page("overview")),
        Route("/calls/{session:name}", page("call")),
        *(Route(f"/{name}", page(name)) for name in PAGES if name != "overview"),
        Route("/sign-in", sign_in, methods=["POST"]),
        Route("/static/{name}", _static),
    ]


def _signed_in(service: Service, request: Request, token: str, to: str) -> Response:
    try:
        tokens.check(service.token, token)
    except InputError as error:
        return _page("sign-in", 401, reason=error.what, to=to)
    answer = RedirectResponse(to, 303, headers=_HEADERS)
    answer.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return answer


def _page(name: str, status: int = 200, **values: str) -> Response:
    html = _template().render(page=name, title=PAGES.get(name, "Call" if name == "call" else "Sign in"), pages=PAGES, statement=STATEMENT, **values)
    policy = _CHARTS if name == "call" else _PLAIN
    return Response(html, status, media_type="text/html; charset=utf-8", headers=_HEADERS | {"Content-Security-Policy": policy})


async def _static(request: Request) -> Response:
    found = _file(request.path_params["name"])
    if found is None:
        return PlainTextResponse("not found", 404)
    kind, body, packed, tag = found
    headers = {**_HEADERS, "ETag": tag, "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(packed, media_type=kind, headers=headers | {"Content-Encoding": "gzip"})
    return Response(body, media_type=kind, headers=headers)


def _places() -> dict[str, tuple[str, str, str]]:
    """Name of a file -> (package, path in it, media type). Nothing else is served."""
    script, style = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
    own = {f"{name}.js": ("streams.dashboard", f"static/{name}.js", script) for name in _MODULES}
    return own | {
        "dashboard.css": ("streams.dashboard", "static/dashboard.css", style),
        "report.css": ("streams.egress", "templates/report.css", style),
        "bokeh.min.js": ("bokeh", "server/static/js/bokeh.min.js", script),
        "icon.svg": ("streams.dashboard", "static/icon.svg", "image/svg+xml"),
    }


@cache
def _file(name: str) -> tuple[str, bytes, bytes, str] | None:
    """(media type, content, content with gzip, entity tag)."""
    place = _places().get(name)
    if place is None:
        return None
    body = resources.files(place[0]).joinpath(place[1]).read_bytes()
    return place[2], body, gzip.compress(body, 6, mtime=0), f'"{hashlib.sha256(body).hexdigest()[:16]}"'


@cache
def _template() -> jinja2.Template:
    text = resources.files("streams.dashboard").joinpath("static", "page.html").read_text("utf-8")
    return jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(text)
