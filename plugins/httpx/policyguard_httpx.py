"""Holds every request of httpx to the policy, once for each redirect hop.

Name `httpx` under `plugins` in the configuration, or call `guard.install("httpx")`. Clients that
exist already and clients inside SDKs are covered, because the class is hooked. The hook sits where
a client sends one single request: authentication is applied, the redirect is followed, the body is
built; what is checked is what the transport gets, byte for byte.

A body that comes from a stream can't be read without sending it: where labelled values were seen in
the scope it counts as cannot-tell.

Start reading at `Plugin.install`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, cast

import httpx

from policyguard.errors import PluginError
from policyguard.inspectors.http import OutgoingRequest

if TYPE_CHECKING:
    from policyguard.enforce.guard import Guard

_HOOKED: Final = "_send_single_request"
_LARGEST_BODY: Final = 64 << 20


class Plugin:
    """Hooks `httpx.Client` and `httpx.AsyncClient`."""

    name = "httpx"
    api = 1

    def install(self, guard: Guard) -> Callable[[], None]:
        """Hook both clients.

        Raises:
            PluginError: this version of httpx has no place to hook.
        """
        missing = [c for c in PATCHES if not hasattr(c, _HOOKED)]
        if missing:
            what = f"httpx {httpx.__version__} can't be hooked"
            raise PluginError(what, "policyguard-httpx supports httpx >= 0.27, < 1")
        with _lock:
            if not _guards:
                for client, patch in PATCHES.items():
                    _before[client] = getattr(client, _HOOKED)
                    setattr(client, _HOOKED, patch(_before[client]))
            _guards.append(guard)

        def undo() -> None:
            with _lock:
                if guard in _guards:
                    _guards.remove(guard)
                if not _guards:
                    for client in tuple(_before):
                        setattr(client, _HOOKED, _before.pop(client))

        return undo


# Hooks are process-wide, so what stands behind them is too: the classes are hooked once, for all
# guards that are installed, in whatever order these leave again.
_lock: Final = Lock()
_guards: Final[list[Guard]] = []
_before: Final[dict[Any, Any]] = {}


def _sync(send: Callable[..., httpx.Response]) -> Callable[..., httpx.Response]:
    def send_checked(client: httpx.Client, request: httpx.Request) -> httpx.Response:
        if _readable(request):
            request.read()
        _judge(request)
        if not isinstance(request.stream, httpx.ByteStream):
            request.stream = _SyncWatched(request)
        return send(client, request)

    return send_checked


def _async(send: Callable[..., Any]) -> Callable[..., Any]:
    async def send_checked(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
        if _readable(request):
            await request.aread()
        _judge(request)
        if not isinstance(request.stream, httpx.ByteStream):
            request.stream = _AsyncWatched(request)
        response: httpx.Response = await send(client, request)
        return response

    return send_checked


PATCHES: Final[dict[Any, Callable[..., Any]]] = {httpx.Client: _sync, httpx.AsyncClient: _async}


class _SyncWatched(httpx.SyncByteStream):
    """A body that may read labelled rows while it is being sent: judged again before each piece."""

    def __init__(self, request: httpx.Request) -> None:
        self._request, self._inner = request, request.stream

    def __iter__(self) -> Iterator[bytes]:
        for piece in cast("httpx.SyncByteStream", self._inner):
            _judge(self._request)
            yield piece

    def close(self) -> None:
        """As of the stream."""
        cast("httpx.SyncByteStream", self._inner).close()


class _AsyncWatched(httpx.AsyncByteStream):
    """As `_SyncWatched`."""

    def __init__(self, request: httpx.Request) -> None:
        self._request, self._inner = request, request.stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in cast("httpx.AsyncByteStream", self._inner):
            _judge(self._request)
            yield piece

    async def aclose(self) -> None:
        """As of the stream."""
        await cast("httpx.AsyncByteStream", self._inner).aclose()


def _judge(request: httpx.Request) -> None:
    outgoing = _outgoing(request)
    for guard in tuple(_guards):
        # The application's flows are judged, not the telemetry's own requests.
        if not guard.exempt():
            guard.egress(outgoing)


def _readable(request: httpx.Request) -> bool:
    """Whether the body can be read without taking it from a one-shot stream."""
    if isinstance(request.stream, httpx.ByteStream):
        return True
    length = request.headers.get("content-length", "")
    multipart = request.headers.get("content-type", "").startswith("multipart/")
    return multipart and length.isdigit() and int(length) <= _LARGEST_BODY


def _outgoing(request: httpx.Request) -> OutgoingRequest:
    raw_path, _, query = request.url.raw_path.decode("ascii", "replace").partition("?")
    body: bytes | None = None
    # What is checked is what is sent: the stream, which a hook may have put in the content's place.
    # A body that can't be read counts as cannot-tell.
    streaming = not isinstance(request.stream, httpx.ByteStream)
    if isinstance(request.stream, httpx.ByteStream):
        body = b"".join(request.stream)
    return OutgoingRequest(
        method=request.method,
        host=request.url.host,
        scheme=request.url.scheme,
        path=raw_path,
        query=query,
        headers=tuple(request.headers.multi_items()),
        body=body,
        streaming=streaming,
        port=request.url.port,
    )
