"""Purpose, person and facts for every request of a WSGI application (Flask, Pyramid, Bottle, ...).

Put it outermost; it sets the scope before the application runs::

    application = PolicyguardWsgi(application, guard, subject=lambda environ: ...)

A response's body is made while the server asks for it, after the application has returned. So each
step of the body, and its `close`, runs in the request's scope as well, and the server's own code
outside of it: a worker thread comes back clean. What the body's code enters between two pieces
stays entered until its own code leaves it.

| argument | meaning |
| --- | --- |
| `guard` | whose policy and routes count |
| `subject` | the environ to the person's id, or None |
| `facts` | the environ to what is known: consent, age, ... |
| `region` | the environ to an ISO code, or None |
| `region_header` | the header that a proxy of yours sets to an ISO code, such as `CF-IPCountry` |
| `route` | the environ to a name for requests that no configured route fits |

They are called in the request's scope as well: what they read is labelled for the whole request. A
function that fails means: unknown. `Sec-GPC` counts always. A header is written by whoever sends
the request, so a region is read from one only where it is named here.

Start reading at `PolicyguardWsgi.__call__`, then `_Steps`.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from policyguard.enforce.context import Entered, current_scope, restore
from policyguard.enforce.incoming import Doubts, plain_facts, public_answer, region_code
from policyguard.enforce.violation import PolicyViolation
from policyguard.errors import PluginError

if TYPE_CHECKING:
    from policyguard.enforce.guard import Guard

Environ = dict[str, Any]
Start = Callable[..., Callable[[bytes], object]]
App = Callable[[Environ, Start], Iterable[bytes]]
Ask = Callable[[Environ], Any]


class PolicyguardWsgi:
    """Runs each request, and each step of its body, in a scope of its own.

    Where the guard's `on_block` is "respond", a violation that nobody caught before the response
    was sent is answered with status 451. Otherwise it is raised, as from the bare application.

    Args:
        app: the application.
        guard: whose policy and routes count.
        subject: the environ to the person's id. An error means: unknown.
        facts: the environ to a mapping of facts. An error means: unknown.
        region: the environ to an ISO code. An error means: unknown.
        region_header: a header that holds an ISO code. Name one only if a proxy in front of the
            application sets it and throws away what the client sent under this name.
        route: names a request that no configured route fits, for modes and reports. It must give a
            pattern and never the path, which may hold personal data.

    Raises:
        PluginError: both `region` and `region_header` are given.
    """

    def __init__(
        self,
        app: App,
        guard: Guard,
        *,
        subject: Ask | None = None,
        facts: Ask | None = None,
        region: Ask | None = None,
        region_header: str | None = None,
        route: Ask | None = None,
    ) -> None:
        if region is not None and region_header is not None:
            raise PluginError("`region` and `region_header` are both given", hint="keep one")
        self.app, self.guard = app, guard
        self._asks: Mapping[str, Ask | None] = {
            "subject": subject,
            "facts": facts,
            "region": region,
            "route": route,
        }
        self._region_key = _key(region_header) if region_header else ""
        self._doubts = Doubts()

    def __call__(self, environ: Environ, start_response: Start) -> Iterable[bytes]:
        """Serve a request."""
        steps = self._steps(environ)
        response = _Response(self.guard, environ, start_response)
        try:
            body: Iterable[bytes] = steps.run(self.app, environ, response.start)
        except BaseException as error:
            # Denies: nothing more than the application did; what it raised goes on, or is answered.
            steps.leave()
            instead = response.instead_of(error)
            if instead is None:
                raise
            return instead
        if type(body) in (list, tuple) or _is_plain_file(environ, body):
            # Nothing of the application runs any more; the server may have a quicker way for it.
            steps.leave()
            return body
        kind = _SizedBody if hasattr(type(body), "__len__") else _Body
        return kind(body, steps, response)

    def _steps(self, environ: Environ) -> _Steps:
        route = str(environ.get("REQUEST_METHOD", "GET")), _path(environ)
        gpc = "1" in str(environ.get("HTTP_SEC_GPC", ""))
        steps = _Steps()
        # What the functions read is remembered for the whole request, so the scope around both
        # holds the labelled values.
        steps.enter(self.guard.context())
        known = steps.run(self._known, environ, self.guard.request(*route, gpc=gpc))
        steps.enter(self.guard.request(*route, **known, gpc=gpc))
        if self.guard.routes.find(*route) is None:
            name = steps.run(self._ask, "route", environ)
            if isinstance(name, str) and name:
                steps.enter(self.guard.context(route=name))
        return steps

    def _known(self, environ: Environ, entered: Entered) -> dict[str, Any]:
        with entered:
            facts = self._ask("facts", environ)
            subject, region = self._ask("subject", environ), self._region(environ)
        if facts is not None and not isinstance(facts, Mapping):
            self._doubts.tell("`facts` gave no mapping")
            facts = None
        return {"subject": subject, "facts": facts, "region": region}

    def _region(self, environ: Environ) -> str | None:
        if self._region_key:
            # Servers join several headers of one name with a comma, which is no code.
            return region_code(str(environ.get(self._region_key, "")).strip().upper())
        return region_code(self._ask("region", environ))

    def _ask(self, name: str, environ: Environ) -> Any:
        ask = self._asks[name]
        if ask is None:
            return None
        try:
            found = ask(environ)
            return plain_facts(found) if name == "facts" else found
        except Exception as error:  # noqa: BLE001 - the application's own code
            # Denies: whatever rests on the answer: it is unknown now. The error's text may hold
            # data, so only its kind is told.
            self._doubts.tell(f"`{name}` failed with {type(error).__name__}")
            return None


class _Steps:
    """Runs the steps of one request in its scope, and the server's code outside of it.

    Safe from whichever thread the server takes for a step, one after the other.
    """

    __slots__ = ("_scope", "_stack")

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._scope = current_scope()

    def enter(self, entered: Entered) -> None:
        """Enter one more scope; all further steps run in it."""
        self.run(self._stack.enter_context, entered)

    def run(self, move: Callable[..., Any], *args: Any) -> Any:
        """One step; what was current before is current again when it ends."""
        before = current_scope()
        try:
            restore(self._scope)
            return move(*args)
        finally:
            self._scope = current_scope()
            restore(before)

    def leave(self) -> None:
        """Leave the scope for good; a second time does nothing."""
        self.run(self._stack.close)


class _Response:
    """What the application answers, and what is answered in its place."""

    __slots__ = ("_environ", "_guard", "_start", "_started", "sent")

    def __init__(self, guard: Guard, environ: Environ, start: Start) -> None:
        self._guard, self._environ, self._start = guard, environ, start
        self._started = self.sent = False

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        """The server's `start_response`, for the application."""
        self._started = True
        write = self._start(status, headers, *([exc_info] if exc_info else []))

        def noticed(data: bytes) -> object:
            self.sent = True
            return write(data)

        return noticed

    def instead_of(self, error: BaseException) -> list[bytes] | None:
        """The body of an answer to a violation; None if it isn't wanted or comes too late."""
        if not isinstance(error, PolicyViolation) or self.sent or self._guard.on_block != "respond":
            return None
        # Who reads this is the public: which rule and which column is for the log.
        said = public_answer(error.code)
        body = json.dumps(said).encode()
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            # A 451 may be kept by caches otherwise, and this one is about one person.
            ("Cache-Control", "no-store"),
            ("X-Policyguard", "blocked"),
        ]
        status = "451 Unavailable For Legal Reasons"
        # With `exc_info` the server takes back what was announced, or raises if it is out already.
        self._start(status, headers, *([sys.exc_info()] if self._started else []))
        return [] if self._environ.get("REQUEST_METHOD") == "HEAD" else [body]


