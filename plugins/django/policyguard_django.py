"""Purpose, subject and facts for every request of a Django project, sync and async.

The middleware sets the scope before the view runs, and keeps it for streamed bodies and files::

    MIDDLEWARE = [..., "policyguard_django.PolicyguardMiddleware", ...]

The purpose is that of the configured route; a view may say another with `@guard.purpose`. A request
whose route names none runs without a purpose, so what it reads or sends is denied.

| setting | meaning |
| --- | --- |
| `POLICYGUARD_GUARD` | whose policy counts; by default that of `policyguard.install()` |
| `POLICYGUARD_SUBJECT` | the request to the person's id, or None |
| `POLICYGUARD_FACTS` | the request to what is known: consent, age, ... |
| `POLICYGUARD_REGION` | the request to the region |
| `POLICYGUARD_REGION_HEADER` | a header that your own proxy sets to the region |

The guard is an object or a dotted path to one; the others are callables or dotted paths to them,
and may be async; one that fails means: unknown. `Sec-GPC` counts always. A header is written by
whoever sends the request, so a region is read from one only where it is named.

Start reading at `PolicyguardMiddleware.__call__`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from inspect import isawaitable
from typing import Any, Final

from asgiref.sync import async_to_sync, iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings  # type: ignore[import-untyped]  # Django ships no types
from django.core.exceptions import (  # type: ignore[import-untyped]  # as above
    ImproperlyConfigured,
)
from django.http import JsonResponse  # type: ignore[import-untyped]  # as above
from django.utils.module_loading import (  # type: ignore[import-untyped]  # as above
    import_string,
)

from policyguard.config import guard as process
from policyguard.enforce.context import current_scope, restore
from policyguard.enforce.guard import Guard
from policyguard.enforce.incoming import Doubts, plain_facts, public_answer, region_code
from policyguard.enforce.violation import PolicyViolation

Ask = Callable[[Any], Any]
_REGION_HEADER: Final = "POLICYGUARD_REGION_HEADER"
_BLOCKED: Final = 451


class PolicyguardMiddleware:
    """Runs each request in a scope of its own.

    Args:
        get_response: the rest of Django.

    Raises:
        ImproperlyConfigured: a setting can't be used, or there is no guard. Django doesn't start.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self._get_response = get_response
        self._guard = _guard()
        self._asks: Mapping[str, Ask] = {
            "subject": _callable("POLICYGUARD_SUBJECT"),
            "facts": _callable("POLICYGUARD_FACTS"),
            "region": _region(),
        }
        self._doubts = Doubts()
        self._async = iscoroutinefunction(get_response)
        if self._async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        """Serve a request, or give what serves it where Django runs async."""
        if self._async:
            return self._serve(request)
        # What the callables read is remembered for the whole request, so the scope around both
        # holds the labelled values.
        with self._guard.context():
            with self._guard.request(*_route(request), gpc=_gpc(request)):
                known = {name: self._ask(name, request) for name in self._asks}
            with self._entered(request, **known):
                return _kept(self._get_response(request))

    async def _serve(self, request: Any) -> Any:
        with self._guard.context():
            with self._guard.request(*_route(request), gpc=_gpc(request)):
                known = {name: await self._await(name, request) for name in self._asks}
            async with self._entered(request, **known):
                return _kept(await self._get_response(request))

    def _entered(self, request: Any, *, subject: Any, facts: Any, region: Any) -> Any:
        if facts is not None and not isinstance(facts, Mapping):
            self._doubts.tell("`POLICYGUARD_FACTS` gave no mapping")
            facts = None
        return self._guard.request(
            *_route(request),
            subject=subject,
            facts=facts,
            region=region_code(region),
            gpc=_gpc(request),
        )

    def _ask(self, name: str, request: Any) -> Any:
        try:
            found = self._asks[name](request)
            found = async_to_sync(_plain)(found) if isawaitable(found) else found
            return plain_facts(found) if name == "facts" else found
        except Exception as error:  # noqa: BLE001 - the application's own code
            # Denies: whatever rests on the answer: it is unknown now.
            return self._failed(name, error)

    async def _await(self, name: str, request: Any) -> Any:
        ask = self._asks[name]
        try:
            # As Django does with sync views: its ORM refuses to run on an event loop.
            off_loop = not isinstance(ask, _Header) and not iscoroutinefunction(ask)
            found = await sync_to_async(ask)(request) if off_loop else ask(request)
            found = await found if isawaitable(found) else found
            return plain_facts(found) if name == "facts" else found
        except Exception as error:  # noqa: BLE001 - the application's own code
            # Denies: whatever rests on the answer: it is unknown now.
            return self._failed(name, error)

    def _failed(self, name: str, error: Exception) -> None:
        # The error's text may hold data, so only its kind is told.
        self._doubts.tell(f"`POLICYGUARD_{name.upper()}` failed with {type(error).__name__}")

    def process_exception(self, request: Any, exception: Exception) -> Any:
        """Answer a violation that a view doesn't catch, where `on_block` is `respond`."""
        del request
        if not isinstance(exception, PolicyViolation) or self._guard.on_block != "respond":
            return None
        answer = public_answer(exception.code)
        # A 451 may be kept by caches otherwise, and this one is about one person.
        headers = {"x-policyguard": "blocked", "cache-control": "no-store"}
        return JsonResponse(answer, status=_BLOCKED, headers=headers)


