"""Every part of a request runs for the purpose of its route."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import BackgroundTasks, Depends, FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse
from policyguard_asgi import PolicyguardMiddleware

from policyguard import NoPurpose, PolicyViolation
from policyguard.config import Guard
from policyguard.enforce.context import current_scope
from policyguard.enforce.routes import Routes, parse_route
from tests.enforce.kit import ACCOUNT, ADDRESS, ADS, EMAIL, LIKES, SECURITY, Memory, guard

ROUTES = Routes(
    [
        parse_route("/account/*", ACCOUNT),
        parse_route("/ads/{person}", ADS),
        parse_route("WEBSOCKET /live", SECURITY),
    ]
)
Seen = dict[str, tuple[str | None, object]]


def made(*reporters: Any) -> Guard:
    """A guard with routes."""
    installed = guard("block", *reporters)
    installed.routes = ROUTES
    return installed


def now() -> tuple[str | None, object]:
    """Purpose and subject as the running code sees them."""
    scope = current_scope()
    return (scope.purpose, scope.subject) if scope else (None, None)


def application(installed: Guard, seen: Seen, **asks: Any) -> FastAPI:
    """A small FastAPI application that writes down what each of its parts sees."""
    app = FastAPI()

    def sync_dependency() -> str:
        seen["sync dependency"] = now()
        return "s"

    async def async_dependency() -> AsyncIterator[str]:
        seen["async dependency"] = now()
        yield "a"
        seen["after the yield"] = now()

    def background() -> None:
        seen["background"] = now()

    async def later() -> None:
        seen["task"] = now()

    @app.get("/account/sync", dependencies=[Depends(sync_dependency)])
    def sync() -> dict[str, bool]:
        seen["sync endpoint"] = now()
        return {"ok": True}

    @app.get("/account/async", dependencies=[Depends(async_dependency)])
    async def endpoint(tasks: BackgroundTasks) -> dict[str, bool]:
        seen["async endpoint"] = now()
        tasks.add_task(background)
        await asyncio.create_task(later())
        seen["thread"] = await asyncio.to_thread(now)
        return {"ok": True}

    @app.get("/account/stream")
    async def stream() -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            seen["stream"] = now()
            yield b"a"
            await asyncio.sleep(0)
            seen["later in the stream"] = now()
            yield b"b"

        return StreamingResponse(body())

    @app.get("/ads/{person}")
    async def ads(person: str, request: Request) -> dict[str, str]:
        del person, request
        return {"verdict": installed.decide(data=LIKES, to="pixel").verdict}

    @app.get("/unnamed")
    async def unnamed() -> dict[str, str]:
        try:
            installed.check("x", to="mailer", data=EMAIL)
        except NoPurpose as error:
            return {"code": error.code}
        return {}

    @app.get("/account/{person}/leak")
    async def leak(person: str) -> dict[str, str]:
        try:
            installed.check("x", to="pixel", data=EMAIL)
        except PolicyViolation as error:
            return {"code": error.code, "person": person}
        return {}

    @app.websocket("/live")
    async def live(socket_: WebSocket) -> None:
        await socket_.accept()
        seen["websocket"] = now()
        await socket_.close()

    app.add_middleware(PolicyguardMiddleware, guard=installed, **asks)
    return app


@contextmanager
def served(app: FastAPI) -> Iterator[httpx.Client]:
    """The application on a real server, and a client for it."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="critical", lifespan="on", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.005)
        with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}") as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def test_every_part_of_a_request_sees_the_routes_purpose() -> None:
    """Endpoints, dependencies, threads, tasks, background tasks and streamed bodies."""
    seen: Seen = {}
    app = application(made(), seen, subject=lambda scope: "anna")
    with served(app) as client:
        assert client.get("/account/sync").json() == {"ok": True}
        assert client.get("/account/async").json() == {"ok": True}
        assert client.get("/account/stream").text == "ab"
    assert set(seen) == {
        "sync dependency",
        "sync endpoint",
        "async dependency",
        "async endpoint",
        "after the yield",
        "task",
        "thread",
        "background",
        "stream",
        "later in the stream",
    }
    assert set(seen.values()) == {(ACCOUNT, "anna")}
    assert current_scope() is None


def test_a_route_that_nobody_names_has_no_purpose() -> None:
    """What it reads or sends is denied."""
    with served(application(made(), {})) as client:
        assert client.get("/unnamed").json() == {"code": "PG202"}