class _Body:
    """A response's body; each of its steps runs in the request's scope."""

    __slots__ = ("_closed", "_inner", "_response", "_rest", "_steps")

    def __init__(self, inner: Iterable[bytes], steps: _Steps, response: _Response) -> None:
        self._inner, self._steps, self._response = inner, steps, response
        self._rest: Iterator[bytes] | None = None
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._closed:
            return next(self._rest or iter(()))
        try:
            if self._rest is None:
                self._rest = self._steps.run(iter, self._inner)
            piece: bytes = self._steps.run(next, self._rest)
        except PolicyViolation as error:
            # Denies: the flow is stopped already; this only says how the client learns of it.
            instead = self._response.instead_of(error)
            if instead is None:
                raise
            self.close()
            self._rest = iter(instead)
            return next(self._rest)
        if piece:
            self._response.sent = True
        return piece

    def close(self) -> None:
        """Close the application's body, once."""
        if self._closed:
            return
        self._closed = True
        try:
            self._steps.run(self._shut)
        finally:
            self._steps.leave()

    def _shut(self) -> None:
        close = getattr(self._inner, "close", None)
        try:
            if close is not None:
                close()
        finally:
            # A generator that nobody else holds runs its last lines here, in the scope.
            self._rest = None


class _SizedBody(_Body):
    """A body that knows its number of pieces, which servers use to tell the length."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self._inner)  # type: ignore[arg-type]  # made only for what has a length


def _key(header: str) -> str:
    """A header's name as servers write it into the environ."""
    return f"HTTP_{header.upper().replace('-', '_')}"


def _path(environ: Environ) -> str:
    """The path as the client asked for it, decoded; it is matched and never kept."""
    raw = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
    return raw.encode("latin-1", "replace").decode("utf-8", "replace") or "/"


def _is_plain_file(environ: Environ, body: object) -> bool:
    """Whether the server itself reads this from a file, so that no code of the application runs."""
    wrapper = environ.get("wsgi.file_wrapper")
    if not isinstance(wrapper, type) or type(body) is not wrapper:
        return False
    file = getattr(body, "filelike", getattr(body, "file", None))
    if type(file) is not io.BufferedReader or type(file.raw) is not io.FileIO:
        return False
    # Frameworks hang a `close` of their own on either, which must run in the scope.
    own = getattr(body, "__dict__", {}).get("close", file.close)
    return own == file.close and "close" not in vars(file)


class Plugin:
    """Nothing to hook: the application wraps itself."""

    name = "wsgi"
    api = 1

    def install(self, guard: Guard) -> Callable[[], None]:
        """Remember nothing and hook nothing; `PolicyguardWsgi` does the work."""
        del guard
        return lambda: None
