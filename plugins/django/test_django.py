"""Every part of a Django request runs for the purpose of its route."""

from __future__ import annotations

import asyncio
import io
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import httpx
import pytest
import uvicorn
from django.conf import settings  # type: ignore[import-untyped]
from django.core.asgi import get_asgi_application  # type: ignore[import-untyped]
from django.core.exceptions import ImproperlyConfigured  # type: ignore[import-untyped]
from django.core.wsgi import get_wsgi_application  # type: ignore[import-untyped]
from django.http import (  # type: ignore[import-untyped]
    FileResponse,
    Http404,
    HttpResponse,
    JsonResponse,
    StreamingHttpResponse,
)
from django.test import RequestFactory, override_settings  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]
from django.views import View  # type: ignore[import-untyped]
from policyguard_django import Plugin, PolicyguardMiddleware

import policyguard
from policyguard import PolicyViolation
from policyguard.config import Guard
from policyguard.enforce.context import current_scope
from policyguard.enforce.routes import Routes, parse_route
from tests.enforce.kit import (
    ACCOUNT,
    ADDRESS,
    ADS,
    DATA_MAP,
    EMAIL,
    LIKES,
    POLICY,
    SECURITY,
    Memory,
    guard,
)

MIDDLEWARE = "policyguard_django.PolicyguardMiddleware"
ROUTES = Routes(
    [
        parse_route("/account/*", ACCOUNT),
        parse_route("/ads/{person}", ADS),
        parse_route("POST /form", SECURITY),
    ]
)
Seen = tuple[str | None, object]
GUARD = guard()
GUARD.in_force = GUARD.in_force.but(routes=ROUTES)
seen: dict[str, Seen] = {}


def now() -> Seen:
    """Purpose and subject as the running code sees them."""
    scope = current_scope()
    return (scope.purpose, scope.subject) if scope else (None, None)


def note(name: str) -> None:
    """Write down what is seen."""
    seen[name] = now()


def sync_view(request: Any) -> Any:
    note("sync view")
    return JsonResponse(now(), safe=False)


async def async_view(request: Any) -> Any:
    note("async view")
    seen["thread"] = await asyncio.to_thread(now)
    await asyncio.create_task(_later())
    return JsonResponse(now(), safe=False)


async def _later() -> None:
    note("task")


class Classy(View):  # type: ignore[misc]
    def get(self, request: Any) -> Any:
        note("class get")
        return JsonResponse(now(), safe=False)

    def post(self, request: Any) -> Any:
        note("class post")
        return JsonResponse(now(), safe=False)


class AsyncClassy(View):  # type: ignore[misc]
    async def get(self, request: Any) -> Any:
        note("async class get")
        return JsonResponse(now(), safe=False)


def stream(request: Any) -> Any:
    def body() -> Iterator[str]:
        try:
            note("stream")
            yield "a"
            with GUARD.purpose(SECURITY):
                note("stream inside")
                yield "b"
            note("stream after")
            yield "c"
        finally:
            note("stream closed")

    return StreamingHttpResponse(body())


async def async_stream(request: Any) -> Any:
    async def body() -> AsyncIterator[str]:
        try:
            note("async stream")
            yield "a"
            await asyncio.sleep(0)
            note("async stream later")
            while request.GET.get("endless"):
                yield "b" * 50_000
                await asyncio.sleep(0)
            yield "c"
        finally:
            note("async stream closed")

    return StreamingHttpResponse(body())


class Reading(io.BytesIO):
    """A file whose reading is code of the application."""

    def read(self, size: int | None = -1, /) -> bytes:
        note("file read")
        return super().read(size)

    def close(self) -> None:
        note("file closed")
        super().close()


def file(request: Any) -> Any:
    return FileResponse(Reading(b"x" * 9000), filename="a.csv")


def plain_file(request: Any) -> Any:
    return FileResponse(Path(__file__).open("rb"))


def ads(request: Any, person: str) -> Any:
    return JsonResponse({"verdict": GUARD.decide(data=LIKES, to="pixel").verdict})


def leak(request: Any) -> Any:
    GUARD.check("x", to="pixel", data=EMAIL)


async def async_leak(request: Any) -> Any:
    GUARD.check("x", to="pixel", data=EMAIL)


def late_leak(request: Any) -> Any:
    def body() -> Iterator[str]:
        yield "begun"
        GUARD.check("x", to="pixel", data=EMAIL)

    return StreamingHttpResponse(body())


def missing(request: Any) -> Any:
    note("missing")
    raise Http404


def broken(request: Any) -> Any:
    raise KeyError(ADDRESS)


