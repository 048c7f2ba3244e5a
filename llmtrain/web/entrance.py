"""What every page has: the door, the way through it, its files, and a link to one more device."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from llmtrain.web.assets import Table
from llmtrain.web.doors import Doors
from llmtrain.web.requests import cookie, fields, sender

ENTER = "/enter"
STATIC = "/static/"
ICON = "/favicon.ico"
OPEN = ("/", ICON)  # what a stranger may GET, beside STATIC
COOKIE_SECONDS = 30 * 24 * 3600


def entrance(doors: Doors, table: Table, page: bytes) -> list[BaseRoute]:
    """The routes of it. `page` is the HTML at / for who is in; everybody else gets the door, a public page."""

    async def home(request: Request) -> Response:
        known = request.state.name is not None
        return Response(page if known else table["door.html"][1], media_type="text/html")

    async def static(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in table:
            raise HTTPException(404, "There is no such file.")
        return Response(table[name][1], headers={"content-type": table[name][0]})

    async def icon(_: Request) -> Response:
        return Response(status_code=204)  # browsers ask for it unasked

    async def enter(request: Request) -> Response:
        token = fields(request).get("token")
        value = doors.redeem(token) if isinstance(token, str) else None
        if value is None:
            raise HTTPException(403, "This link is wrong or was used before. Each link opens the page once.")
        answer = JSONResponse({"name": doors.who(value)})
        answer.set_cookie(cookie(request.scope), value, COOKIE_SECONDS, httponly=True, samesite="strict")
        return answer

    async def me(request: Request) -> Response:
        return JSONResponse({"name": sender(request), "csrf": doors.csrf(sender(request))})

    async def link(request: Request) -> Response:
        return JSONResponse({"url": f"http://{request.state.authority}/#k={doors.link(sender(request))}"})

    return [
        Route("/", home),
        Route(STATIC + "{name:path}", static),
        Route(ICON, icon),
        Route(ENTER, enter, methods=["POST"]),
        Route("/api/me", me),
        Route("/api/link", link, methods=["POST"]),
    ]
