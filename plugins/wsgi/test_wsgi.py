"""Every part of a request runs for the purpose of its route, streamed bodies too."""

from __future__ import annotations

import io
import socketserver
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import httpx
import pytest
from policyguard_wsgi import PolicyguardWsgi

from policyguard import PolicyViolation
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
        parse_route("/grüße", SECURITY),
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
Start = Callable[..., Callable[[bytes], object]]
Environ = dict[str, Any]
App = Callable[[Environ, Start], Iterable[bytes]]


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


def person_of(environ: Environ) -> str:
    """The last part of the path."""
    return str(environ["PATH_INFO"].rpartition("/")[2])


class Quiet(WSGIRequestHandler):
    """Logs nothing."""

    def log_message(self, *args: Any) -> None:
        """Nothing."""


class Threads(socketserver.ThreadingMixIn, WSGIServer):
    """A thread for each request."""

    daemon_threads = True
    request_queue_size = 256


@contextmanager
def served(app: Any, server_class: type[WSGIServer] = WSGIServer) -> Iterator[httpx.Client]:
    """The application on a real server, and a client for it."""
    with make_server("127.0.0.1", 0, app, server_class, Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}") as client:
                yield client
        finally:
            server.shutdown()
            thread.join()


def asked(path: str = "/account/anna", **headers: str) -> Environ:
    """An environ as a server makes it."""
    environ: Environ = {"PATH_INFO": path, **headers}
    setup_testing_defaults(environ)
    return environ


class Said:
    """A server's `start_response`, by the letter of PEP 3333."""

    def __init__(self) -> None:
        self.status, self.headers = "", dict[str, str]()
        self.headers_sent = False
        self.written: list[bytes] = []

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """Take the head of the response."""
        if exc_info:
            if self.headers_sent:
                raise exc_info[1].with_traceback(exc_info[2])
        elif self.status:
            raise AssertionError("the response has started already")
        self.status, self.headers = status, dict(headers)
        return self._write

    def _write(self, data: bytes) -> None:
        self.headers_sent = True
        self.written.append(data)


def plain(start_response: Start) -> None:
    """Begin a plain response."""
    start_response("200 OK", [("Content-Type", "text/plain")])


class Parts:
    """A body that writes down what each of its parts sees."""

    def __init__(self, seen: dict[str, Any], closed: list[object]) -> None:
        self.seen, self.closed = seen, closed

    def __iter__(self) -> Iterator[bytes]:
        """Two pieces."""
        self.seen["first piece"] = now()
        yield b"a"
        self.seen["second piece"] = now()
        yield b"b"
        self.seen["end"] = now()

    def close(self) -> None:
        """Write down that it was closed."""
        self.seen["close"] = now()
        self.closed.append(now())


def test_every_part_of_a_request_sees_the_routes_purpose() -> None:
    """The application, each piece of its body, its end and its close; and nothing after it."""
    seen: dict[str, Any] = {}
    closed: list[object] = []
    outside: list[object] = []

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        seen["application"] = now()
        plain(start_response)
        return Parts(seen, closed)

    wrapped = PolicyguardWsgi(app, made(), subject=person_of)

    def server(environ: Environ, start_response: Start) -> Iterator[bytes]:
        body: Any = wrapped(environ, start_response)
        outside.append(current_scope())
        for piece in body:
            outside.append(current_scope())
            yield piece
        body.close()
        outside.append(current_scope())

    with served(server) as client:
        assert client.get("/account/anna").text == "ab"
    assert set(seen) == {"application", "first piece", "second piece", "end", "close"}
    assert set(seen.values()) == {(ACCOUNT, "anna")}
    assert len(closed) == 1
    assert outside == [None] * 4


