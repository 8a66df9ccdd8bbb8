"""Every part of a request runs for the purpose of its route."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
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
from policyguard.enforce.subjects import Subjects
from policyguard.errors import PluginError
from tests.enforce.kit import (
    ACCOUNT,
    ADDRESS,
    ADS,
    COUNTING,
    EMAIL,
    LIKES,
    POLICY,
    SECURITY,
    Memory,
    guard,
)

ROUTES = Routes(
    [
        parse_route("/account/*", ACCOUNT),
        parse_route("/ads/{person}", ADS),
        parse_route("/counting", COUNTING),
        parse_route("WEBSOCKET /live", SECURITY),
    ]
)
MORE_RULES = """
  - id: opted-out
    forbid: {data: [user], purposes: [marketing.advertising]}
    when: {opt_out: true}
    if_unknown: does_not_apply
    cites: ["3"]
  - id: not-counted-in-the-union
    forbid: {data: [user], purposes: [analytics.reporting]}
    when: {region: EU}
    cites: ["5"]
"""
Seen = dict[str, tuple[str | None, object]]


def made(*reporters: Any, on_block: str = "raise") -> Guard:
    """A guard with routes."""
    installed = guard("block", *reporters)
    installed.swap(installed.in_force.but(routes=ROUTES))
    installed.on_block = on_block  # type: ignore[assignment]  # tests name it as text
    return installed


@pytest.fixture
def stricter(tmp_path: Path) -> Guard:
    """A guard whose policy also speaks of opt-outs and regions."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY.read_text("utf-8") + MORE_RULES, "utf-8")
    installed = Guard.load(policy)
    installed.swap(installed.in_force.but(routes=ROUTES))
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

    @app.get("/counting")
    async def counting() -> dict[str, str]:
        return {"verdict": installed.decide(data=LIKES, to="counter").verdict}

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


class _Broken(dict[str, Any]):
    """Facts that fail while they are read, as rows that are fetched only then do."""

    def __iter__(self) -> Any:
        raise RuntimeError(ADDRESS)

    keys = items = __iter__


FACTS: dict[str, tuple[Any, str]] = {
    "given": (lambda scope: {"consent": {ADS: True}}, "allow"),
    "given later": (_consents, "allow"),
    "none": (lambda scope: None, "conditional"),
    "raises": (_raises, "conditional"),
    "raises later": (_raises_later, "conditional"),
    "no mapping": (lambda scope: [("consent", {ADS: True})], "conditional"),
    "wrong types": (lambda scope: {"consent": "yes", "age": "old"}, "conditional"),
    "can't be read": (lambda scope: _Broken(consent={ADS: True}), "conditional"),
    "can't be read inside": (lambda scope: {"consent": _Broken({ADS: True})}, "conditional"),
}


@pytest.mark.parametrize(("facts", "verdict"), FACTS.values(), ids=FACTS)
@pytest.mark.parametrize("subject", [lambda scope: "anna", _raises, _raises_later, None])
def test_what_cannot_be_found_out_is_unknown(facts: Any, verdict: str, subject: Any) -> None:
    """A callable that raises or gives rubbish leaves the facts unknown; the request goes on."""
    with served(application(made(), {}, facts=facts, subject=subject)) as client:
        assert client.get("/ads/anna").json() == {"verdict": verdict}


