"""A small policy, a reporter that remembers, and an outside world on the loopback."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from policyguard.config import Guard
from policyguard.enforce.ports import Record, Reporter

HERE = Path(__file__).parent
POLICY = HERE / "picnic.yaml"
DATA_MAP = HERE / "picnic-map.yaml"

EMAIL = "user.contact.email"
FACE = "user.biometric.face_embedding"
LIKES = "user.behavior"
ACCOUNT = "essential.service.account"
SECURITY = "essential.service.security"
ADS = "marketing.advertising"
COUNTING = "analytics.reporting"
ADDRESS = "anna.schmidt@mail.example.org"


class Memory:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def report(self, record: Record) -> None:
        """Keep it."""
        self.records.append(record)


def guard(mode: str = "block", *reporters: Reporter) -> Guard:
    """A guard for the small policy."""
    return Guard.load(POLICY, data_map=DATA_MAP, mode=mode, reporters=reporters)  # type: ignore[arg-type]  # tests name modes as text


class Wire:
    """A real HTTP server that keeps every byte it gets.

    Attributes:
        received: the raw requests.
        answers: whole responses by path; others get a plain 200.
        port: where it listens.
    """

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.answers: dict[str, bytes] = {}
        self.port = 0

    @property
    def everything(self) -> bytes:
        """All bytes that arrived."""
        return b"\n".join(self.received)

    def redirect(self, path: str, status: int, location: str) -> None:
        """Answer a path with a redirect."""
        head = f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n"
        self.answers[path] = f"{head}Connection: close\r\n\r\n".encode()


PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


@contextmanager
def wire() -> Iterator[Wire]:
    """The outside world, while the block runs."""
    outside = Wire()

    class Receiver(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            raw = _request(self.rfile)
            if raw:
                outside.received.append(raw)
                path = raw.split(b" ", 2)[1].decode().partition("?")[0]
                self.wfile.write(outside.answers.get(path, PLAIN))

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Receiver) as server:
        outside.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield outside
        finally:
            server.shutdown()
            thread.join()


def _request(stream: Any) -> bytes:
    raw: bytes = b""
    while not raw.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return raw
        raw += line
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(b":") for line in raw.split(b"\r\n")[1:])
    }
    if b"content-length" in headers:
        return raw + bytes(stream.read(int(headers[b"content-length"])))
    while headers.get(b"transfer-encoding") == b"chunked":
        size = stream.readline()
        chunk = stream.read(int(size, 16) + 2)
        raw += size + chunk
        if chunk == b"\r\n":
            break
    return raw


def _here(request: httpx.Request, port: int) -> httpx.Request:
    url = request.url.copy_with(scheme="http", host="127.0.0.1", port=port)
    return httpx.Request(
        request.method,
        url,
        headers=request.headers,
        stream=request.stream,
        extensions=request.extensions,
    )


class ToWire(httpx.HTTPTransport):
    """Sends to the loopback whatever host is asked for; everything else is as ever."""

    def __init__(self, outside: Wire) -> None:
        super().__init__()
        self._outside = outside

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it there."""
        return super().handle_request(_here(request, self._outside.port))


class ToWireAsync(httpx.AsyncHTTPTransport):
    """As `ToWire`."""

    def __init__(self, outside: Wire) -> None:
        super().__init__()
        self._outside = outside

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it there."""
        return await super().handle_async_request(_here(request, self._outside.port))


def counts(made: Guard) -> Mapping[tuple[str, str, str], int]:
    """The tally as plain data."""
    return {tuple(key): number for key, number in made.tally.read().items()}  # type: ignore[misc]  # a NamedTuple of three is three