def test_a_reused_worker_thread_shows_no_old_purpose() -> None:
    """One thread serves a streamed, a broken and an unnamed request, and starts each one clean."""
    before: list[object] = []

    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        plain(start_response)
        yield str(now()).encode()
        if environ["PATH_INFO"] == "/account/broken":
            raise ZeroDivisionError

    wrapped = PolicyguardWsgi(app, made(), subject=person_of)

    def server(environ: Environ, start_response: Start) -> Iterable[bytes]:
        before.append(current_scope())
        environ["wsgi.errors"] = io.StringIO()
        return wrapped(environ, start_response)

    with served(server) as client:
        assert client.get("/account/anna").text == str((ACCOUNT, "anna"))
        client.get("/account/broken")
        assert client.get("/ads/bert").text == str((ADS, "bert"))
        assert client.get("/unnamed").text == str((None, "unnamed"))
    assert before == [None] * 4


def test_what_a_bodys_code_enters_stays_entered_until_it_leaves_it() -> None:
    """A purpose around two pieces counts for both, and never for the server between them."""
    installed = made()
    seen: list[object] = []

    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        plain(start_response)
        with installed.purpose(SECURITY):
            yield b"a"
            seen.append(now())
            yield b"b"
        seen.append(now())
        yield b"c"

    body = iter(PolicyguardWsgi(app, installed, subject=person_of)(asked(), Said()))
    for _ in range(3):
        with installed.purpose(COUNTING):
            next(body)
            assert now() == (COUNTING, None)
    assert seen == [(SECURITY, "anna"), (ACCOUNT, "anna")]


def test_a_thread_that_serves_two_bodies_in_turns_keeps_them_apart() -> None:
    """Each piece sees its own request."""

    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        plain(start_response)
        while True:
            yield str(now()).encode()

    wrapped = PolicyguardWsgi(app, made(), subject=person_of)
    bodies = [iter(wrapped(asked(path), Said())) for path in ("/account/anna", "/ads/bert")]
    pieces = [next(body) for _ in range(3) for body in bodies]
    assert pieces == [str((ACCOUNT, "anna")).encode(), str((ADS, "bert")).encode()] * 3
    assert current_scope() is None


def test_a_body_may_be_continued_in_another_thread() -> None:
    """Servers hand bodies on to whichever thread is free."""

    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        plain(start_response)
        while True:
            yield str(now()).encode()

    body = iter(PolicyguardWsgi(app, made(), subject=person_of)(asked(), Said()))
    expected = str((ACCOUNT, "anna")).encode()
    assert next(body) == expected
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(next, body).result() == expected
        assert pool.submit(current_scope).result() is None


def test_requests_at_the_same_time_keep_apart() -> None:
    """Three hundred of three hundred people; each is judged by its own consent, piece by piece."""
    installed = made()

    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        plain(start_response)
        for _ in range(3):
            verdict = installed.decide(data=LIKES, to="pixel").verdict
            yield f"{now()[1]}:{verdict} ".encode()

    wrapped = PolicyguardWsgi(
        app,
        installed,
        subject=person_of,
        facts=lambda environ: {"consent": {ADS: person_of(environ).endswith("y")}},
    )
    people = [f"{number}{'y' if number % 2 else 'n'}" for number in range(300)]
    with served(wrapped, Threads) as client, ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda person: client.get(f"/ads/{person}").text, people))
    verdicts = {"y": "allow", "n": "deny"}
    assert answers == [f"{person}:{verdicts[person[-1]]} " * 3 for person in people]


def _raises(environ: Environ) -> Any:
    raise KeyError(ADDRESS)


class _Broken(dict[str, Any]):
    """Facts that fail while they are read, as rows that are fetched only then do."""

    def __iter__(self) -> Any:
        raise RuntimeError(ADDRESS)

    keys = items = __iter__


FACTS: dict[str, tuple[Any, str]] = {
    "given": (lambda environ: {"consent": {ADS: True}}, "allow"),
    "none": (lambda environ: None, "conditional"),
    "raises": (_raises, "conditional"),
    "no mapping": (lambda environ: [("consent", {ADS: True})], "conditional"),
    "wrong types": (lambda environ: {"consent": "yes", "age": "old"}, "conditional"),
    "can't be read": (lambda environ: _Broken(consent={ADS: True}), "conditional"),
    "can't be read inside": (lambda environ: {"consent": _Broken({ADS: True})}, "conditional"),
}