@GUARD.purpose(SECURITY)
def other(request: Any) -> Any:
    return JsonResponse(now(), safe=False)


def facts_of(request: Any) -> Any:
    scope = current_scope()
    assert scope is not None
    out = scope.facts.opt_out or {}
    return JsonResponse([scope.facts.region, out.get(ADS)], safe=False)


def labelled(request: Any) -> Any:
    """What the subject callable read is found again."""
    try:
        GUARD.check(f"to {ADDRESS}", to="pixel")
    except PolicyViolation as stopped:
        return HttpResponse(stopped.decision.flow.data)
    return HttpResponse("nothing found")


class Urls:
    """The URL configuration."""

    urlpatterns = (
        path("account/sync", sync_view),
        path("account/async", async_view),
        path("account/classy", Classy.as_view()),
        path("account/async-classy", AsyncClassy.as_view()),
        path("account/stream", stream),
        path("account/async-stream", async_stream),
        path("account/file", file),
        path("account/plain-file", plain_file),
        path("account/leak", leak),
        path("account/async-leak", async_leak),
        path("account/late-leak", late_leak),
        path("account/missing", missing),
        path("account/broken", broken),
        path("account/other", other),
        path("account/labelled", labelled),
        path("ads/<str:person>", ads),
        path("form", Classy.as_view()),
        path("facts", facts_of),
        path("unnamed", sync_view),
    )


if not settings.configured:
    settings.configure(
        ROOT_URLCONF=Urls,
        ALLOWED_HOSTS=["127.0.0.1"],
        MIDDLEWARE=[MIDDLEWARE],
        SECRET_KEY="only for tests",
        LOGGING_CONFIG=None,
        POLICYGUARD_GUARD=GUARD,
    )


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Nothing is left of the test before, and nothing of this one."""
    seen.clear()
    logging.getLogger("django").setLevel(logging.CRITICAL + 1)
    yield
    assert current_scope() is None
    GUARD.reporters = GUARD.reporters[:1]
    GUARD.on_block = "raise"


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def get_stderr(self) -> Any:
        return io.StringIO()


class _OneThread(WSGIServer):
    """Serves all requests with the same thread, and notes the scope that each leaves behind."""

    left: list[object]

    def process_request(self, request: Any, client_address: Any) -> None:
        super().process_request(request, client_address)
        self.left.append(current_scope())


@contextmanager
def wsgi(**changed: Any) -> Iterator[httpx.Client]:
    """The project on a real WSGI server."""
    with override_settings(**changed):
        server = make_server("127.0.0.1", 0, get_wsgi_application(), _OneThread, _Quiet)
        assert isinstance(server, _OneThread)
        server.left = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}") as client:
                yield client
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
    assert set(server.left) <= {None}


@contextmanager
def asgi(**changed: Any) -> Iterator[httpx.Client]:
    """The project on a real ASGI server."""
    with override_settings(**changed):
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            get_asgi_application(), log_level="critical", lifespan="off", ws="none"
        )
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


Served = Callable[..., Any]
SERVERS = {"wsgi": wsgi, "asgi": asgi}
both = pytest.mark.parametrize("served", SERVERS.values(), ids=SERVERS)


@both
def test_every_kind_of_view_sees_the_routes_purpose_and_the_person(served: Served) -> None:
    """Functions and classes, sync and async, threads and tasks, on both kinds of server."""
    with served(POLICYGUARD_SUBJECT=lambda request: "anna") as client:
        for name in ("sync", "async", "classy", "async-classy"):
            assert client.get(f"/account/{name}").json() == [ACCOUNT, "anna"]
        assert client.post("/form").json() == [SECURITY, "anna"]
    assert set(seen) == {
        "sync view", "async view", "thread", "task", "class get", "class post", "async class get",
    }  # fmt: skip
    assert set(seen.values()) == {(ACCOUNT, "anna"), (SECURITY, "anna")}


@both
def test_a_route_that_nobody_names_has_no_purpose(served: Served) -> None:
    """What it reads or sends is denied; another method is another route."""
    with served() as client:
        assert client.get("/unnamed").json() == [None, None]
        assert client.get("/form").json() == [None, None]
        assert client.get("/account/sync").json() == [ACCOUNT, None]
        assert client.get("/nowhere").status_code == 404


@both
def test_a_view_may_say_another_purpose(served: Served) -> None:
    """The innermost counts."""
    with served() as client:
        assert client.get("/account/other").json() == [SECURITY, None]


@both
def test_a_streamed_body_keeps_the_scope_of_its_request(served: Served) -> None:
    """Each step and the end run in it, and what the body entered stays entered between steps."""
    with served(POLICYGUARD_SUBJECT=lambda request: "anna") as client:
        if served is asgi:
            assert client.get("/account/async-stream").text == "ac"
            assert set(seen) == {"async stream", "async stream later", "async stream closed"}
            assert set(seen.values()) == {(ACCOUNT, "anna")}
        else:
            assert client.get("/account/stream").text == "abc"
            assert seen.pop("stream inside") == (SECURITY, "anna")
            assert set(seen) == {"stream", "stream after", "stream closed"}
            assert set(seen.values()) == {(ACCOUNT, "anna")}


@both
def test_a_stream_that_the_server_has_to_convert_keeps_the_scope(served: Served) -> None:
    """Django warns about a sync body on an async server, and the other way round, and serves it."""
    which = "/account/stream" if served is asgi else "/account/async-stream"
    with (
        pytest.warns(Warning, match="must consume"),
        served(POLICYGUARD_SUBJECT=lambda request: "anna") as client,
    ):
        assert client.get(which).text in ("abc", "ac")
    seen.pop("stream inside", None)
    assert len(seen) == 3
    assert set(seen.values()) == {(ACCOUNT, "anna")}


def test_a_stream_that_nobody_reads_to_the_end_closes_in_its_scope() -> None:
    """The visitor goes away; the body's own clean-up runs for the same purpose."""
    ended = threading.Event()
    with asgi(POLICYGUARD_SUBJECT=lambda request: "anna") as client:
        with client.stream("GET", "/account/async-stream?endless=1") as response:
            next(response.iter_bytes())
        while "async stream closed" not in seen:
            ended.wait(0.005)
    assert set(seen.values()) == {(ACCOUNT, "anna")}