def test_what_the_functions_read_is_known_to_the_application() -> None:
    """A row that says who asks is labelled for the whole request; they run for its purpose."""
    installed, seen, found = made(), Seen(), list[str]()

    async def subject(scope: Any) -> str:
        seen["subject"] = now()
        installed.remember(ADDRESS, installed.label(EMAIL))
        return "anna"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen["application"] = now()
        found.extend(label.data for label, _, _ in installed.labels_in(f"to {ADDRESS}"))

    request = {"type": "http", "method": "GET", "path": "/account/anna", "headers": []}
    asyncio.run(PolicyguardMiddleware(app, installed, subject)(request, None, None))  # type: ignore[arg-type]  # neither reads nor answers
    assert seen == {"subject": (ACCOUNT, None), "application": (ACCOUNT, "anna")}
    assert found == [EMAIL]


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
    """Two hundred at once, in tasks and in threads, each with its own person and consent."""
    installed = made()
    app = FastAPI()

    @app.get("/ads/{person}")
    async def streamed(person: str) -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            for _ in range(3):
                yield f"{now()[1]}:{installed.decide(data=LIKES, to='pixel').verdict} "
                await asyncio.sleep(0)

        return StreamingResponse(body())

    @app.get("/account/{person}")
    def threaded(person: str) -> str:
        time.sleep(0.001)  # lets another thread go on
        return str(now())

    app.add_middleware(
        PolicyguardMiddleware,
        guard=installed,
        subject=lambda scope: scope["path"].rpartition("/")[2],
        facts=lambda scope: {"consent": {ADS: scope["path"].endswith("y")}},
    )
    people = [f"{number}{'y' if number % 2 else 'n'}" for number in range(100)]

    async def ask(base: httpx.URL) -> tuple[list[str], list[str]]:
        limits = httpx.Limits(max_connections=50)
        async with httpx.AsyncClient(base_url=base, limits=limits, timeout=60) as client:

            async def get(path: str) -> str:
                return (await client.get(path)).text

            ads = [get(f"/ads/{person}") for person in people]
            accounts = [get(f"/account/{person}") for person in people]
            answers = await asyncio.gather(*ads, *accounts)
        return answers[: len(people)], answers[len(people) :]

    with served(app) as client:
        ads, accounts = asyncio.run(ask(client.base_url))
    verdicts = {"y": "allow", "n": "deny"}
    assert ads == [f"{person}:{verdicts[person[-1]]} " * 3 for person in people]
    assert accounts == [f'"{(ACCOUNT, person)}"' for person in people]


def test_a_callable_that_fails_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """The log names which one and the kind of error, never its text."""
    app = application(made(), {}, subject=_raises_later, facts=lambda scope: "consent")
    with served(app) as client:
        for _ in range(3):
            client.get("/ads/anna")
    ours = [record.getMessage() for record in caplog.records if record.name == "policyguard"]
    assert sorted(ours) == [
        "PG204 a fact counts as unknown: `facts` gave no mapping",
        "PG204 a fact counts as unknown: `subject` failed with KeyError",
    ]


OPT_OUTS = {
    (): "allow",
    ("0",): "allow",
    ("true",): "allow",
    ("",): "allow",
    ("1",): "deny",
    ("0, 1",): "deny",
    ("0", "1"): "deny",
    ("01; garbage",): "deny",
}


@pytest.mark.parametrize(("signals", "verdict"), OPT_OUTS.items(), ids=str)
def test_global_privacy_control_stops_consented_advertising(
    stricter: Guard, signals: tuple[str, ...], verdict: str
) -> None:
    """`Sec-GPC: 1` is an opt-out whatever was agreed to; a doubtful signal counts as one."""
    agreed = {"consent": {ADS: True}, "opt_out": {ADS: False}}
    app = application(stricter, {}, subject=lambda scope: "anna", facts=lambda scope: agreed)
    with served(app) as client:
        headers = [("Sec-GPC", signal) for signal in signals]
        assert client.get("/ads/anna", headers=headers).json() == {"verdict": verdict}


async def _california(scope: Any) -> str:
    await asyncio.sleep(0)
    return "US-CA"


REGIONS: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "a header nobody named": ({}, ["US"], "conditional"),
    "the named header": ({"region_header": "CF-IPCountry"}, ["US"], "allow"),
    "a place in the Union": ({"region_header": "cf-ipcountry"}, ["DE"], "deny"),
    "small letters": ({"region_header": "CF-IPCountry"}, ["us"], "allow"),
    "no header": ({"region_header": "CF-IPCountry"}, [], "conditional"),
    "an anonymous network": ({"region_header": "CF-IPCountry"}, ["T1"], "conditional"),
    "no country": ({"region_header": "CF-IPCountry"}, ["XX"], "conditional"),
    "one of them is forged": ({"region_header": "CF-IPCountry"}, ["US", "US"], "conditional"),
    "a function": ({"region": _california}, ["DE"], "allow"),
    "a function that fails": ({"region": _raises}, ["US"], "conditional"),
    "a function that gives rubbish": ({"region": lambda scope: 49}, ["US"], "conditional"),
}