@pytest.mark.parametrize(("facts", "verdict"), FACTS.values(), ids=FACTS)
@pytest.mark.parametrize("subject", [person_of, _raises, None])
def test_what_cannot_be_found_out_is_unknown(facts: Any, verdict: str, subject: Any) -> None:
    """A callable that raises or gives rubbish leaves the facts unknown; the request goes on."""
    installed = made()

    def app(environ: Environ, start_response: Start) -> list[bytes]:
        plain(start_response)
        return [installed.decide(data=LIKES, to="pixel").verdict.encode()]

    wrapped = PolicyguardWsgi(app, installed, facts=facts, subject=subject)
    assert wrapped(asked("/ads/anna"), Said()) == [verdict.encode()]


def test_what_the_functions_read_is_known_to_the_application() -> None:
    """A row that says who asks is labelled for the whole request; they run for its purpose."""
    installed, seen = made(), list[tuple[str | None, object]]()

    def subject(environ: Environ) -> str:
        seen.append(now())
        installed.remember(ADDRESS, installed.label(EMAIL))
        return "anna"

    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        plain(start_response)
        seen.append(now())
        yield from (one.data.encode() for one, _, _ in installed.labels_in(f"to {ADDRESS}"))

    body = PolicyguardWsgi(app, installed, subject=subject)(asked(), Said())
    assert list(body) == [EMAIL.encode()]
    body.close()  # type: ignore[attr-defined]  # as a server does
    assert seen == [(ACCOUNT, None), (ACCOUNT, "anna")]
    assert current_scope() is None


def test_a_callable_that_fails_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """The log names which one and the kind of error, never its text."""

    def app(environ: Environ, start_response: Start) -> list[bytes]:
        plain(start_response)
        return []

    wrapped = PolicyguardWsgi(app, made(), subject=_raises, facts=lambda environ: "consent")
    for _ in range(3):
        wrapped(asked(), Said())
    assert sorted(record.getMessage() for record in caplog.records) == [
        "PG204 a fact counts as unknown: `facts` gave no mapping",
        "PG204 a fact counts as unknown: `subject` failed with KeyError",
    ]


def decides(installed: Guard, data: str, to: str) -> App:
    """An application that answers with a verdict."""

    def app(environ: Environ, start_response: Start) -> list[bytes]:
        plain(start_response)
        return [installed.decide(data=data, to=to).verdict.encode()]

    return app


class Consents:
    """A store of subjects in which Anna consents."""

    def facts(self, subject: object, /) -> dict[str, Any]:
        """What is known."""
        return {"consent": {ADS: subject == "anna"}}


def test_what_the_subject_store_knows_counts_for_the_body_too() -> None:
    """A streamed body is judged by the consent of who asked for it."""
    installed = made()
    installed.subjects = Subjects(Consents(), limit=5)

    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        plain(start_response)
        for _ in range(2):
            yield installed.decide(data=LIKES, to="pixel").verdict.encode()

    wrapped = PolicyguardWsgi(app, installed, subject=person_of)
    with served(wrapped) as client:
        assert client.get("/ads/anna").text == "allow" * 2
        assert client.get("/ads/bert").text == "deny" * 2


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
    wrapped = PolicyguardWsgi(
        decides(stricter, LIKES, "pixel"),
        stricter,
        subject=person_of,
        facts=lambda environ: {"consent": {ADS: True}, "opt_out": {ADS: False}},
    )
    with served(wrapped) as client:
        headers = [("Sec-GPC", signal) for signal in signals]
        assert client.get("/ads/anna", headers=headers).text == verdict


REGIONS: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "a header nobody named": ({}, ["US"], "conditional"),
    "the named header": ({"region_header": "CF-IPCountry"}, ["US"], "allow"),
    "a place in the Union": ({"region_header": "cf-ipcountry"}, ["DE"], "deny"),
    "small letters": ({"region_header": "CF-IPCountry"}, ["us"], "allow"),
    "no header": ({"region_header": "CF-IPCountry"}, [], "conditional"),
    "an anonymous network": ({"region_header": "CF-IPCountry"}, ["T1"], "conditional"),
    "no country": ({"region_header": "CF-IPCountry"}, ["XX"], "conditional"),
    "one of them is forged": ({"region_header": "CF-IPCountry"}, ["US", "US"], "conditional"),
    "a function": ({"region": lambda environ: "US-CA"}, ["DE"], "allow"),
    "a function that fails": ({"region": _raises}, ["US"], "conditional"),
    "a function that gives rubbish": ({"region": lambda environ: 49}, ["US"], "conditional"),
}