def test_a_stream_that_is_left_between_two_parts_closes_in_its_scope() -> None:
    """Also where the server stops asking while the body waits to be asked."""

    async def serve() -> None:
        with override_settings(POLICYGUARD_SUBJECT=lambda request: "anna"):
            response = await PolicyguardMiddleware(async_stream)(_request("/account/?endless=1"))
        async with aclosing(aiter(response)) as parts:
            assert await anext(parts) == b"a"
            assert current_scope() is None
        await asyncio.to_thread(response.close)
        del response, parts
        for _ in range(10):
            await asyncio.sleep(0)

    asyncio.run(serve())
    assert set(seen) == {"async stream", "async stream closed"}
    assert set(seen.values()) == {(ACCOUNT, "anna")}


@both
def test_a_file_is_read_and_closed_in_the_scope(served: Served) -> None:
    """Also where the server takes the file itself; its headers stay as they were."""
    warned: Any = nullcontext if served is wsgi else lambda: pytest.warns(Warning, match="consume")
    with served(POLICYGUARD_SUBJECT=lambda request: "anna") as client:
        with warned():
            answer = client.get("/account/file")
        with warned():
            assert client.get("/account/plain-file").content == Path(__file__).read_bytes()
        assert answer.content == b"x" * 9000
    assert answer.headers["content-length"] == "9000"
    assert answer.headers["content-type"] == "text/csv"
    assert seen == {"file read": (ACCOUNT, "anna"), "file closed": (ACCOUNT, "anna")}


def test_a_server_that_can_send_files_still_gets_the_file() -> None:
    """The file's number and name are there as before."""

    def respond(request: Any) -> Any:
        return plain_file(request)

    response = PolicyguardMiddleware(respond)(_request("/account/plain-file"))
    assert isinstance(response.file_to_stream.fileno(), int)
    assert response.file_to_stream.name == __file__
    assert response.file_to_stream.read(3) == b'"""'
    response.close()
    assert response.file_to_stream.closed


def _request(where: str, **headers: str) -> Any:
    return RequestFactory().get(where, headers=headers)


@both
def test_a_missing_page_and_a_broken_view_are_the_applications(served: Served) -> None:
    """They answer as without the middleware, and leave no scope."""
    with served() as client:
        assert client.get("/account/missing").status_code == 404
        assert client.get("/account/broken").status_code == 500
        assert client.get("/unnamed").json() == [None, None]
    assert seen["missing"] == (ACCOUNT, None)


@both
@pytest.mark.parametrize("name", ["leak", "async-leak"])
def test_a_violation_is_answered_where_the_guard_is_to_respond(served: Served, name: str) -> None:
    """Status 451 with nothing but the code; otherwise it stays the application's error."""
    with served() as client:
        assert client.get(f"/account/{name}").status_code == 500
        GUARD.on_block = "respond"
        answer = client.get(f"/account/{name}")
        assert client.get("/account/broken").status_code == 500
    assert answer.status_code == 451
    assert answer.headers["x-policyguard"] == "blocked"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {"schema": "policyguard/blocked/1", "blocked": True, "code": "PG201"}


