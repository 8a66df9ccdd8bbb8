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
