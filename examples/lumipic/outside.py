"""The outside world on this machine: every host name leads to one server that writes down all.

`OutsideWorld` is a real HTTP server on the loopback interface. `Roads` is the httpx transport that
connects there instead of to the real host; the request keeps its https URL, its Host header and
its bytes. `Letterbox` is the httpx client that the application uses; it keeps a copy of what the
application meant to send, taken before anything else sees the request.
"""

from __future__ import annotations

import socketserver
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, cast

import httpx

if TYPE_CHECKING:
    from types import TracebackType
    from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request as it came off the wire.

    Attributes:
        host: the Host header.
        target: path and query of the request line.
        body: after transfer decoding.
        wire: every byte of the request, from the request line to the end of the body.
    """

    host: str
    method: str
    target: str
    body: bytes
    wire: bytes


class OutsideWorld:
    """All the companies out there, as one recording server. A context manager."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._arrivals: list[Arrival] = []
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def port(self) -> int:
        """Where the server listens on 127.0.0.1."""
        return int(self._server.server_address[1])

    @property
    def arrivals(self) -> tuple[Arrival, ...]:
        """Everything that arrived so far, in order."""
        with self._lock:
            return tuple(self._arrivals)

    def at(self, host: str) -> tuple[Arrival, ...]:
        """What arrived for one host."""
        return tuple(arrival for arrival in self.arrivals if arrival.host == host)

    def record(self, arrival: Arrival) -> None:
        """Write down a request; called by the server before it answers."""
        with self._lock:
            self._arrivals.append(arrival)

    def __enter__(self) -> Self:
        """Start to listen."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop to listen; what arrived can still be read."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Roads(httpx.BaseTransport):
    """Leads every request to the outside world on this machine, whatever its host."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._network = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request as it is, over another connection than its URL says."""
        here = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return self._network.handle_request(
            httpx.Request(
                request.method,
                here,
                headers=request.headers,  # the Host header stays that of the real URL
                stream=request.stream,
                extensions=request.extensions,
            )
        )

    def close(self) -> None:
        """Close the connections."""
        self._network.close()


@dataclass(frozen=True, slots=True)
class Letter:
    """One request as the application built it: `wire` is what should arrive, byte for byte."""

    host: str
    wire: bytes


class Letterbox(httpx.Client):
    """An ordinary client that also keeps what the application meant to send."""

    def __init__(self, port: int) -> None:
        super().__init__(transport=Roads(port))
        self.letters: list[Letter] = []

    def build_request(self, *args: Any, **kwargs: Any) -> httpx.Request:
        """Build the request as httpx does, and keep a copy of its bytes."""
        request = super().build_request(*args, **kwargs)
        head = b"%s %s HTTP/1.1\r\n" % (request.method.encode(), request.url.raw_path)
        lines = b"".join(b"%s: %s\r\n" % pair for pair in request.headers.raw)
        body = request.read()
        self.letters.append(Letter(request.url.host, head + lines + b"\r\n" + body))
        return request


@dataclass
class _Server(socketserver.ThreadingTCPServer):
    """Hands each connection to a recorder of its own."""

    world: OutsideWorld
    allow_reuse_address: bool = field(default=True, init=False)
    daemon_threads: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Recorder)


class _Recorder(socketserver.StreamRequestHandler):
    """Reads requests off one connection until the client closes it."""

    def handle(self) -> None:
        """Record each request, then answer it."""
        world = cast("_Server", self.server).world
        while (arrival := _read(cast("BinaryIO", self.rfile))) is not None:
            world.record(arrival)
            self.wfile.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
            )


def _read(stream: BinaryIO) -> Arrival | None:
    """The next request of a connection, or None when there is none."""
    head = stream.readline()
    if not head.strip():
        return None
    wire, headers = [head], {}
    while (line := stream.readline()).strip():
        wire.append(line)
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip()
    wire.append(line)
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        body = _read_chunks(stream, wire)
    else:
        body = stream.read(int(headers.get(b"content-length", b"0")))
        wire.append(body)
    method, target, _ = head.decode("latin-1").split(" ", 2)
    host = headers.get(b"host", b"").decode("latin-1")
    return Arrival(host, method, target, body, b"".join(wire))


def _read_chunks(stream: BinaryIO, wire: list[bytes]) -> bytes:
    body: list[bytes] = []
    while True:
        size_line = stream.readline()
        size = int(size_line.split(b";")[0], 16)
        chunk, end = stream.read(size), stream.readline()
        wire += [size_line, chunk, end]
        if not size:
            return b"".join(body)
        body.append(chunk)