def test_a_violation_in_a_body_that_has_begun_breaks_it_off() -> None:
    """What was sent is sent; the rest isn't."""
    GUARD.on_block = "respond"
    with wsgi() as client:
        answer = client.get("/account/late-leak")
    assert answer.status_code == 200
    assert answer.text.startswith("begun")
    assert len(answer.text) < 80


def _raises(request: Any) -> Any:
    raise KeyError(ADDRESS)


async def _raises_later(request: Any) -> Any:
    await asyncio.sleep(0)
    raise KeyError(ADDRESS)


async def _consents(request: Any) -> Any:
    await asyncio.sleep(0)
    return {"consent": {ADS: True}}


class _Broken(dict[str, Any]):
    """Facts that fail while they are read, as rows that are fetched only then do."""

    def __iter__(self) -> Any:
        raise RuntimeError(ADDRESS)

    keys = items = __iter__


FACTS: dict[str, tuple[Any, str]] = {
    "given": (lambda request: {"consent": {ADS: True}}, "allow"),
    "given later": (_consents, "allow"),
    "none": (lambda request: None, "conditional"),
    "raises": (_raises, "conditional"),
    "raises later": (_raises_later, "conditional"),
    "no mapping": (lambda request: [("consent", {ADS: True})], "conditional"),
    "wrong types": (lambda request: {"consent": "yes", "age": "old"}, "conditional"),
    "can't be read": (lambda request: _Broken(consent={ADS: True}), "conditional"),
    "can't be read inside": (lambda request: {"consent": _Broken({ADS: True})}, "conditional"),
}


