"""Purpose, subject and facts for every request of an ASGI application (FastAPI, Starlette, ...).

Put the middleware outermost; it sets the scope before dependencies run, and keeps it for streaming
bodies and background tasks::

    app.add_middleware(PolicyguardMiddleware, guard=guard, subject=lambda scope: ...)

The purpose is that of the configured route; a request whose route names none runs without a
purpose, so what it reads or sends is denied. It is pure ASGI: endpoints in threads, `create_task`
and `to_thread` see the scope, because they copy the context.

| argument | meaning |
| --- | --- |
| `guard` | whose policy counts |
| `subject` | the ASGI scope to the person's id, or None |
| `facts` | the ASGI scope to what is known: region, consent, ... |

Start reading at `PolicyguardMiddleware.__call__`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from policyguard.enforce.guard import Guard

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Ask = Callable[[Scope], Any]


class PolicyguardMiddleware:
    """Runs each request in a scope of its own.

    Args:
        app: the application.
        guard: whose policy and routes count.
        subject: the ASGI scope to the person's id; may be async. An error means: unknown.
        facts: the ASGI scope to a mapping of facts; may be async. An error means: unknown.
    """

    def __init__(
        self, app: App, guard: Guard, subject: Ask | None = None, facts: Ask | None = None
    ) -> None:
        self.app, self.guard = app, guard
        self.subject, self.facts = subject, facts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; lifespan events pass through."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        subject = await _ask(self.subject, scope)
        facts = await _ask(self.facts, scope)
        with self._entered(scope, subject, facts):
            await self.app(scope, receive, send)

    def _entered(self, scope: Scope, subject: Any, facts: Any) -> AbstractContextManager[None]:
        method = str(scope.get("method", "WEBSOCKET"))
        path = str(scope.get("path", "/"))
        route = self.guard.routes.find(method, path)
        return self.guard.context(
            subject=subject,
            facts=facts if isinstance(facts, Mapping) else None,
            purpose=None if route is None else route.purpose,
            # The pattern, not the path: a path may hold personal data.
            route="" if route is None else route.name,
        )


async def _ask(ask: Ask | None, scope: Scope) -> Any:
    if ask is None:
        return None
    try:
        found = ask(scope)
        return await found if isawaitable(found) else found
    except Exception:  # noqa: BLE001 - the application's own code
        # Denies: whatever rests on the person or the facts: they are unknown now.
        return None


class Plugin:
    """Nothing to hook: the application adds the middleware itself."""

    name = "asgi"
    api = 1

    def install(self, guard: Guard) -> Callable[[], None]:
        """Remember nothing and hook nothing; `PolicyguardMiddleware` does the work."""
        del guard
        return lambda: None
