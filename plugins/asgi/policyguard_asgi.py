"""Purpose, person and facts for every request of an ASGI application (FastAPI, Starlette, ...).

Put the middleware outermost; it sets the scope before dependencies run, and keeps it for streaming
bodies and background tasks::

    app.add_middleware(PolicyguardMiddleware, guard=guard, subject=lambda scope: ...)

The purpose is that of the configured route; a request whose route names none runs without a
purpose, so what it reads or sends is denied. It is pure ASGI: endpoints in threads, `create_task`
and `to_thread` see the scope, because they copy the context. What the subject store knows about the
person is fetched, with `await`, before the application runs. The functions below are called in the
request's scope as well: what they read is labelled for the whole request.

| argument | meaning |
| --- | --- |
| `guard` | whose policy and routes count |
| `subject` | the ASGI scope to the person's id, or None |
| `facts` | the ASGI scope to what is known: consent, age, ... |
| `region` | the ASGI scope to an ISO code, or None |
| `region_header` | the header that a proxy of yours sets to an ISO code, such as `CF-IPCountry` |

The functions may be async; one that fails means: unknown. `Sec-GPC` counts always. A header is
written by whoever sends the request, so a region is read from one only where it is named here.

Start reading at `PolicyguardMiddleware.__call__`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final

from policyguard.enforce.incoming import Doubts, plain_facts, public_answer, region_code
from policyguard.enforce.violation import PolicyViolation
from policyguard.errors import PluginError

if TYPE_CHECKING:
    from policyguard.enforce.guard import Guard

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Ask = Callable[[Scope], Any]

_BEGINS: Final = frozenset(
    {
        "http.response.start",
        "websocket.accept",
        "websocket.close",
        "websocket.http.response.start",
    }
)
_POLICY_VIOLATED: Final = 1008  # a websocket's close code, RFC 6455 section 7.4.1


class PolicyguardMiddleware:
    """Runs each request in a scope of its own.

    Where the guard's `on_block` is "respond", a violation that nobody caught before the response
    began is answered with status 451; a websocket that wasn't accepted yet is refused. Otherwise it
    is raised, as from the bare application.

    Args:
        app: the application.
        guard: whose policy and routes count.
        subject: the ASGI scope to the person's id; may be async. An error means: unknown.
        facts: the ASGI scope to a mapping of facts; may be async. An error means: unknown.
        region: the ASGI scope to an ISO code; may be async. An error means: unknown.
        region_header: a header that holds an ISO code. Name one only if a proxy in front of the
            application sets it and throws away what the client sent under this name.

    Raises:
        PluginError: both `region` and `region_header` are given.
    """

    def __init__(
        self,
        app: App,
        guard: Guard,
        subject: Ask | None = None,
        facts: Ask | None = None,
        *,
        region: Ask | None = None,
        region_header: str | None = None,
    ) -> None:
        if region is not None and region_header is not None:
            raise PluginError("`region` and `region_header` are both given", hint="keep one")
        self.app, self.guard = app, guard
        self._asks: Mapping[str, Ask | None] = {
            "subject": subject,
            "facts": facts,
            "region": region,
        }
        self._region_header = region_header.lower().encode("latin-1") if region_header else b""
        self._doubts = Doubts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; lifespan events pass through."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        response = _Response(self.guard, scope, send)
        try:
            # What the functions read is remembered for the whole request, so the scope around both
            # holds the labelled values.
            with self.guard.context():
                async with await self._entered(scope):
                    await self.app(scope, receive, response.send)
        except (PolicyViolation, BaseExceptionGroup) as error:
            # Denies: the flow is stopped already; this only says how the client learns of it.
            if not await response.refused(error):
                raise

    async def _entered(self, scope: Scope) -> AbstractAsyncContextManager[Any]:
        route = str(scope.get("method", "WEBSOCKET")), str(scope.get("path", "/"))
        gpc = any("1" in value for value in _values(scope, b"sec-gpc"))
        with self.guard.request(*route, gpc=gpc):
            facts = await self._ask("facts", scope)
            subject = await self._ask("subject", scope)
            region = await self._region(scope)
        if facts is not None and not isinstance(facts, Mapping):
            self._doubts.tell("`facts` gave no mapping")
            facts = None
        return self.guard.request(*route, subject=subject, facts=facts, region=region, gpc=gpc)

    async def _region(self, scope: Scope) -> str | None:
        if not self._region_header:
            return region_code(await self._ask("region", scope))
        values = _values(scope, self._region_header)
        # Two answers are none: one of them may be the client's own.
        return region_code(values[0].strip().upper()) if len(values) == 1 else None

    async def _ask(self, name: str, scope: Scope) -> Any:
        ask = self._asks[name]
        if ask is None:
            return None
        try:
            found = ask(scope)
            found = await found if isawaitable(found) else found
            return plain_facts(found) if name == "facts" else found
        except Exception as error:  # noqa: BLE001 - the application's own code
            # Denies: whatever rests on the answer: it is unknown now. The error's text may hold
            # data, so only its kind is told.
            self._doubts.tell(f"`{name}` failed with {type(error).__name__}")
            return None


class _Response:
    """What the application sends, and what is sent in its place."""

    __slots__ = ("_begun", "_guard", "_scope", "_send")

    def __init__(self, guard: Guard, scope: Scope, send: Send) -> None:
        self._guard, self._scope, self._send = guard, scope, send
        self._begun = False

    async def send(self, message: Message) -> None:
        """Hand a message on."""
        if message["type"] in _BEGINS:
            self._begun = True
        await self._send(message)

    async def refused(self, error: BaseException) -> bool:
        """Answer for the application, if that is wanted and still possible."""
        violation = _only(error)
        if violation is None or self._begun or self._guard.on_block != "respond":
            return False
        if self._scope["type"] == "http":
            await self._answer("http.response", violation)
        elif "websocket.http.response" in (self._scope.get("extensions") or {}):
            await self._answer("websocket.http.response", violation)
        else:
            await self._send({"type": "websocket.close", "code": _POLICY_VIOLATED})
        return True

    async def _answer(self, kind: str, violation: PolicyViolation) -> None:
        # Who reads this is the public: which rule and which column is for the log.
        said = public_answer(violation.code)
        body = json.dumps(said).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            # A 451 may be kept by caches otherwise, and this one is about one person.
            (b"cache-control", b"no-store"),
            (b"x-policyguard", b"blocked"),
        ]
        sent = b"" if self._scope.get("method") == "HEAD" else body
        await self._send({"type": f"{kind}.start", "status": 451, "headers": headers})
        await self._send({"type": f"{kind}.body", "body": sent})


def _only(error: BaseException) -> PolicyViolation | None:
    """The violation, also where task groups have wrapped it and nothing else."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, PolicyViolation) else None


def _values(scope: Scope, header: bytes) -> list[str]:
    headers = scope.get("headers") or ()
    return [value.decode("latin-1") for name, value in headers if name.lower() == header]


class Plugin:
    """Nothing to hook: the application adds the middleware itself."""

    name = "asgi"
    api = 1

    def install(self, guard: Guard) -> Callable[[], None]:
        """Remember nothing and hook nothing; `PolicyguardMiddleware` does the work."""
        del guard
        return lambda: None