@both
@pytest.mark.parametrize(
    ("facts", "verdict"),
    FACTS.values(),
    ids=FACTS,
)
@pytest.mark.parametrize("subject", [lambda request: "anna", _raises_later])
def test_what_cannot_be_found_out_is_unknown(
    served: Served, facts: Any, verdict: str, subject: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A callable that raises or gives rubbish leaves the facts unknown; the request goes on."""
    with served(POLICYGUARD_FACTS=facts, POLICYGUARD_SUBJECT=subject) as client:
        assert client.get("/ads/anna").json() == {"verdict": verdict}
    assert ADDRESS not in caplog.text


REGIONS: dict[str, tuple[dict[str, Any], dict[str, str], Any]] = {
    "a callable": ({"POLICYGUARD_REGION": lambda request: "DE"}, {}, "DE"),
    "a callable that raises": ({"POLICYGUARD_REGION": _raises}, {}, None),
    "a callable that gives no region": ({"POLICYGUARD_REGION": lambda request: ADDRESS}, {}, None),
    "a header that is named": ({"POLICYGUARD_REGION_HEADER": "X-Region"}, {"X-Region": "fr"}, "FR"),
    "a header that is missing": ({"POLICYGUARD_REGION_HEADER": "X-Region"}, {}, None),
    "a header with two answers": (
        {"POLICYGUARD_REGION_HEADER": "X-Region"}, {"X-Region": "FR,US"}, None,
    ),
    "a header that nobody named": ({}, {"X-Region": "FR", "CF-IPCountry": "FR"}, None),
}  # fmt: skip


@both
@pytest.mark.parametrize(("changed", "headers", "region"), REGIONS.values(), ids=REGIONS)
def test_the_region_is_what_the_project_trusts(
    served: Served, changed: Mapping[str, Any], headers: Mapping[str, str], region: str | None
) -> None:
    """A header is only believed when it is named."""
    with served(**changed) as client:
        assert client.get("/facts", headers=dict(headers)).json() == [region, None]


@pytest.mark.parametrize(
    ("header", "opted_out"),
    [("1", True), ("0", None), ("", None), ("1, 1", True), ("0, 1", True), ("yes", None)],
)
@both
def test_global_privacy_control_is_an_opt_out(
    served: Served, header: str, opted_out: bool | None
) -> None:
    """A 1 anywhere in the header counts, whatever the project's callables say."""
    with served(POLICYGUARD_FACTS=lambda request: {"opt_out": {ADS: False}}) as client:
        answer = client.get("/facts", headers={"Sec-GPC": header}).json()
    assert answer == [None, bool(opted_out)]


@both
def test_requests_at_the_same_time_keep_apart(served: Served) -> None:
    """Forty at once, each with its own person and consent."""
    changed = {
        "POLICYGUARD_SUBJECT": lambda request: request.path,
        "POLICYGUARD_FACTS": lambda request: {"consent": {ADS: request.path.endswith("y")}},
    }
    answers: dict[str, str] = {}

    def ask(client: httpx.Client, person: str) -> None:
        answers[person] = client.get(f"/ads/{person}").json()["verdict"]

    with served(**changed) as client:
        people = [f"{number}{'y' if number % 2 else 'n'}" for number in range(40)]
        threads = [threading.Thread(target=ask, args=(client, person)) for person in people]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == {p: "allow" if p.endswith("y") else "deny" for p in people}


@both
def test_what_the_callables_read_is_known_to_the_view(served: Served) -> None:
    """A row that says who asks is labelled for the whole request; they run for its purpose."""

    def subject(request: Any) -> str:
        note("subject")
        GUARD.remember(ADDRESS, GUARD.label(EMAIL))
        return "anna"

    with served(POLICYGUARD_SUBJECT=subject) as client:
        assert client.get("/account/labelled").text == EMAIL
    assert seen["subject"] == (ACCOUNT, None)


def test_a_record_names_the_pattern_never_the_path() -> None:
    """A path may hold a person; the route's pattern doesn't."""
    memory = Memory()
    GUARD.reporters = (*GUARD.reporters, memory)
    with wsgi(POLICYGUARD_SUBJECT=lambda request: ADDRESS) as client:
        client.get(f"/account/leak?who={ADDRESS}")
    (record,) = memory.records
    assert record.route == "/account/*"
    assert ADDRESS not in str(record)


def test_below_a_mount_point_routes_are_those_of_the_url_configuration() -> None:
    """What the server adds in front doesn't count."""
    found: list[Seen] = []

    def respond(request: Any) -> Any:
        found.append(now())
        return HttpResponse()

    request = _request("/account/sync")
    request.path = "/shop/account/sync"
    PolicyguardMiddleware(respond)(request)
    assert found == [(ACCOUNT, None)]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no guard": ({"POLICYGUARD_GUARD": None}, "no guard"),
    "a guard that is none": ({"POLICYGUARD_GUARD": object()}, "POLICYGUARD_GUARD"),
    "a path to no guard": ({"POLICYGUARD_GUARD": "logging.INFO"}, "POLICYGUARD_GUARD"),
    "a path to nothing": ({"POLICYGUARD_SUBJECT": "no.such.thing"}, "POLICYGUARD_SUBJECT"),
    "no path": ({"POLICYGUARD_SUBJECT": "nothing"}, "POLICYGUARD_SUBJECT"),
    "no callable": ({"POLICYGUARD_FACTS": {"region": "DE"}}, "POLICYGUARD_FACTS"),
    "a path to no callable": ({"POLICYGUARD_REGION": "logging.INFO"}, "POLICYGUARD_REGION"),
    "an empty header": ({"POLICYGUARD_REGION_HEADER": " "}, "POLICYGUARD_REGION_HEADER"),
    "a header that is no text": ({"POLICYGUARD_REGION_HEADER": 1}, "POLICYGUARD_REGION_HEADER"),
    "two sources of the region": (
        {"POLICYGUARD_REGION": _raises, "POLICYGUARD_REGION_HEADER": "X"}, "both",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changed", "told"), WRONG.values(), ids=WRONG)
def test_django_does_not_start_with_a_wrong_setting(changed: dict[str, Any], told: str) -> None:
    """A project that thinks it is guarded, and isn't, is refused."""
    with override_settings(**changed), pytest.raises(ImproperlyConfigured) as caught:
        get_wsgi_application()
    assert told in str(caught.value)


def test_settings_may_be_dotted_paths() -> None:
    """As settings of Django usually are."""
    changed = {"POLICYGUARD_SUBJECT": "django.utils.encoding.repercent_broken_unicode"}
    with wsgi(**changed) as client:
        # The function wants bytes and gets a request: it raises, so the person is unknown.
        assert client.get("/account/sync").json() == [ACCOUNT, None]


def test_without_a_setting_the_guard_is_the_processes(tmp_path: Path) -> None:
    """`policyguard.install()` is enough."""
    config = tmp_path / "policyguard.toml"
    config.write_text(
        f'policy = "{POLICY}"\ndata_map = "{DATA_MAP}"\n[routes]\n"/unnamed" = "{SECURITY}"\n'
    )
    policyguard.install(config)
    try:
        with wsgi(POLICYGUARD_GUARD=None) as client:
            assert client.get("/unnamed").json() == [SECURITY, None]
    finally:
        policyguard.uninstall()


def test_the_plugin_hooks_nothing() -> None:
    """Named in a configuration it is found; the settings name the middleware."""
    installed: Guard = guard()
    installed.install(Plugin())
    installed.uninstall()