@pytest.mark.parametrize(("asks", "headers", "verdict"), REGIONS.values(), ids=REGIONS)
def test_a_region_is_believed_only_from_where_it_is_named(
    stricter: Guard, asks: dict[str, Any], headers: list[str], verdict: str
) -> None:
    """Anybody can send a header; without a place that is known, what rests on it is in doubt."""
    wrapped = PolicyguardWsgi(decides(stricter, LIKES, "counter"), stricter, **asks)
    with served(wrapped) as client:
        sent = [("CF-IPCountry", value) for value in headers]
        assert client.get("/counting", headers=sent).text == verdict


def test_two_ways_to_a_region_are_a_mistake() -> None:
    """Which of them counts would be a guess."""
    with pytest.raises(PluginError, match="are both given"):
        PolicyguardWsgi(
            decides(made(), LIKES, "pixel"), made(), region=_raises, region_header="X-Region"
        )


def test_paths_are_compared_as_people_write_them() -> None:
    """Percent signs and the server's own encoding are undone; a mounted prefix is part of it."""

    def app(environ: Environ, start_response: Start) -> list[bytes]:
        plain(start_response)
        return [str(now()[0]).encode()]

    wrapped = PolicyguardWsgi(app, made())
    with served(wrapped) as client:
        assert client.get("/gr%C3%BC%C3%9Fe").text == SECURITY
    mounted = asked("/anna", SCRIPT_NAME="/account")
    assert wrapped(mounted, Said()) == [ACCOUNT.encode()]


def checks(installed: Guard, *, started: bool = False, pieces: tuple[bytes, ...] = ()) -> App:
    """An application that sends what it may not, before or after its response has begun."""

    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        if started:
            plain(start_response)
        yield from pieces
        installed.check("x", to="pixel", data=EMAIL)

    return app


def returning(app: App) -> App:
    """The same as an application that does its work before it returns."""

    def eager(environ: Environ, start_response: Start) -> list[bytes]:
        return list(app(environ, start_response))

    return eager


BLOCKED = {"schema": "policyguard/blocked/1", "blocked": True, "code": "PG201"}


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("shape", [returning, lambda app: app], ids=["returns", "streams"])
def test_a_violation_before_the_response_is_answered(shape: Any, started: bool) -> None:
    """With `respond` the client gets a 451 that says nothing of rules; announced headers too go."""
    installed = made(on_block="respond")
    with served(PolicyguardWsgi(shape(checks(installed, started=started)), installed)) as client:
        response = client.get("/account/anna")
        head = client.head("/account/anna")
    assert (response.status_code, response.json()) == (451, BLOCKED)
    assert response.headers["x-policyguard"] == "blocked"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "application/json"
    assert (head.status_code, head.content) == (451, b"")
    assert head.headers["content-length"] == response.headers["content-length"]


def test_the_answer_of_a_request_without_purpose_has_its_own_code() -> None:
    """A route that nobody names is denied labelled data."""
    installed = made(on_block="respond")
    with served(PolicyguardWsgi(checks(installed), installed)) as client:
        response = client.get("/not/named")
    assert (response.status_code, response.json()["code"]) == (451, "PG202")


@pytest.mark.parametrize("on_block", ["raise", "respond"])
def test_a_violation_after_the_response_has_begun_is_raised(on_block: str) -> None:
    """What is out can't be taken back; the server gets the error, as from the bare application."""
    installed = made(on_block=on_block)
    said = Said()
    app = PolicyguardWsgi(checks(installed, started=True, pieces=(b"a",)), installed)
    body = iter(app(asked(), said))
    assert next(body) == b"a"
    with pytest.raises(PolicyViolation):
        next(body)
    assert said.status == "200 OK"
    assert current_scope() is None


