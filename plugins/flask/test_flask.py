"""Every part of a Flask request runs for the purpose of its route."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import flask
import httpx
import pytest
from flask import Blueprint, Flask, Request, session
from policyguard_flask import PolicyGuard
from werkzeug.serving import WSGIRequestHandler, make_server

from policyguard import PolicyViolation
from policyguard.config import Guard
from policyguard.enforce.context import current_scope
from policyguard.enforce.routes import Routes, parse_route
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


def person_of(request: Request) -> str:
    """The last part of the path."""
    return request.path.rpartition("/")[2]


class Quiet(WSGIRequestHandler):
    """Logs nothing."""

    def log(self, *args: Any) -> None:
        """Nothing."""


@contextmanager
def served(app: Flask) -> Iterator[httpx.Client]:
    """The application on Flask's own server, with a thread for each request, and a client."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}") as client:
            yield client
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def application(installed: Guard, seen: Seen, **asks: Any) -> Flask:
    """A small application that writes down what each of its parts sees."""
    app = Flask("picnic")
    app.secret_key = "for tests"
    account = Blueprint("account", "picnic", url_prefix="/account")

    @app.before_request
    def before() -> None:
        seen["before"] = now()

    @app.after_request
    def after(response: flask.Response) -> flask.Response:
        seen["after"] = now()
        return response

    @app.teardown_request
    def teardown(error: BaseException | None) -> None:
        seen["teardown"] = now()

    @app.teardown_appcontext
    def teardown_app(error: BaseException | None) -> None:
        seen["teardown of the application"] = now()

    @account.get("/<person>")
    def view(person: str) -> flask.Response:
        seen["view"] = now()

        @flask.after_this_request
        def once(response: flask.Response) -> flask.Response:
            seen["after this request"] = now()
            return response

        def body() -> Iterator[str]:
            seen["stream"] = now()
            yield "a"
            seen["later in the stream"] = now()
            yield f"b{flask.request.view_args}"

        response = flask.Response(flask.stream_with_context(body()))
        response.call_on_close(lambda: seen.__setitem__("close", now()))
        return response

    @app.get("/account/async")
    async def later() -> str:
        seen["async view"] = now()
        return "ok"

    @app.get("/ads/<person>")
    def ads(person: str) -> str:
        return f"{now()[1]}:{installed.decide(data=LIKES, to='pixel').verdict}"

    @app.get("/counting")
    def counting() -> str:
        return installed.decide(data=LIKES, to="counter").verdict

    @app.get("/said/<int:number>")
    @installed.purpose(SECURITY)
    def said(number: int) -> str:
        return str(now()[0])

    @app.route("/leak/<person>", methods=["GET", "POST"])
    @app.get("/account/leak/<person>")
    def leak(person: str) -> str:
        installed.check("x", to="pixel", data=EMAIL)
        return "sent"

    @app.get("/account/late")
    def late() -> flask.Response:
        def body() -> Iterator[str]:
            yield "a"
            installed.check("x", to="pixel", data=EMAIL)

        return flask.Response(body())

    app.register_blueprint(account)
    PolicyGuard(app, installed, **asks)
    return app


PARTS = {
    "before",
    "view",
    "after this request",
    "after",
    "stream",
    "later in the stream",
    "close",
    "teardown",
    "teardown of the application",
}


def test_every_part_of_a_request_sees_the_routes_purpose() -> None:
    """Hooks, views of blueprints, streamed bodies and teardown; on a real server."""
    seen: Seen = {}
    with served(application(made(), seen, subject=person_of)) as client:
        assert client.get("/account/anna").text == "ab{'person': 'anna'}"
    assert set(seen) == PARTS
    assert set(seen.values()) == {(ACCOUNT, "anna")}


def test_the_test_client_sees_the_same() -> None:
    """Flask's client needs no server, and leaves no scope behind."""
    seen: Seen = {}
    app = application(made(), seen, subject=person_of)
    response = app.test_client().get("/account/anna")
    assert response.text == "ab{'person': 'anna'}"
    response.close()
    assert set(seen) == PARTS
    assert set(seen.values()) == {(ACCOUNT, "anna")}
    assert current_scope() is None


