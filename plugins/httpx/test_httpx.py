"""Every request of httpx is judged as it leaves, and untouched when it may go."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import policyguard_httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from policyguard import NoPurpose, PluginError, PolicyViolation
from policyguard.config import Guard
from policyguard.enforce.modes import Enforcement, Match
from tests.enforce.kit import (
    ACCOUNT,
    ADDRESS,
    ADS,
    EMAIL,
    ToWire,
    ToWireAsync,
    Wire,
    counts,
    guard,
    wire,
)

BARE = {kind: kind.__dict__["_send_single_request"] for kind in (httpx.Client, httpx.AsyncClient)}
PIXEL = "https://pixel.example/tr"
MAIL = "https://mail.example/send"


@pytest.fixture
def outside() -> Iterator[Wire]:
    """The outside world."""
    with wire() as listening:
        yield listening


@pytest.fixture
def made() -> Iterator[Guard]:
    """A guard with httpx hooked; everything is as before at the end."""
    installed = guard()
    installed.install("httpx")
    yield installed
    installed.uninstall()
    assert hooks() == BARE


def hooks() -> dict[type, Any]:
    """What stands in the classes now."""
    return {kind: kind.__dict__["_send_single_request"] for kind in BARE}


def seen(made: Guard) -> None:
    """The address was read in this scope."""
    made.remember(ADDRESS, made.label(EMAIL))


def test_a_denied_request_never_reaches_the_wire(made: Guard, outside: Wire) -> None:
    """Body, query and header: the violation is raised and no byte is sent."""
    with httpx.Client(transport=ToWire(outside)) as client, made.purpose(ADS):
        seen(made)
        for sent in (
            {"json": {"user": {"mail": ADDRESS}}},
            {"data": {"mail": ADDRESS}},
            {"params": {"mail": ADDRESS}},
            {"headers": {"x-user": ADDRESS}},
            {"headers": {"cookie": f"user={ADDRESS}"}},
            {"content": ADDRESS.encode()},
            {"files": {"mail": ADDRESS.encode()}},
            {"auth": (ADDRESS, "secret")},
        ):
            with pytest.raises(PolicyViolation) as caught:
                client.post(PIXEL, **sent)
            assert caught.value.decision.flow.recipient == "pixel"
    assert outside.received == []


def test_hosts_that_are_declared_for_it_get_it(made: Guard, outside: Wire) -> None:
    """Declared and permitted passes; undeclared doesn't, whatever the purpose."""
    with httpx.Client(transport=ToWire(outside)) as client, made.purpose(ACCOUNT):
        seen(made)
        assert client.post(MAIL, json={"to": ADDRESS}).text == "ok"
        with pytest.raises(PolicyViolation) as caught:
            client.post("https://tracker.example/", json={"to": ADDRESS})
        assert caught.value.decision.reason == "unknown_recipient"
        with pytest.raises(PolicyViolation) as caught:
            client.post("http://mail.example/send", json={"to": ADDRESS})
        assert caught.value.decision.rules == ("encrypted-only",)
    assert len(outside.received) == 1


REQUESTS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "JSON": {"json": {"to": ADDRESS, "ünïcode": "é", "n": [1, 2.5, None]}},
    "form": {"data": {"to": ADDRESS, "b": ["1", "2"]}},
    "query": {"params": {"to": ADDRESS, "x": ""}},
    "text": {"content": f"to {ADDRESS}\r\n"},
    "bytes": {"content": bytes(range(32, 127)) * 300},
    "headers": {"headers": [("x-a", "1"), ("x-a", "2"), ("X-Mixed", "v")]},
    "multipart": {
        "files": {"f": ("name.txt", b"content", "text/plain")},
        "data": {"to": ADDRESS},
        "headers": {"content-type": "multipart/form-data; boundary=fixed"},
    },
    "head": {"method": "HEAD"},
}


