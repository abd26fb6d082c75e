"""The operator's desk over HTTP: the routes under `/desk/`.

All but the log-in require a session, and requests that change something must come from the owner's own page
(`BrowserGuardMiddleware`).  The session's cookie is limited to the path `/desk`, so that browsers send it to no other
route.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import secrets
import time
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from wmkml.access.browser_requests import FORM_TYPE
from wmkml.access.keys import KeysUnreadableError, key_matches
from wmkml.access.login_link import use_login_token
from wmkml.access.pin import PinUnusableError
from wmkml.access.rotation import rotate
from wmkml.owner.autopsy.routes import COOKIE as AUTOPSY_COOKIE
from wmkml.owner.context import OwnerContext
from wmkml.owner.desk.diagnostics import diagnostics
from wmkml.owner.desk.doctor import Doctor
from wmkml.owner.desk.reports import add_report_routes
from wmkml.owner.desk.sessions import SESSION_SECONDS, DeskSessions, TooSoonError, WrongPinError
from wmkml.owner.desk.state import DeskView
from wmkml.owner.http.chat_requests import language_error_as_refusal
from wmkml.owner.http.http_requests import SMALL_BODY_BYTES, is_https, read, read_bytes
from wmkml.owner.http.page_routes import SECURITY_HEADERS
from wmkml.owner.problems.watch import ProblemWatch
from wmkml.protocol.base import Refusal, RequestRefusedError
from wmkml.protocol.conversation import ForgetReply
from wmkml.protocol.desk import (
    DeskDialRequest,
    DeskDoor,
    DeskHold,
    DeskKey,
    DeskLanguage,
    DeskLogin,
    DeskNewKey,
    DeskPair,
    DeskState,
    DeskWords,
)
from wmkml.protocol.doctor import DoctorReport
from wmkml.protocol.events import StageEvent
from wmkml.protocol.opening import OpeningDecision, PanicSwitch

COOKIE = "desk"
KNOWN_COOKIE = "desk_known"
"""Of a browser that was logged in once: it opens nothing, and its wrong guesses are counted apart from its address's."""

KNOWN_SECONDS = 400 * 24 * 3600
MAX_EXCHANGES = 10
"""How many of the last exchanges are sent to an operator who asks for them."""