def _raises(scope: Any) -> Any:
    raise KeyError(ADDRESS)


async def _raises_later(scope: Any) -> Any:
    await asyncio.sleep(0)
    raise KeyError(ADDRESS)


async def _consents(scope: Any) -> Any:
    await asyncio.sleep(0)
    return {"consent": {ADS: True}}


FACTS: dict[str, tuple[Any, str]] = {
    "given": (lambda scope: {"consent": {ADS: True}}, "allow"),
    "given later": (_consents, "allow"),
    "none": (lambda scope: None, "conditional"),
    "raises": (_raises, "conditional"),
    "raises later": (_raises_later, "conditional"),
    "no mapping": (lambda scope: [("consent", {ADS: True})], "conditional"),
    "wrong types": (lambda scope: {"consent": "yes", "age": "old"}, "conditional"),
}


@pytest.mark.parametrize(("facts", "verdict"), FACTS.values(), ids=FACTS)
@pytest.mark.parametrize("subject", [lambda scope: "anna", _raises, _raises_later, None])
def test_what_cannot_be_found_out_is_unknown(facts: Any, verdict: str, subject: Any) -> None:
    """A callable that raises or gives rubbish leaves the facts unknown; the request goes on."""
    with served(application(made(), {}, facts=facts, subject=subject)) as client:
        assert client.get("/ads/anna").json() == {"verdict": verdict}


def test_a_record_names_the_pattern_never_the_path() -> None:
    """A path may hold a person; the route's pattern doesn't."""
    memory = Memory()
    installed = made(memory)
    with served(application(installed, {}, subject=lambda scope: scope["path"])) as client:
        assert client.get(f"/account/{ADDRESS}/leak").json()["code"] == "PG201"
    (record,) = memory.records
    assert record.route == "/account/*"
    assert ADDRESS not in str(record)


def test_requests_at_the_same_time_keep_apart() -> None:
    """Fifty at once, each with its own person and consent."""
    installed = made()
    app = application(
        installed,
        {},
        subject=lambda scope: scope["path"],
        facts=lambda scope: {"consent": {ADS: scope["path"].endswith("y")}},
    )
    answers: dict[str, str] = {}

    def ask(client: httpx.Client, person: str) -> None:
        answers[person] = client.get(f"/ads/{person}").json()["verdict"]

    with served(app) as client:
        people = [f"{number}{'y' if number % 2 else 'n'}" for number in range(50)]
        threads = [threading.Thread(target=ask, args=(client, person)) for person in people]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == {p: "allow" if p.endswith("y") else "deny" for p in people}


Message = MutableMapping[str, Any]


async def _talk(
    app: Callable[..., Awaitable[None]], scope: Message, *messages: Message
) -> list[Message]:
    """Speak ASGI with an application directly."""
    waiting, said = list(messages), []

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        said.append(message)

    await app(scope, receive, send)
    return said


def test_a_websocket_has_its_own_routes() -> None:
    """A connection runs for the purpose of its WEBSOCKET route."""
    seen: Seen = {}
    app = application(made(), seen, subject=lambda scope: "anna")
    scope = {"type": "websocket", "path": "/live", "headers": [], "query_string": b""}
    said = asyncio.run(_talk(app, scope, {"type": "websocket.connect"}))
    assert [message["type"] for message in said] == ["websocket.accept", "websocket.close"]
    assert seen == {"websocket": (SECURITY, "anna")}


def test_other_events_pass_through() -> None:
    """Lifespan is no request: it has no scope, and the callables aren't asked."""
    seen: list[object] = []

    async def bare(scope: Message, receive: Any, send: Any) -> None:
        seen.append((scope["type"], current_scope()))

    app = PolicyguardMiddleware(bare, made(), subject=_raises)
    asyncio.run(_talk(app, {"type": "lifespan"}))
    assert seen == [("lifespan", None)]


def test_an_error_in_the_application_is_the_applications() -> None:
    """The middleware hands it on and leaves no scope behind."""

    async def broken(scope: Message, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    async def run() -> None:
        with contextlib.suppress(ZeroDivisionError):
            await _talk(PolicyguardMiddleware(broken, made()), {"type": "http", "path": "/"})
        assert current_scope() is None

    asyncio.run(run())


def test_the_plugin_hooks_nothing() -> None:
    """Named in a configuration it is found; the middleware is added by the application."""
    installed = guard()
    installed.install("asgi")
    installed.uninstall()