@pytest.mark.parametrize(("asks", "headers", "verdict"), REGIONS.values(), ids=REGIONS)
def test_a_region_is_believed_only_from_where_it_is_named(
    stricter: Guard, asks: dict[str, Any], headers: list[str], verdict: str
) -> None:
    """Anybody can send a header; without a place that is known, what rests on it is in doubt."""
    with served(application(stricter, {}, **asks)) as client:
        sent = [("CF-IPCountry", value) for value in headers]
        assert client.get("/counting", headers=sent).json() == {"verdict": verdict}


def test_two_ways_to_a_region_are_a_mistake() -> None:
    """Which of them counts would be a guess."""

    async def bare(scope: Message, receive: Any, send: Any) -> None:
        """Nothing."""

    with pytest.raises(PluginError, match="are both given"):
        PolicyguardMiddleware(bare, made(), region=_raises, region_header="X-Region")


class Consents:
    """A store of subjects that notes from where it is asked."""

    def __init__(self) -> None:
        self.awaited: list[object] = []
        self.blocked_a_loop = False

    def facts(self, subject: object, /) -> dict[str, Any]:
        """Blocks, so it may not be called on an event loop."""
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            self.blocked_a_loop = True
        return {"consent": {ADS: subject == "anna"}}

    async def afacts(self, subject: object, /) -> dict[str, Any]:
        """Anna consents."""
        self.awaited.append(subject)
        await asyncio.sleep(0)
        return {"consent": {ADS: subject == "anna"}}


def test_what_is_known_about_a_person_is_fetched_before_the_application_runs() -> None:
    """The store is awaited once for a request, and never called on the event loop."""
    installed, store = made(), Consents()
    installed.subjects = Subjects(store, limit=5)
    app = application(installed, {}, subject=lambda scope: scope["path"].rpartition("/")[2])
    with served(app) as client:
        assert client.get("/ads/anna").json() == {"verdict": "allow"}
        assert client.get("/ads/bert").json() == {"verdict": "deny"}
    assert store.awaited == ["anna", "bert"]
    assert not store.blocked_a_loop


def test_a_client_that_goes_away_ends_the_body_in_its_scope() -> None:
    """What a generator does when it is cancelled, it does for the purpose of the request."""
    seen: Seen = {}
    ended = threading.Event()
    app = FastAPI()

    @app.get("/account/endless")
    async def endless() -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 1024
                    await asyncio.sleep(0.001)
            finally:
                seen["the end"] = now()
                ended.set()

        return StreamingResponse(body())

    app.add_middleware(PolicyguardMiddleware, guard=made(), subject=lambda scope: "anna")
    with served(app) as client:
        with client.stream("GET", "/account/endless") as response:
            next(response.iter_raw())
        assert ended.wait(10)
    assert seen == {"the end": (ACCOUNT, "anna")}


def test_a_cancelled_request_leaves_no_scope() -> None:
    """A server that cancels the task finds it as it was."""
    seen: list[object] = []

    async def run() -> None:
        runs = asyncio.Event()

        async def waits(scope: Message, receive: Any, send: Any) -> None:
            seen.append(now())
            runs.set()
            await asyncio.sleep(3600)

        app = PolicyguardMiddleware(waits, made(), subject=lambda scope: "anna")

        async def serve() -> None:
            try:
                await _talk(app, {"type": "http", "path": "/account/x"})
            finally:
                seen.append(now())

        task = asyncio.create_task(serve())
        await runs.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert seen == [(ACCOUNT, "anna"), (None, None)]


BLOCKED = {"schema": "policyguard/blocked/1", "blocked": True, "code": "PG201"}


