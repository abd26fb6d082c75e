"""The operator's desk over HTTP: everything under `/desk/`, behind the PIN's session, and asked for by our own page alone.

The cookie goes to `/desk` and nowhere else, so no other door of the owner can be opened by it.
"""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from wmkml.owner.asking import refused_language
from wmkml.owner.desk_sessions import SESSION_SECONDS, DeskSessions, TooSoon, WrongPin
from wmkml.owner.desk_state import DeskView
from wmkml.owner.desk_wire import DeskDials, DeskDoor, DeskHold, DeskLanguage, DeskLogin, DeskState, DeskWords
from wmkml.owner.page_routes import HEADERS
from wmkml.owner.parts import Owner
from wmkml.owner.reading import SMALL, Refusing, read
from wmkml.owner.telling import StageTold
from wmkml.pin import PinUnusable, load_pin
from wmkml.wire import Refusal

COOKIE = "desk"
FORM = "application/x-www-form-urlencoded"
WORDS = 10
"""So many of the last exchanges are shown to an operator who asks."""

NO_ROUND = "No round is under way that could be skipped."


def add_desk(app: FastAPI, owner: Owner) -> None:
    """Add the routes."""
    sessions, view = DeskSessions(lambda: load_pin(owner.places)), DeskView(owner)

    async def ours(request: Request) -> None:
        """Nothing is done for another site's page."""
        if request.method != "GET" and not _of_our_page(request):
            raise Refusing(403, "The desk is led from its own page only.")

    async def session(request: Request, response: Response) -> None:
        """Nothing is shown or done without a session."""
        try:
            if not sessions.valid(request.cookies.get(COOKIE)):
                raise Refusing(401, "The desk is closed: enter the PIN.")
        except (PinUnusable, OSError) as error:
            raise Refusing(503, f"The PIN cannot be read: {error}") from None
        response.headers["Cache-Control"] = "no-store"

    desk = APIRouter(prefix="/desk", dependencies=[Depends(ours), Depends(session)])

    @app.get("/desk/door")
    async def door(request: Request) -> DeskDoor:
        try:
            return DeskDoor(open=sessions.valid(request.cookies.get(COOKIE)))
        except (PinUnusable, OSError):
            return DeskDoor(open=False)  # whoever tries to log in is told why

    @app.post("/desk/login", dependencies=[Depends(ours)])
    async def login(request: Request) -> Response:
        form = request.headers.get("content-type", "").startswith(FORM)
        guess = await _guess(request) if form else (await read(request, DeskLogin, SMALL)).pin
        told = _told if form else _refused
        try:
            token = sessions.login(_client(request), guess)
        except WrongPin:
            return told(401, "This is not the PIN.")
        except TooSoon as early:
            sentence = f"There were too many wrong PINs; try again in {early.seconds} seconds."
            return told(429, sentence, {"Retry-After": str(early.seconds)})
        except (PinUnusable, OSError) as error:
            return told(503, f"The PIN cannot be read: {error}")
        response = RedirectResponse("/desk", 303) if form else JSONResponse({"status": "success"})
        response.set_cookie(COOKIE, token, max_age=int(SESSION_SECONDS), path="/desk", httponly=True, samesite="strict")
        return response

    @desk.post("/logout")
    async def logout(request: Request) -> Response:
        sessions.logout(request.cookies.get(COOKIE))
        response = _done()
        response.delete_cookie(COOKIE, path="/desk", httponly=True, samesite="strict")
        return response

    @desk.get("/state")
    async def desk_state() -> DeskState:
        return await view.now()

    @desk.get("/words")
    async def words() -> DeskWords:
        life = owner.installation.life
        return DeskWords(exchanges=[] if life is None else life.run.store.last_exchanges(WORDS))

    @desk.post("/start")
    async def start(request: Request) -> Response:
        message = await read(request, DeskLanguage, SMALL)
        with refused_language(owner):
            await owner.installation.start(message.language, door="desk", trusted=True)
        return _done()

    @desk.post("/last_words")
    async def last_words() -> Response:
        if not owner.life().end_rounds():
            raise Refusing(409, "The last words have begun already.")
        return _done()

    @desk.post("/rebirth")
    async def rebirth() -> Response:
        owner.life()
        await owner.installation.end()
        return _done()

    @desk.post("/skip")
    async def skip() -> Response:
        if not owner.life().rounds.skip():
            raise Refusing(409, NO_ROUND)
        return _done()

    @desk.post("/hold")
    async def hold(request: Request) -> Response:
        message = await read(request, DeskHold, SMALL)
        owner.life().rounds.hold(message.holding)
        return _done()

    @desk.post("/dials")
    async def dials(request: Request) -> Response:
        owner.dials.turned = await read(request, DeskDials, SMALL)
        return _done()

    @desk.post("/osc_test")
    async def osc_test() -> Response:
        if not owner.osc.targets:
            raise Refusing(409, "No OSC host is configured: set general.osc_ip and general.osc_port.")
        return JSONResponse({"number": owner.herald.test_osc()})

    @desk.post("/stage")
    async def stage(request: Request) -> Response:
        owner.herald.stage((await read(request, StageTold, SMALL)).blank)
        return _done()

    app.include_router(desk)


def _done() -> JSONResponse:
    return JSONResponse({"status": "success"})


def _refused(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(Refusal(error=sentence).model_dump(), status, headers)


def _told(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    """The same for a browser without JavaScript; the sentence is always ours."""
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Desk</title>'
        '<body style="font:1.2rem system-ui;background:#121317;color:#ece7db;margin:3rem">'
        f'<p role="alert">{sentence}</p><p><a href="/desk" style="color:#e0ad5c">Back · Zurück</a></p>'
    )
    return HTMLResponse(page, status, HEADERS | (headers or {}))


async def _guess(request: Request) -> str:
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > SMALL:
            raise Refusing(413, f"This is too long: at most {SMALL} bytes are read.")
    fields = parse_qs(raw.decode("utf-8", errors="replace"))
    return fields.get("pin", [""])[0].strip()


def _of_our_page(request: Request) -> bool:
    """Whether a request comes from a page of this very owner; who sends neither header is no browser."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def _client(request: Request) -> str:
    """Who guesses: the other end of the connection.  What it says of itself could be another each time."""
    return request.client.host if request.client is not None else "unknown"