def _route(request: Any) -> tuple[str, str]:
    # Below the mount point: what the URL configuration sees.
    return str(request.method), str(request.path_info)


def _gpc(request: Any) -> bool:
    # Only `1` is in the standard. Servers join repeated headers; a 1 among them counts.
    return "1" in request.headers.get("Sec-GPC", "")


# The settings, read when Django starts.


def _guard() -> Guard:
    named = _setting("POLICYGUARD_GUARD")
    guard = process.installed() if named is None else named
    if guard is None:
        hint = "call policyguard.install() before Django starts, or set POLICYGUARD_GUARD"
        raise ImproperlyConfigured(f"PolicyguardMiddleware has no guard: {hint}")
    if not isinstance(guard, Guard):
        raise ImproperlyConfigured("POLICYGUARD_GUARD is no guard")
    return guard


class _Header:
    """Reads one header; where none is named, nothing is known."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, request: Any) -> str | None:
        if not self._name:
            return None
        # Servers join several headers of one name with a comma, which is no region.
        return str(request.headers.get(self._name, "")).strip().upper()


_NOTHING: Final = _Header("")


def _callable(name: str) -> Ask:
    found = _setting(name)
    if found is None:
        return _NOTHING
    if not callable(found):
        raise ImproperlyConfigured(f"{name} is no callable")
    ask: Ask = found
    return ask


def _region() -> Ask:
    ask, header = _callable("POLICYGUARD_REGION"), getattr(settings, _REGION_HEADER, None)
    if header is None:
        return ask
    if ask is not _NOTHING:
        raise ImproperlyConfigured(f"POLICYGUARD_REGION and {_REGION_HEADER} are both set")
    if not isinstance(header, str) or not header.strip():
        raise ImproperlyConfigured(f"{_REGION_HEADER} is no name of a header")
    return _Header(header.strip())


def _setting(name: str) -> Any:
    """The setting's object; a text is a dotted path to it."""
    found = getattr(settings, name, None)
    if not isinstance(found, str):
        return found
    try:
        return import_string(found)
    except ImportError:
        # Denies: the start. The error's text is foreign.
        raise ImproperlyConfigured(f"{name} names nothing that can be imported") from None


async def _plain(found: Awaitable[Any]) -> Any:
    return await found


# Bodies that are made after the view has returned.


class _Steps:
    """Runs the steps of one body in the request's scope, and the server's code outside of it."""

    __slots__ = ("_scope",)

    def __init__(self) -> None:
        self._scope = current_scope()

    def run(self, step: Callable[..., Any], *args: Any) -> Any:
        before = current_scope()
        restore(self._scope)
        try:
            return step(*args)
        finally:
            # What the body itself entered stays open until its own code leaves it.
            self._scope = current_scope()
            restore(before)

    async def wait(self, step: Awaitable[Any]) -> Any:
        before = current_scope()
        restore(self._scope)
        try:
            return await step
        finally:
            self._scope = current_scope()
            restore(before)


class _File:
    """A file whose reading may be code of the application; all else is the file's own."""

    def __init__(self, file: Any, steps: _Steps) -> None:
        self._file, self._steps = file, steps

    def read(self, *size: int) -> Any:
        """As of the file, in the scope."""
        return self._steps.run(self._file.read, *size)

    def __getattr__(self, name: str) -> Any:
        """As of the file."""
        return getattr(self._file, name)


def _kept(response: Any) -> Any:
    """The response; if its body is streamed, in the scope that is current now."""
    if not getattr(response, "streaming", False):
        return response
    steps, file = _Steps(), getattr(response, "file_to_stream", None)
    close = response.close
    # What the view gave: `streaming_content` points back to the response, so neither would go
    # away before the garbage collector comes, and the body's own clean-up would wait for it.
    body = response._iterator  # noqa: SLF001 - as above
    response.streaming_content = (_later if response.is_async else _Parts)(body, steps)
    if file is not None:
        # Servers that can send files themselves still do.
        response.file_to_stream = _File(file, steps)

    def closed() -> None:
        # A response that points to itself would stay until the garbage collector comes.
        response.__dict__.pop("close", None)
        steps.run(close)

    response.close = closed
    return response


class _Parts:
    """The parts of a body; has no `close`, since Django knows that of the body already."""

    def __init__(self, body: Iterator[Any], steps: _Steps) -> None:
        self._body, self._steps = body, steps

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._steps.run(next, self._body)


async def _later(body: AsyncIterator[Any], steps: _Steps) -> AsyncIterator[Any]:
    try:
        while True:
            try:
                part = await steps.wait(anext(body))
            except StopAsyncIteration:
                return
            yield part
    finally:
        close = getattr(body, "aclose", None)
        if close is not None:
            await steps.wait(close())


class Plugin:
    """Nothing to hook: the settings name the middleware."""

    name = "django"
    api = 1

    def install(self, guard: Guard) -> Callable[[], None]:
        """Hook nothing; `PolicyguardMiddleware` does the work."""
        del guard
        return lambda: None