def test_an_async_view_sees_the_routes_purpose() -> None:
    """Flask runs it on an event loop of its own."""
    seen: Seen = {}
    with served(application(made(), seen, subject=person_of)) as client:
        assert client.get("/account/async").text == "ok"
    assert seen["async view"] == (ACCOUNT, "async")


def test_an_application_may_be_named_later() -> None:
    """`init_app` is for factories; with or without a guard of its own."""
    extension = PolicyGuard(subject=person_of)
    installed = made()
    with pytest.raises(PluginError, match="no guard"):
        extension.init_app(Flask("picnic"))
    for _ in range(2):
        app = Flask("picnic")
        app.add_url_rule("/account/<person>", view_func=lambda person: str(now()))
        extension.init_app(app, installed)
        assert app.test_client().get("/account/anna").text == str((ACCOUNT, "anna"))
        assert app.extensions["policyguard"] is extension


def test_an_application_is_wrapped_once() -> None:
    """Twice would ask twice, and which guard counts would be a guess."""
    app = Flask("picnic")
    PolicyGuard(app, made())
    with pytest.raises(PluginError, match="already"):
        PolicyGuard(app, made())


def test_two_ways_to_a_region_are_a_mistake() -> None:
    """Which of them counts would be a guess; the application stays as it was."""
    app = Flask("picnic")
    bare = app.wsgi_app
    with pytest.raises(PluginError, match="are both given"):
        PolicyGuard(app, made(), region=person_of, region_header="X-Region")
    assert app.wsgi_app == bare
    assert app.extensions == {}


def test_a_view_may_say_its_purpose_itself() -> None:
    """A route that the configuration doesn't name runs for what its view says."""
    assert application(made(), {}).test_client().get("/said/7").text == SECURITY


def test_a_record_names_a_pattern_never_the_path() -> None:
    """The configured one, or else that of Flask's route; nothing where no route fits."""
    memory = Memory()
    installed = made(memory)
    app = application(installed, {}, subject=person_of)

    @app.errorhandler(404)
    def missing(error: Exception) -> str:
        installed.check("x", to="pixel", data=EMAIL)
        return ""

    client = app.test_client()
    for path in ("/account/leak/x", f"/leak/{ADDRESS}", f"/nothing/{ADDRESS}"):
        assert client.get(path).status_code == 500
    client.post(f"/leak/{ADDRESS}")
    assert [record.route for record in memory.records] == [
        "/account/*",
        "GET /leak/<person>",
        "",
        "POST /leak/<person>",
    ]
    assert ADDRESS not in str(memory.records)


def test_the_session_can_be_opened_to_know_the_person() -> None:
    """By the application's own session interface; Flask's proxies don't exist yet."""
    app = Flask("picnic")
    app.secret_key = "for tests"

    def person(request: Request) -> object:
        opened = app.session_interface.open_session(app, request)
        return opened.get("person") if opened is not None else None

    @app.post("/account/login")
    def login() -> str:
        session["person"] = flask.request.form["person"]
        return str(now())

    @app.get("/account/who")
    def who() -> str:
        return str(now())

    PolicyGuard(app, made(), subject=person)
    with served(app) as client:
        assert client.post("/account/login", data={"person": "anna"}).text == str((ACCOUNT, None))
        assert client.get("/account/who").text == str((ACCOUNT, "anna"))


@pytest.mark.parametrize(
    "ask",
    [
        lambda request: request.form["person"],
        lambda request: request.get_json()["person"],
        lambda request: request.get_data(),
        lambda request: session["person"],
        lambda request: 1 / 0,
    ],
)
def test_a_function_cannot_take_the_body_from_the_view(ask: Any) -> None:
    """What it can't look at is unknown, and the view gets the whole request."""
    app = Flask("picnic")

    @app.post("/account/echo")
    def echo() -> str:
        return f"{flask.request.get_data(as_text=True)} {now()}"

    PolicyGuard(app, made(), subject=ask)
    with served(app) as client:
        answer = client.post("/account/echo", data={"person": "anna"}).text
    assert answer == f"person=anna {(ACCOUNT, None)}"