@pytest.mark.parametrize("sent", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_allowed_request_is_byte_for_byte_the_bare_one(
    outside: Wire, sent: dict[str, Any], kind: str
) -> None:
    """What arrives with the guard is exactly what arrives without it."""
    given = {"method": "POST", "url": MAIL, **sent}

    async def go() -> None:
        async with httpx.AsyncClient(transport=ToWireAsync(outside)) as client:
            await client.request(**given)

    def send() -> None:
        if kind == "async":
            asyncio.run(go())
            return
        with httpx.Client(transport=ToWire(outside)) as client:
            client.request(**given)

    send()
    installed = guard()
    installed.install("httpx")
    with installed.purpose(ACCOUNT):
        seen(installed)
        send()
    installed.uninstall()
    bare, guarded = outside.received
    assert bare == guarded


def test_a_one_shot_body_is_sent_whole_and_read_once(made: Guard, outside: Wire) -> None:
    """A generator is not consumed by looking: where nothing was seen it passes untouched."""
    steps: list[int] = []

    def body() -> Iterator[bytes]:
        for number in range(5):
            steps.append(number)
            yield b"part%d" % number

    with httpx.Client(transport=ToWire(outside)) as client, made.purpose(ADS):
        assert client.post(PIXEL, content=body()).text == "ok"
    assert steps == [0, 1, 2, 3, 4]
    for number in range(5):
        assert b"part%d" % number in outside.received[0]


def test_a_stream_that_cannot_be_read_cannot_be_told(made: Guard, outside: Wire) -> None:
    """Where something labelled was seen, an unread stream is a doubt, and is not touched."""
    steps: list[int] = []

    def body() -> Iterator[bytes]:
        steps.append(1)
        yield ADDRESS.encode()

    async def later() -> AsyncIterator[bytes]:
        steps.append(1)
        yield ADDRESS.encode()

    async def go() -> None:
        async with httpx.AsyncClient(transport=ToWireAsync(outside)) as client:
            await client.post(PIXEL, content=later())

    with httpx.Client(transport=ToWire(outside)) as client, made.purpose(ADS):
        seen(made)
        with pytest.raises(PolicyViolation) as caught:
            client.post(PIXEL, content=body())
        assert caught.value.decision.reason == "cannot_tell"
        with pytest.raises(PolicyViolation):
            asyncio.run(go())
    assert (steps, outside.received) == ([], [])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_each_hop_of_a_redirect_is_judged(made: Guard, outside: Wire, status: int) -> None:
    """Allowed to the first host, the request stops before a second one that may not have it."""
    target = f"https://tracker.example/collect?to={ADDRESS}"
    outside.redirect("/send", status, target)
    outside.redirect("/fine", 307, "https://mail.example/other")
    with (
        httpx.Client(transport=ToWire(outside), follow_redirects=True) as client,
        made.purpose(ACCOUNT),
    ):
        seen(made)
        with pytest.raises(PolicyViolation) as caught:
            client.post(MAIL, json={"to": ADDRESS})
        assert caught.value.decision.flow.recipient == "tracker.example"
        assert len(outside.received) == 1
        assert client.post("https://mail.example/fine", json={"to": ADDRESS}).text == "ok"
    assert len(outside.received) == 3


def test_a_redirect_to_http_is_stopped(made: Guard, outside: Wire) -> None:
    """The same host without TLS is another flow."""
    outside.redirect("/send", 307, "http://mail.example/send")
    with (
        httpx.Client(transport=ToWire(outside), follow_redirects=True) as client,
        made.purpose(ACCOUNT),
    ):
        seen(made)
        with pytest.raises(PolicyViolation) as caught:
            client.post(MAIL, json={"to": ADDRESS})
    assert caught.value.decision.rules == ("encrypted-only",)
    assert len(outside.received) == 1


def test_the_async_client_is_held_alike(made: Guard, outside: Wire) -> None:
    """Denied never reaches the wire, allowed does; tasks keep their own purpose."""

    async def post(client: httpx.AsyncClient, purpose: str, url: str) -> str:
        with made.purpose(purpose):
            seen(made)
            try:
                return (await client.post(url, json={"to": ADDRESS})).text
            except PolicyViolation as error:
                return error.decision.reason

    async def go() -> list[str]:
        async with httpx.AsyncClient(transport=ToWireAsync(outside)) as client:
            asked = [(ADS, PIXEL), (ACCOUNT, MAIL)] * 5
            jobs = [post(client, purpose, url) for purpose, url in asked]
            return list(await asyncio.gather(*jobs))

    assert asyncio.run(go()) == ["not_covered", "ok"] * 5
    assert len(outside.received) == 5


def test_a_client_from_before_the_install_is_held_too(outside: Wire) -> None:
    """The class is hooked, so early imports and clients inside SDKs are seen."""
    with httpx.Client(transport=ToWire(outside)) as client:
        made = guard()
        made.install("httpx")
        with made.purpose(ADS):
            seen(made)
            with pytest.raises(PolicyViolation):
                client.post(PIXEL, json={"to": ADDRESS})
        made.uninstall()
        with made.purpose(ADS):
            seen(made)
            client.post(PIXEL, json={"to": ADDRESS})
    assert len(outside.received) == 1


def test_installing_twice_hooks_once_and_any_order_restores() -> None:
    """Two guards share one hook; it goes with the last of them, whichever that is."""
    for order in ((0, 1), (1, 0)):
        guards = [guard(), guard()]
        for each in guards:
            each.install("httpx")
            each.install("httpx")
        hooked = hooks()
        assert hooked != BARE
        guards[order[0]].uninstall()
        assert hooks() == hooked
        guards[order[1]].uninstall()
        assert hooks() == BARE


def test_every_installed_guard_is_asked(made: Guard, outside: Wire) -> None:
    """A second guard in the process doesn't take the place of the first."""
    second = guard()
    second.install("httpx")
    with httpx.Client(transport=ToWire(outside)) as client, made.purpose(ADS):
        seen(made)
        with pytest.raises(PolicyViolation):
            client.post(PIXEL, json={"to": ADDRESS})
        made.modes.default = "flag"
        with pytest.raises(PolicyViolation):
            client.post(PIXEL, json={"to": ADDRESS})
    second.uninstall()
    assert ("deny", "pixel", "block") in counts(second)
    assert outside.received == []


def test_a_version_that_cannot_be_hooked_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the place to hook is gone, the install says so."""
    monkeypatch.delattr(httpx.Client, "_send_single_request")
    with pytest.raises(PluginError) as caught:
        guard().install(policyguard_httpx.Plugin())
    assert httpx.__version__ in str(caught.value)


def test_flag_sends_and_says_so(outside: Wire, caplog: pytest.LogCaptureFixture) -> None:
    """In mode flag the request goes as it is, and the log names host and place, no value."""
    made = guard("flag")
    made.install("httpx")
    with httpx.Client(transport=ToWire(outside)) as client, made.purpose(ADS):
        seen(made)
        client.post(PIXEL, json={"to": ADDRESS})
    made.uninstall()
    assert ADDRESS.encode() in outside.received[0]
    told = [record.getMessage() for record in caplog.records if record.name == "policyguard"]
    assert "flagged: e-mail address to Pixel" in told[0]
    assert "(body.to)" in told[0]
    assert ADDRESS not in told[0]
    assert logging.getLogger("policyguard").level == logging.NOTSET


def test_from_a_column_to_the_pixel(made: Guard, outside: Wire) -> None:
    """The headline: read through SQLAlchemy for one purpose, stopped on its way to another."""
    made.install("sqlalchemy")
    engine = sa.create_engine("sqlite://", poolclass=StaticPool)
    vector = [((number * 7919) % 1009) / 1009 for number in range(128)]
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE faces (user_id INTEGER, embedding JSON)")
        connection.exec_driver_sql("INSERT INTO faces VALUES (1, ?)", (json.dumps(vector),))
    faces = sa.Table("faces", sa.MetaData(), sa.Column("embedding", sa.JSON))
    with (
        httpx.Client(transport=ToWire(outside)) as client,
        engine.connect() as connection,
        made.purpose("essential.service.security"),
    ):
        found = connection.execute(sa.select(faces.c.embedding)).scalar_one()
        assert found == vector
        with made.purpose(ADS), pytest.raises(PolicyViolation) as caught:
            client.post(PIXEL, json={"event": "like", "features": found})
        client.post(PIXEL, json={"event": "like"})
    made.uninstall("sqlalchemy")
    assert "(faces.embedding)" in caught.value.what
    assert "clause 2: faces are recognised on our servers only" in caught.value.because
    assert "test_httpx.py:" in caught.value.read_at
    assert b"features" not in outside.everything
    assert len(outside.received) == 1


def test_a_body_that_reads_rows_while_it_is_sent(made: Guard, outside: Wire) -> None:
    """Nothing was seen when the request began; what is read for its body stops it."""

    def body() -> Iterator[bytes]:
        seen(made)
        yield ADDRESS.encode()

    with (
        httpx.Client(transport=ToWire(outside)) as client,
        made.purpose(ADS),
        pytest.raises(PolicyViolation),
    ):
        client.post(PIXEL, content=body())


def test_a_hook_that_changes_the_body_is_seen(made: Guard, outside: Wire) -> None:
    """What is checked is the stream that is sent, not what the request began with."""

    def add(request: httpx.Request) -> None:
        request.read()
        request.stream = httpx.ByteStream(ADDRESS.encode())
        request.headers["content-length"] = str(len(ADDRESS))

    with (
        httpx.Client(transport=ToWire(outside), event_hooks={"request": [add]}) as client,
        made.purpose(ADS),
    ):
        seen(made)
        with pytest.raises(PolicyViolation):
            client.post(PIXEL, json={"page": "/"})


def test_a_thread_that_nobody_bound_sends_nothing_labelled(made: Guard, outside: Wire) -> None:
    """It has lost its purpose, not the labels: the request is denied, not forgotten."""

    def send() -> None:
        with httpx.Client(transport=ToWire(outside)) as client:
            client.post(PIXEL, json={"m": ADDRESS})

    with made.context(purpose=ADS), ThreadPoolExecutor(1) as pool:
        seen(made)
        with pytest.raises(NoPurpose):
            pool.submit(send).result()


def test_a_value_in_the_host_is_shown_to_nobody(made: Guard, outside: Wire) -> None:
    """A host that holds a labelled value is named in no message."""
    host = "quillfeather-9482-blackbird-ivory.unheard.example"
    with httpx.Client(transport=ToWire(outside)) as client, made.purpose(ADS):
        made.remember(host, made.label(EMAIL))
        with pytest.raises(PolicyViolation) as caught:
            client.get(f"https://{host}/")
    assert "quillfeather" not in str(caught.value)


def redacting(on_block: str = "raise") -> Guard:
    """A guard with httpx hooked, in mode redact, or in mode block with an answer of its own."""
    made = guard("redact" if on_block == "raise" else "block")
    made.on_block = on_block  # type: ignore[assignment]  # tests name it as text
    made.install("httpx")
    return made


@pytest.fixture
def redacts() -> Iterator[Guard]:
    """A guard that redacts."""
    made = redacting()
    yield made
    made.uninstall()


@pytest.fixture
def responds() -> Iterator[Guard]:
    """A guard that answers blocked requests itself."""
    made = redacting("respond")
    yield made
    made.uninstall()


MASKED: dict[str, tuple[dict[str, Any], bytes]] = {
    "JSON": (
        {"json": {"user": {"mail": ADDRESS}, "n": 1}},
        b'{"user":{"mail":"[redacted]"},"n":1}',
    ),
    "form": ({"data": {"mail": ADDRESS, "n": 1}}, b"mail=%5Bredacted%5D&n=1"),
    "query": ({"params": {"mail": ADDRESS, "n": "a b"}}, b"/tr?mail=%5Bredacted%5D&n=a+b HTTP"),
    "header": ({"headers": {"X-User": ADDRESS}}, b"X-User: [redacted]\r\n"),
    "cookie": ({"headers": {"cookie": f"u={ADDRESS}; n=1"}}, b"cookie: u=[redacted]; n=1\r\n"),
    "text": ({"content": f"to {ADDRESS}"}, b"\r\n\r\n[redacted]"),
    "multipart": (
        {"data": {"n": "1"}, "files": {"m": ADDRESS.encode()}},
        b"\r\n\r\n[redacted]\r\n",
    ),
    "basic auth": ({"auth": (ADDRESS, "secret")}, b"[redacted]\r\n"),
    "target": (
        {"extensions": {"target": b"/tr?m=" + ADDRESS.encode()}},
        b"/tr?m=%5Bredacted%5D HTTP",
    ),
}


@pytest.mark.parametrize(("given", "arrives"), MASKED.values(), ids=MASKED)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_in_mode_redact_the_placeholder_arrives(
    redacts: Guard, outside: Wire, given: dict[str, Any], arrives: bytes, kind: str
) -> None:
    """The bytes on the wire hold the placeholder, the rest, and a length that fits."""

    async def go() -> httpx.Response:
        async with httpx.AsyncClient(transport=ToWireAsync(outside)) as client:
            return await client.post(PIXEL, **given)

    with redacts.purpose(ADS):
        seen(redacts)
        if kind == "async":
            response = asyncio.run(go())
        else:
            with httpx.Client(transport=ToWire(outside)) as client:
                response = client.post(PIXEL, **given)
    assert response.text == "ok"
    (raw,) = outside.received
    assert arrives in raw
    assert b"anna" not in raw.lower()
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"content-length: %d" % len(body) in head.lower()
    assert ADDRESS not in str(response.request.url)


def test_the_callers_request_stays_as_it_was(redacts: Guard, outside: Wire) -> None:
    """What is sent is another one; the response tells which."""
    with httpx.Client(transport=ToWire(outside)) as client, redacts.purpose(ADS):
        seen(redacts)
        request = client.build_request("POST", PIXEL, json={"m": ADDRESS}, params={"n": ADDRESS})
        url, content, headers = request.url, request.content, request.headers.raw
        response = client.send(request)
    assert (request.url, request.content, request.headers.raw) == (url, content, headers)
    assert json.loads(response.request.content) == {"m": "[redacted]"}


def test_each_hop_is_redacted_for_its_own_recipient(redacts: Guard, outside: Wire) -> None:
    """The first may have the address, the second gets the placeholder; and the other way round."""
    outside.redirect("/send", 307, "https://tracker.example/collect")
    outside.redirect("/first", 307, "https://mail.example/last")
    with (
        httpx.Client(transport=ToWire(outside), follow_redirects=True) as client,
        redacts.purpose(ACCOUNT),
    ):
        seen(redacts)
        client.post(MAIL, json={"to": ADDRESS})
        client.post("https://tracker.example/first", json={"to": ADDRESS})
    bodies = [raw.partition(b"\r\n\r\n")[2] for raw in outside.received]
    masked, plain = b'{"to":"[redacted]"}', json.dumps({"to": ADDRESS}, separators=(",", ":"))
    assert bodies == [plain.encode(), masked, masked, plain.encode()]


def test_what_cannot_be_redacted_is_not_sent(redacts: Guard, outside: Wire) -> None:
    """In the path, and in a stream."""
    with httpx.Client(transport=ToWire(outside)) as client, redacts.purpose(ADS):
        seen(redacts)
        for given in (
            {"url": f"{PIXEL}/{ADDRESS}"},
            {"url": PIXEL, "content": iter([b"x"])},
            {"url": PIXEL, "content": iter([b"x"]), "params": {"m": ADDRESS}},
        ):
            with pytest.raises(PolicyViolation):
                client.post(**given)
    assert outside.received == []


def test_a_head_that_has_left_is_not_redacted_any_more(redacts: Guard, outside: Wire) -> None:
    """What its body reads shows that the query held something: the request is broken off.

    Although what a stream holds is only flagged here.
    """
    redacts.modes.entries = [Enforcement(Match(reason="cannot_tell"), "flag")]

    def body() -> Iterator[bytes]:
        seen(redacts)
        yield b"x"

    with (
        httpx.Client(transport=ToWire(outside)) as client,
        redacts.purpose(ADS),
        pytest.raises(PolicyViolation),
    ):
        client.post(PIXEL, content=body(), params={"m": ADDRESS})


def test_two_guards_must_agree(redacts: Guard, outside: Wire) -> None:
    """One redacts, the other blocks what is left: what was taken out it doesn't see."""
    second = guard()
    second.install("httpx")
    with httpx.Client(transport=ToWire(outside)) as client, redacts.purpose(ADS):
        seen(redacts)
        client.post(PIXEL, json={"m": ADDRESS})
        second.uninstall()
        first = guard()
        first.install("httpx")
        redacts.modes.default = "flag"
        with pytest.raises(PolicyViolation):
            client.post(PIXEL, json={"m": ADDRESS})
        first.uninstall()
    assert [raw.partition(b"\r\n\r\n")[2] for raw in outside.received] == [b'{"m":"[redacted]"}']


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_blocked_request_is_answered_here(responds: Guard, outside: Wire, kind: str) -> None:
    """Status 451 with names only; no connection is made."""

    async def go() -> httpx.Response:
        async with httpx.AsyncClient(transport=ToWireAsync(outside)) as client:
            return await client.post(PIXEL, json={"m": ADDRESS})

    with responds.purpose(ADS):
        seen(responds)
        if kind == "async":
            response = asyncio.run(go())
        else:
            with httpx.Client(transport=ToWire(outside)) as client:
                response = client.post(PIXEL, json={"m": ADDRESS})
    assert (response.status_code, response.headers["x-policyguard"]) == (451, "blocked")
    assert response.json() == {
        "schema": "policyguard/blocked/1",
        "blocked": True,
        "code": "PG201",
        "reason": "not_covered",
        "recipient": "pixel",
        "rules": [],
    }
    assert response.request.url == PIXEL
    assert response.elapsed.total_seconds() == 0
    with pytest.raises(httpx.HTTPStatusError):
        response.raise_for_status()
    assert ADDRESS not in response.text
    assert outside.received == []
    assert ("deny", "pixel", "block") in counts(responds)


def test_an_answer_can_be_streamed_and_ends_redirects(responds: Guard, outside: Wire) -> None:
    """As any response; the hop that is blocked is the one that is answered."""
    outside.redirect("/send", 307, "https://tracker.example/collect")
    with (
        httpx.Client(transport=ToWire(outside), follow_redirects=True) as client,
        responds.purpose(ACCOUNT),
    ):
        seen(responds)
        response = client.post(MAIL, json={"to": ADDRESS})
        assert (response.status_code, len(response.history)) == (451, 1)
        assert response.json()["recipient"] == "tracker.example"
        with client.stream("POST", "https://tracker.example/", json={"to": ADDRESS}) as streamed:
            assert json.loads(b"".join(streamed.iter_bytes()))["blocked"] is True
    assert len(outside.received) == 1


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_body_that_is_stopped_on_its_way_is_answered_too(
    responds: Guard, outside: Wire, kind: str
) -> None:
    """What it read while it was sent doesn't leave, and the caller gets an answer."""

    def body() -> Iterator[bytes]:
        seen(responds)
        yield ADDRESS.encode()

    async def later() -> AsyncIterator[bytes]:
        seen(responds)
        yield ADDRESS.encode()

    async def go() -> httpx.Response:
        async with httpx.AsyncClient(transport=ToWireAsync(outside)) as client:
            return await client.post(PIXEL, content=later())

    with responds.purpose(ADS):
        if kind == "async":
            response = asyncio.run(go())
        else:
            with httpx.Client(transport=ToWire(outside)) as client:
                response = client.post(PIXEL, content=body())
    assert response.status_code == 451
    assert ADDRESS.encode() not in outside.everything


def test_each_guard_answers_as_it_is_told(responds: Guard, outside: Wire) -> None:
    """A guard that raises raises, whatever another one would do after it."""
    with httpx.Client(transport=ToWire(outside)) as client, responds.purpose(ADS):
        seen(responds)
        responds.modes.default = "flag"
        raising = guard()
        raising.install("httpx")
        with pytest.raises(PolicyViolation):
            client.post(PIXEL, json={"m": ADDRESS})
        raising.uninstall()
    assert outside.received == []