def sends(installed: Guard) -> FastAPI:
    """An application that sends what it may not."""
    app = FastAPI()

    @app.get("/account/now")
    @app.head("/account/now")
    async def at_once() -> None:
        installed.check("x", to="pixel", data=EMAIL)

    @app.get("/account/thread")
    def in_a_thread() -> None:
        installed.check("x", to="pixel", data=EMAIL)

    @app.get("/account/group")
    async def in_a_group() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(at_once())

    @app.get("/account/stream")
    async def later() -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            yield b"a"
            await at_once()

        return StreamingResponse(body())

    @app.get("/not/named")
    async def unnamed() -> None:
        await at_once()

    app.add_middleware(PolicyguardMiddleware, guard=installed)
    return app


@pytest.mark.parametrize("path", ["/account/now", "/account/thread", "/account/group"])
def test_a_violation_before_the_response_is_answered(path: str) -> None:
    """With `respond` the client gets a 451 that says nothing of rules."""
    with served(sends(made(on_block="respond"))) as client:
        response = client.get(path)
    assert (response.status_code, response.json()) == (451, BLOCKED)
    assert response.headers["x-policyguard"] == "blocked"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "application/json"


def test_an_answer_to_head_has_no_body() -> None:
    """Its length is that of the answer to GET."""
    with served(sends(made(on_block="respond"))) as client:
        head, response = client.head("/account/now"), client.get("/account/now")
    assert (head.status_code, head.content) == (451, b"")
    assert head.headers["content-length"] == response.headers["content-length"]


def test_the_answer_of_a_request_without_purpose_has_its_own_code() -> None:
    """A route that nobody names is denied labelled data."""
    with served(sends(made(on_block="respond"))) as client:
        response = client.get("/not/named")
    assert (response.status_code, response.json()["code"]) == (451, "PG202")


def test_a_violation_is_raised_where_nothing_else_is_asked_for() -> None:
    """The default changes nothing: the application's own answer to errors counts."""
    with served(sends(made())) as client:
        assert client.get("/account/now").status_code == 500


def test_a_violation_after_the_response_has_begun_is_raised() -> None:
    """What is out can't be taken back; the connection breaks, as from the bare application."""
    with served(sends(made(on_block="respond"))) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            client.get("/account/stream")
        assert client.get("/account/now").status_code == 451


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


def _socket(**more: Any) -> Message:
    return {"type": "websocket", "path": "/live", "headers": [], **more}


def test_a_websocket_is_refused_before_it_is_accepted() -> None:
    """With the code for a policy violation, or with the 451 where the server can send one."""
    installed = made(on_block="respond")

    async def app(scope: Message, receive: Any, send: Any) -> None:
        installed.check("x", to="pixel", data=EMAIL)

    wrapped = PolicyguardMiddleware(app, installed)
    assert asyncio.run(_talk(wrapped, _socket())) == [{"type": "websocket.close", "code": 1008}]
    can: Message = {"websocket.http.response": {}}
    start, body = asyncio.run(_talk(wrapped, _socket(extensions=can)))
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 451)
    assert (body["type"], json.loads(body["body"])) == ("websocket.http.response.body", BLOCKED)


def test_a_violation_on_an_accepted_websocket_is_raised() -> None:
    """The server closes it as after any other error."""
    installed = made(on_block="respond")

    async def app(scope: Message, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        installed.check("x", to="pixel", data=EMAIL)

    with pytest.raises(PolicyViolation):
        asyncio.run(_talk(PolicyguardMiddleware(app, installed), _socket()))


def test_a_group_of_several_errors_is_the_applications() -> None:
    """Only where a violation is all that happened it is answered."""

    async def app(scope: Message, receive: Any, send: Any) -> None:
        try:
            installed.check("x", to="pixel", data=EMAIL)
        except PolicyViolation as error:
            raise ExceptionGroup("two", [error, ZeroDivisionError()]) from None

    installed = made(on_block="respond")
    with pytest.raises(ExceptionGroup):
        asyncio.run(_talk(PolicyguardMiddleware(app, installed), {"type": "http", "path": "/"}))


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