def test_a_violation_after_a_write_is_raised() -> None:
    """The old way of sending counts as sent too."""
    installed = made(on_block="respond")

    def app(environ: Environ, start_response: Start) -> list[bytes]:
        write = start_response("200 OK", [])
        write(str(now()).encode())
        installed.check("x", to="pixel", data=EMAIL)
        return []

    said = Said()
    with pytest.raises(PolicyViolation):
        PolicyguardWsgi(app, installed, subject=person_of)(asked(), said)
    assert said.written == [str((ACCOUNT, "anna")).encode()]
    assert current_scope() is None


def test_a_violation_is_raised_where_nothing_else_is_asked_for() -> None:
    """The default changes nothing: no response is made up."""
    installed, said = made(), Said()
    with pytest.raises(PolicyViolation):
        PolicyguardWsgi(returning(checks(installed)), installed)(asked(), said)
    assert said.status == ""


def test_other_errors_are_the_applications() -> None:
    """Whatever is raised passes, also where violations are answered."""

    def app(environ: Environ, start_response: Start) -> list[bytes]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        PolicyguardWsgi(app, made(on_block="respond"))(asked(), Said())
    assert current_scope() is None


def test_an_application_may_take_its_headers_back() -> None:
    """`exc_info` reaches the server."""

    def app(environ: Environ, start_response: Start) -> list[bytes]:
        plain(start_response)
        try:
            1 / 0  # noqa: B018 - to fail is its purpose
        except ZeroDivisionError:
            start_response("500 Error", [], sys.exc_info())
        return [b"sorry"]

    said = Said()
    assert PolicyguardWsgi(app, made())(asked(), said) == [b"sorry"]
    assert said.status == "500 Error"


def test_a_stopped_body_is_closed_once() -> None:
    """Also where another body takes its place, and where the server closes twice."""
    installed, closes = made(on_block="respond"), []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            return self

        def __next__(self) -> bytes:
            installed.check("x", to="pixel", data=EMAIL)
            raise StopIteration

        def close(self) -> None:
            closes.append(now())

    def app(environ: Environ, start_response: Start) -> Body:
        plain(start_response)
        return Body()

    said = Said()
    body: Any = PolicyguardWsgi(app, installed, subject=person_of)(asked(), said)
    assert (
        b"".join(body) == b'{"schema": "policyguard/blocked/1", "blocked": true, "code": "PG201"}'
    )
    body.close()
    body.close()
    assert (said.status[:3], closes) == ("451", [(ACCOUNT, "anna")])


def test_a_client_that_goes_away_ends_the_body_in_its_scope() -> None:
    """What a generator does at its end, it does for the purpose of the request."""
    seen: list[object] = []
    ended = threading.Event()

    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        plain(start_response)
        try:
            while True:
                yield b"x" * 65_536
        finally:
            seen.append(now())
            ended.set()

    with served(PolicyguardWsgi(app, made(), subject=person_of)) as client:
        with client.stream("GET", "/account/anna") as response:
            next(response.iter_raw())
        assert ended.wait(10)
    assert seen == [(ACCOUNT, "anna")]


def test_nothing_runs_before_the_server_asks_for_it() -> None:
    """A generator's first line waits for the first piece."""
    ran: list[str] = []

    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        ran.append("first line")
        plain(start_response)
        yield b""
        yield b"a"

    body = PolicyguardWsgi(app, made())(asked(), Said())
    assert ran == []
    assert list(body) == [b"", b"a"]


class Sized:
    """A body of one piece, as some frameworks make it."""

    def __iter__(self) -> Iterator[bytes]:
        """One piece."""
        return iter([b"hello"])

    def __len__(self) -> int:
        """Its number of pieces."""
        return 1


SHAPES: dict[str, tuple[Callable[[], Iterable[bytes]], str | None]] = {
    "list": (lambda: [b"hello"], "5"),
    "tuple": (lambda: (b"hello",), "5"),
    "sized": (Sized, "5"),
    "generator": (lambda: (part for part in [b"hello"]), None),
}


