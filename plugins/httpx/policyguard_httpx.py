"""Holds every request of httpx to the policy, once for each redirect hop.

Name `httpx` under `plugins` in the configuration, or call `guard.install("httpx")`. Clients that
exist already and clients inside SDKs are covered, because the class is hooked. The hook sits where
a client sends one single request: authentication is applied, the redirect is followed, the body is
built; what is checked is what the transport gets, byte for byte.

A body that comes from a stream can't be read without sending it: where labelled values were seen in
the scope it counts as cannot-tell.

In mode `redact` what is denied leaves as a placeholder: another request is sent in the place of the
caller's, which is left as it was. With `on_block = "respond"` a blocked request is answered here,
with status 451 and nothing but names, and no connection is made.

Start reading at `Plugin.install`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, cast

import httpx

from policyguard import PolicyViolation
from policyguard.enforce.egress import BLOCKED_HEADERS, BLOCKED_STATUS, blocked_answer
from policyguard.errors import PluginError
from policyguard.inspectors.http import OutgoingRequest

if TYPE_CHECKING:
    from policyguard.enforce.guard import Guard

_HOOKED: Final = "_send_single_request"
_LARGEST_BODY: Final = 64 << 20
_TARGET: Final = "target"


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


class _Answered(Exception):  # noqa: N818 - no error: it carries an answer out of a transport
    """A blocked request is answered here, with nothing but names."""

    def __init__(self, violation: PolicyViolation) -> None:
        super().__init__(violation.code)
        self.violation = violation

    def response(self, request: httpx.Request) -> httpx.Response:
        """The answer that takes the place of the server's."""
        content = blocked_answer(self.violation)
        headers = [*BLOCKED_HEADERS, ("content-length", str(len(content)))]
        made = httpx.Response(BLOCKED_STATUS, headers=headers, content=content, request=request)
        made.elapsed = timedelta(0)
        return made


def _sync(send: Callable[..., httpx.Response]) -> Callable[..., httpx.Response]:
    def send_checked(client: httpx.Client, request: httpx.Request) -> httpx.Response:
        if _readable(request):
            request.read()
        try:
            sent = _judged(request)
            if not isinstance(sent.stream, httpx.ByteStream):
                sent.stream = _SyncWatched(sent)
            return send(client, sent)
        except _Answered as answered:
            # Denies: the request; it is answered as the configuration says.
            return answered.response(request)

    return send_checked


def _async(send: Callable[..., Any]) -> Callable[..., Any]:
    async def send_checked(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
        if _readable(request):
            await request.aread()
        try:
            sent = _judged(request)
            if not isinstance(sent.stream, httpx.ByteStream):
                sent.stream = _AsyncWatched(sent)
            response: httpx.Response = await send(client, sent)
        except _Answered as answered:
            # Denies: the request; it is answered as the configuration says.
            return answered.response(request)
        return response

    return send_checked


PATCHES: Final[dict[Any, Callable[..., Any]]] = {httpx.Client: _sync, httpx.AsyncClient: _async}


class _SyncWatched(httpx.SyncByteStream):
    """A body that may read labelled rows while it is being sent: judged again before each piece."""

    def __init__(self, request: httpx.Request) -> None:
        self._request, self._inner = request, request.stream

    def __iter__(self) -> Iterator[bytes]:
        for piece in cast("httpx.SyncByteStream", self._inner):
            _judge(replace(_outgoing(self._request), started=True))
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
            _judge(replace(_outgoing(self._request), started=True))
            yield piece

    async def aclose(self) -> None:
        """As of the stream."""
        await cast("httpx.AsyncByteStream", self._inner).aclose()


def _judged(request: httpx.Request) -> httpx.Request:
    """The request that may be sent: the same object, or another that stands for it."""
    outgoing = _outgoing(request)
    allowed = _judge(outgoing)
    return request if allowed is outgoing else _rebuilt(request, allowed)


def _judge(outgoing: OutgoingRequest) -> OutgoingRequest:
    for guard in tuple(_guards):
        # The application's flows are judged, not the telemetry's own requests.
        if guard.exempt():
            continue
        try:
            # Each guard is handed what the one before it lets out.
            outgoing = guard.egress(outgoing)
        except PolicyViolation as violation:
            # Denies: the request; raised as it is, or carried to where it becomes an answer.
            if guard.on_block == "respond":
                raise _Answered(violation) from None
            raise
    return outgoing


def _rebuilt(request: httpx.Request, outgoing: OutgoingRequest) -> httpx.Request:
    """A request of httpx that sends exactly this; the caller's own is left as it was.

    Raises:
        PluginError: httpx would send something else.
    """
    target = f"{outgoing.path}?{outgoing.query}" if outgoing.query else outgoing.path
    raw, encoding = target.encode("ascii"), request.headers.encoding
    extensions = dict(request.extensions)
    if _TARGET in extensions:
        extensions[_TARGET] = raw
    made = httpx.Request(
        request.method,
        request.url.copy_with(raw_path=raw),
        headers=[
            (name.encode(encoding), value.encode(encoding)) for name, value in outgoing.headers
        ],
        stream=request.stream if outgoing.body is None else httpx.ByteStream(outgoing.body),
        extensions=extensions,
    )
    if outgoing.body is not None:
        made.read()
    if _outgoing(made) != outgoing:
        # Denies: what was allowed is not what would be sent.
        raise PluginError("a request with placeholders can't be written as it was checked")
    return made


def _readable(request: httpx.Request) -> bool:
    """Whether the body can be read without taking it from a one-shot stream."""
    if isinstance(request.stream, httpx.ByteStream):
        return True
    length = request.headers.get("content-length", "")
    multipart = request.headers.get("content-type", "").startswith("multipart/")
    return multipart and length.isdigit() and int(length) <= _LARGEST_BODY


def _outgoing(request: httpx.Request) -> OutgoingRequest:
    # A caller may give the target itself, whatever the URL says.
    target = request.extensions.get(_TARGET, request.url.raw_path)
    plain = target if isinstance(target, str) else target.decode("ascii", "replace")
    raw_path, _, query = plain.partition("?")
    encoding = request.headers.encoding
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
        headers=tuple(
            (name.decode(encoding), value.decode(encoding)) for name, value in request.headers.raw
        ),
        body=body,
        streaming=streaming,
        port=request.url.port,
    )