def add_desk_routes(app: FastAPI, owner: OwnerContext, sessions: DeskSessions, problems: ProblemWatch) -> None:
    """Add the routes."""
    view = DeskView(owner, problems)
    doctor = Doctor(owner.settings, owner.paths)

    async def require_session(request: Request) -> None:
        """Refuse requests without a valid session."""
        try:
            if not sessions.valid(request.cookies.get(COOKIE)):
                raise RequestRefusedError(401, "The desk is closed: enter the PIN.")
        except (PinUnusableError, OSError) as error:
            raise RequestRefusedError(503, f"The PIN cannot be read: {error}") from None

    desk = APIRouter(prefix="/desk", dependencies=[Depends(require_session)])

    @app.get("/desk/door")
    async def login_state(request: Request) -> DeskDoor:
        try:
            return DeskDoor(open=sessions.valid(request.cookies.get(COOKIE)))
        except (PinUnusableError, OSError):
            return DeskDoor(open=False)  # the log-in says what is wrong

    def known_browser() -> str:
        known = secrets.token_hex(8)
        return f"{known}.{_signature(owner, known)}"

    @app.post("/desk/login")
    async def login(request: Request) -> Response:
        is_form = request.headers.get("content-type", "").startswith(FORM_TYPE)
        guess = await _pin_of_form(request) if is_form else (await read(request, DeskLogin, SMALL_BODY_BYTES)).pin
        refuse = _refusal_page if is_form else _refusal_json
        try:
            token = sessions.login(_guesser(request, owner), guess)
        except WrongPinError:
            return refuse(401, "This is not the PIN.")
        except TooSoonError as error:
            sentence = f"There were too many wrong PINs; try again in {error.seconds} seconds."
            return refuse(429, sentence, {"Retry-After": str(error.seconds)})
        except (PinUnusableError, OSError) as error:
            return refuse(503, f"The PIN cannot be read: {error}")
        response = RedirectResponse("/desk", 303) if is_form else _success()
        return _opened(response, token, known_browser(), secure=is_https(request))

    @app.get("/desk/enter", include_in_schema=False)
    async def enter(request: Request, once: Annotated[str, Query(max_length=128)] = "") -> Response:
        try:
            if not use_login_token(owner.paths, once):
                return _refusal_page(
                    403, "This link has been used, or is too old; env/bin/python -m wmkml pin --login."
                )
            # Relative, so that it also works behind a proxy that serves the pages under another path.
            response = RedirectResponse("../desk", 303)
            return _opened(response, sessions.open(), known_browser(), secure=is_https(request))
        except (PinUnusableError, OSError) as error:
            return _refusal_page(503, f"The desk cannot be opened: {error}")

    @desk.post("/logout")
    async def logout(request: Request) -> Response:
        sessions.logout(request.cookies.get(COOKIE))
        response = _success()
        response.delete_cookie(COOKIE, path="/desk", httponly=True, samesite="strict", secure=is_https(request))
        return response

    @desk.get("/state")
    async def desk_state() -> DeskState:
        return await view.read()

    @desk.get("/autopsy", include_in_schema=False)
    async def enter_autopsy(request: Request) -> Response:
        # The same session, for the paths under /autopsy too: it ends with it.
        response = RedirectResponse("../autopsy", 303)
        token, seconds = request.cookies[COOKIE], int(SESSION_SECONDS)
        response.set_cookie(
            AUTOPSY_COOKIE,
            token,
            max_age=seconds,
            path="/autopsy",
            httponly=True,
            samesite="strict",
            secure=is_https(request),
        )
        return response

    @desk.get("/doctor")
    async def examine() -> DoctorReport:
        return await doctor.examine()

    @desk.get("/diagnostics")
    async def download_diagnostics() -> Response:
        name = time.strftime("diagnostics-%Y%m%d-%H%M%S.zip")
        return Response(
            await diagnostics(owner, problems, doctor),
            media_type="application/zip",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    @desk.get("/words")
    async def words() -> DeskWords:
        run = owner.installation.run
        exchanges = [] if run is None else run.store.newest_exchanges(MAX_EXCHANGES)
        return DeskWords(
            exchanges=[exchange for exchange in exchanges if not owner.safeguards.is_private(exchange.prompt)]
        )

    @desk.post("/remove_pair")
    async def remove_pair(request: Request) -> ForgetReply:
        message = await read(request, DeskPair, SMALL_BODY_BYTES)
        reply = await owner.require_lifecycle().remove_pair(message.pair)
        if reply is None:
            raise RequestRefusedError(409, "This pair is not in the run any more.")
        return reply

    @desk.post("/start")
    async def start(request: Request) -> Response:
        message = await read(request, DeskLanguage, SMALL_BODY_BYTES)
        owner.opening.require_open()
        with language_error_as_refusal(owner):
            await owner.installation.start(message.language, via="desk", trusted=True)
        return _success()

    @desk.post("/last_words")
    async def last_words() -> Response:
        if not owner.require_lifecycle().end_rounds():
            raise RequestRefusedError(409, "The last words have begun already.")
        return _success()

    @desk.post("/rebirth")
    async def rebirth() -> Response:
        owner.require_lifecycle()
        await owner.installation.end()
        return _success()

    @desk.post("/skip")
    async def skip() -> Response:
        lifecycle = owner.require_lifecycle()
        if not lifecycle.scheduler.skip():
            raise RequestRefusedError(409, "No round is under way that could be skipped.")
        await asyncio.to_thread(lifecycle.run.store.flush)
        return _success()

    @desk.post("/hold")
    async def hold(request: Request) -> Response:
        message = await read(request, DeskHold, SMALL_BODY_BYTES)
        lifecycle = owner.require_lifecycle()
        lifecycle.scheduler.hold(message.holding)
        await asyncio.to_thread(lifecycle.run.store.flush)
        return _success()

    @desk.post("/dials")
    async def set_overrides(request: Request) -> Response:
        await owner.overrides.request(await read(request, DeskDialRequest, SMALL_BODY_BYTES))
        return _success()

    @desk.post("/osc_test")
    async def osc_test() -> Response:
        if not owner.osc.targets:
            raise RequestRefusedError(409, "No OSC host is configured: set general.osc_ip and general.osc_port.")
        return JSONResponse({"number": owner.publisher.test_osc()})

    @desk.post("/opening")
    async def opening(request: Request) -> Response:
        await owner.opening.decide((await read(request, OpeningDecision, SMALL_BODY_BYTES)).decision)
        return _success()

    @desk.post("/panic")
    async def panic(request: Request) -> Response:
        await owner.opening.set_panic((await read(request, PanicSwitch, SMALL_BODY_BYTES)).on)
        return _success()

    @desk.post("/rotate")
    async def rotate_key(request: Request) -> Response:
        name = (await read(request, DeskKey, SMALL_BODY_BYTES)).name
        try:
            key = await asyncio.to_thread(rotate, owner.paths, name)
        except (KeysUnreadableError, OSError) as error:
            raise RequestRefusedError(503, f"The key cannot be replaced: {error}") from None
        response = JSONResponse(DeskNewKey(name=name, key=key).model_dump())
        if name in ("pin", "operator"):  # this desk stays open, to show it; its cookies were made with the old one
            return _opened(response, sessions.open(), known_browser(), secure=is_https(request))
        return response

    @desk.post("/stage")
    async def stage(request: Request) -> Response:
        await owner.blank_stage((await read(request, StageEvent, SMALL_BODY_BYTES)).blank)
        return _success()

    app.include_router(desk)
    add_report_routes(app, owner, require_session)


def _opened(response: Response, token: str, known: str, *, secure: bool) -> Response:
    """The response with the session's cookie, and the one by which this browser is known at its next log-in.

    Args:
        secure: browsers send them back by https alone.
    """
    for name, value, seconds in ((COOKIE, token, int(SESSION_SECONDS)), (KNOWN_COOKIE, known, KNOWN_SECONDS)):
        response.set_cookie(name, value, max_age=seconds, path="/desk", httponly=True, samesite="strict", secure=secure)
    return response


def _success() -> JSONResponse:
    return JSONResponse({"status": "success"})


def _refusal_json(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(Refusal(error=sentence).model_dump(), status, headers)


def _refusal_page(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    """A refusal for a browser without JavaScript.  The sentence is not escaped: it must hold nothing of the request."""
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Desk</title>'
        '<body style="font:1.2rem system-ui;background:#121317;color:#ece7db;margin:3rem">'
        f'<p role="alert">{sentence}</p><p><a href="/desk" style="color:#e0ad5c">Back · Zurück</a></p>'
    )
    return HTMLResponse(page, status, SECURITY_HEADERS | (headers or {}))


async def _pin_of_form(request: Request) -> str:
    body = await read_bytes(request, SMALL_BODY_BYTES)
    fields = parse_qs(body.decode("utf-8", errors="replace"))
    return fields.get("pin", [""])[0].strip()


def _guesser(request: Request, owner: OwnerContext) -> str:
    """Whose wrong guesses are counted together: a browser's that was logged in before, else an address's.

    So the operator's own browser has room for the right PIN where visitors share its address.  Behind a proxy of
    `general.trusted_proxies` the address is the one that it wrote; elsewhere a guesser could send another one each time.
    """
    known, _, signature = request.cookies.get(KNOWN_COOKIE, "").partition(".")
    if known and key_matches(signature, _signature(owner, known)):
        return f"browser {known}"
    address = request.client.host if request.client is not None else "unknown"
    try:
        whole = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    # Of IPv6 a guesser has 2**64 addresses.
    return str(ipaddress.ip_network((whole, 64), strict=False)) if whole.version == 6 else str(whole)


def _signature(owner: OwnerContext, known: str) -> str:
    return hmac.new(owner.keys.operator.encode(), f"desk {known}".encode(), "sha256").hexdigest()