@pytest.mark.parametrize(("shape", "length"), SHAPES.values(), ids=SHAPES)
def test_the_server_can_still_tell_the_length(shape: Any, length: str | None) -> None:
    """Where the bare application lets the server add a Content-Length, the wrapped one does."""

    def app(environ: Environ, start_response: Start) -> Any:
        plain(start_response)
        return shape()

    for each in (app, PolicyguardWsgi(app, made())):
        with served(each) as client:
            response = client.get("/account/anna")
            assert (response.text, response.headers.get("content-length")) == ("hello", length)


def test_a_servers_own_way_to_send_files_is_kept(tmp_path: Path) -> None:
    """A plain file in the server's wrapper comes back as it is, for `sendfile`."""
    path = tmp_path / "picture"
    path.write_bytes(b"picture" * 10_000)

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        plain(start_response)
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](path.open("rb"), 4096)
        return wrapped

    wrapped = PolicyguardWsgi(app, made())
    with served(wrapped) as client:
        assert client.get("/account/anna").content == path.read_bytes()
    environ = asked()
    environ["wsgi.file_wrapper"] = FileWrapper
    body: Any = wrapped(environ, Said())
    assert type(body) is FileWrapper
    body.close()


def test_a_file_that_runs_code_is_read_in_the_scope() -> None:
    """A file of the application's own is stepped like a generator."""
    seen: list[object] = []

    class Rows(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            seen.append(now())
            return super().read(size)

        def close(self) -> None:
            seen.append(now())
            super().close()

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        plain(start_response)
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](Rows(b"rows"), 4096)
        return wrapped

    with served(PolicyguardWsgi(app, made(), subject=person_of)) as client:
        assert client.get("/account/anna").text == "rows"
    assert set(seen) == {(ACCOUNT, "anna")}
    assert len(seen) == 3


def test_a_files_own_close_runs_in_the_scope(tmp_path: Path) -> None:
    """Frameworks hang the end of a request on the file that they send."""
    path, seen = tmp_path / "picture", []
    path.write_bytes(b"picture")

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        plain(start_response)
        file: Any = path.open("rb")
        close = file.close

        def closing() -> None:
            seen.append(now())
            close()

        file.close = closing
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file, 4096)
        return wrapped

    with served(PolicyguardWsgi(app, made(), subject=person_of)) as client:
        assert client.get("/account/anna").text == "picture"
    assert seen == [(ACCOUNT, "anna")]


def test_both_sides_keep_to_the_letter_of_wsgi() -> None:
    """The standard library's validator sits on either side and finds nothing."""

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        plain(start_response)
        return Parts({}, [])

    wrapped = validator(PolicyguardWsgi(validator(app), made()))
    with served(wrapped) as client:
        assert client.get("/account/anna").text == "ab"


def test_a_record_names_the_pattern_never_the_path() -> None:
    """A path may hold a person; the route's pattern doesn't."""
    memory = Memory()
    installed = made(memory, on_block="respond")
    with served(PolicyguardWsgi(checks(installed), installed, subject=person_of)) as client:
        assert client.get(f"/account/{ADDRESS}").status_code == 451
        assert client.get(f"/unnamed/{ADDRESS}").status_code == 451
    assert [record.route for record in memory.records] == ["/account/*", ""]
    assert ADDRESS not in str(memory.records)


def test_a_framework_may_name_what_no_configured_route_fits() -> None:
    """`route` is asked only there; one that fails names nothing."""
    memory = Memory()
    installed = made(memory, on_block="respond")
    for route in (lambda environ: "GET /orders/<id>", _raises, lambda environ: None):
        wrapped = PolicyguardWsgi(checks(installed), installed, route=route)
        for path in ("/account/anna", "/orders/7"):
            list(wrapped(asked(path), Said()))
    names = [record.route for record in memory.records]
    assert names == ["/account/*", "GET /orders/<id>", "/account/*", "", "/account/*", ""]


def test_the_plugin_hooks_nothing() -> None:
    """Named in a configuration it is found; the application wraps itself."""
    installed = guard()
    installed.install("wsgi")
    installed.uninstall()