def test_global_privacy_control_and_region_count(stricter: Guard) -> None:
    """An opt-out stops consented advertising; a region is read from a header that is named."""
    app = application(
        stricter,
        {},
        facts=lambda request: {"consent": {ADS: request.cookies.get("ads") == "yes"}},
        region_header="CF-IPCountry",
    )
    with served(app) as client:
        client.cookies["ads"] = "yes"
        assert client.get("/ads/anna").text == "None:allow"
        assert client.get("/ads/anna", headers={"Sec-GPC": "1"}).text == "None:deny"
        assert client.get("/counting").text == "conditional"
        assert client.get("/counting", headers={"CF-IPCountry": "DE"}).text == "deny"
        assert client.get("/counting", headers={"CF-IPCountry": "US"}).text == "allow"


def test_requests_at_the_same_time_keep_apart() -> None:
    """Two hundred of two hundred people, in threads, each with its own consent."""
    app = application(
        made(),
        {},
        subject=person_of,
        facts=lambda request: {"consent": {ADS: request.path.endswith("y")}},
    )
    people = [f"{number}{'y' if number % 2 else 'n'}" for number in range(200)]
    with served(app) as client, ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda person: client.get(f"/ads/{person}").text, people))
    verdicts = {"y": "allow", "n": "deny"}
    assert answers == [f"{person}:{verdicts[person[-1]]}" for person in people]


BLOCKED = {"schema": "policyguard/blocked/1", "blocked": True, "code": "PG201"}


@pytest.mark.parametrize("settings", [{}, {"TESTING": True}, {"DEBUG": True}])
def test_a_violation_that_nobody_caught_is_answered(settings: dict[str, bool]) -> None:
    """With `respond` the client gets a 451, and teardown runs all the same."""
    seen: Seen = {}
    app = application(made(on_block="respond"), seen)
    app.config.update(settings)
    with served(app) as client:
        response = client.get("/account/leak/anna")
        unnamed = client.get("/leak/anna")
    assert (response.status_code, response.json()) == (451, BLOCKED)
    assert response.headers["x-policyguard"] == "blocked"
    assert (unnamed.status_code, unnamed.json()["code"]) == (451, "PG202")
    assert "teardown" in seen


@pytest.mark.parametrize("kind", [PolicyViolation, Exception])
def test_an_error_handler_of_the_application_comes_first(kind: type[Exception]) -> None:
    """Who catches violations answers them."""
    app = application(made(on_block="respond"), {})
    app.register_error_handler(kind, lambda error: ("mine", 403))
    assert app.test_client().get("/account/leak/anna").status_code == 403


def test_a_violation_is_an_error_where_nothing_else_is_asked_for() -> None:
    """The default changes nothing: Flask answers it with 500, or raises it in tests."""
    app = application(made(), {})
    assert app.test_client().get("/account/leak/anna").status_code == 500
    app.config["TESTING"] = True
    with pytest.raises(PolicyViolation):
        app.test_client().get("/account/leak/anna")


def test_other_errors_are_flasks() -> None:
    """They are answered, logged and raised as ever."""
    app = application(made(on_block="respond"), {})
    app.add_url_rule("/account/broken", view_func=lambda: str(1 / 0))
    app.register_error_handler(500, lambda error: ("sorry", 500))
    response = app.test_client().get("/account/broken")
    assert (response.status_code, response.text) == (500, "sorry")


def test_a_violation_after_the_response_has_begun_breaks_it_off() -> None:
    """What is out can't be taken back; the server gets the error."""
    app = application(made(on_block="respond"), {})
    response = app.test_client().get("/account/late")
    assert response.status_code == 200
    with pytest.raises(PolicyViolation):
        response.get_data()


def test_a_file_is_sent_whole() -> None:
    """Flask's way to send files works as before."""
    app = Flask("picnic")

    @app.get("/account/picture")
    def picture() -> flask.Response:
        return flask.send_file(io.BytesIO(b"picture" * 10_000), mimetype="image/png")

    @app.get("/account/source")
    def source() -> flask.Response:
        return flask.send_file(__file__)

    PolicyGuard(app, made())
    with served(app) as client:
        assert client.get("/account/picture").content == b"picture" * 10_000
        assert client.get("/account/source").content == Path(__file__).read_bytes()


def test_the_plugin_hooks_nothing() -> None:
    """Named in a configuration it is found; the application is named to the extension."""
    installed = guard()
    installed.install("flask")
    installed.uninstall()
