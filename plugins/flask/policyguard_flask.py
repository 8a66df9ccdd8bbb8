"""Purpose, person and facts for every request of a Flask application.

Once, when the application is made; or later, with `init_app`::

    PolicyGuard(app, guard, subject=lambda request: request.cookies.get("reader"))

Views, blueprints, functions before and after the request, teardown and streamed bodies run in the
request's scope; `policyguard_wsgi` has the details and the arguments. Here the functions get a
`flask.Request` to look at. It is made before Flask begins with the request: `session`, `g` and
`current_user` don't exist yet, and its body can't be read, because that would take it away from the
view.

The purpose is that of the configured route, or a view says it with `@guard.purpose(...)`. A request
that no configured route fits is named in reports by the pattern of Flask's own route.

Start reading at `PolicyGuard.init_app`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from flask import Flask, Request
from policyguard_wsgi import Environ, PolicyguardWsgi
from werkzeug.exceptions import HTTPException

from policyguard.enforce.violation import PolicyViolation
from policyguard.errors import PluginError

if TYPE_CHECKING:
    from policyguard.enforce.guard import Guard

Ask = Callable[[Request], Any]

_NAME: Final = "policyguard"


class PolicyGuard:
    """Flask's extension: wraps an application so that each request has its scope.

    Args:
        app: the application; may be given later, to `init_app`.
        guard: whose policy and routes count; may be given later, to `init_app`.
        subject: the request to the person's id. An error means: unknown.
        facts: the request to a mapping of facts. An error means: unknown.
        region: the request to an ISO code. An error means: unknown.
        region_header: a header that holds an ISO code. Name one only if a proxy in front of the
            application sets it and throws away what the client sent under this name.

    Raises:
        PluginError: as `init_app`.
    """

    def __init__(
        self,
        app: Flask | None = None,
        guard: Guard | None = None,
        *,
        subject: Ask | None = None,
        facts: Ask | None = None,
        region: Ask | None = None,
        region_header: str | None = None,
    ) -> None:
        self._guard, self._region_header = guard, region_header
        self._asks: Mapping[str, Ask | None] = {
            "subject": subject,
            "facts": facts,
            "region": region,
        }
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, guard: Guard | None = None) -> None:
        """Wrap an application.

        Raises:
            PluginError: there is no guard, both `region` and `region_header` are given, or the
                application is wrapped already.
        """
        guard = guard or self._guard
        if guard is None:
            raise PluginError("no guard is given", hint="PolicyGuard(app, guard)")
        if _NAME in app.extensions:
            raise PluginError("this application is held to a policy already")
        asks = {name: _of_request(app, ask) for name, ask in self._asks.items()}
        wrapped = PolicyguardWsgi(
            app.wsgi_app,
            guard,
            region_header=self._region_header,
            route=lambda environ: _pattern(app, environ),
            **asks,
        )
        app.extensions[_NAME] = self
        _let_through(app, guard)
        app.wsgi_app = wrapped  # type: ignore[method-assign]  # Flask's own way to add middleware


def _of_request(app: Flask, ask: Ask | None) -> Callable[[Environ], Any] | None:
    if ask is None:
        return None
    return lambda environ: ask(_request(app, environ))


def _request(app: Flask, environ: Environ) -> Request:
    """A request to look at: its body stays for the view, and nobody else finds it."""
    return app.request_class(environ, populate_request=False, shallow=True)


def _pattern(app: Flask, environ: Environ) -> str:
    """The pattern of Flask's route, such as `GET /users/<int:number>`; "" if none fits."""
    try:
        adapter = app.create_url_adapter(_request(app, environ))
        if adapter is None:
            return ""
        rule, _ = adapter.match(return_rule=True)
    except HTTPException:
        # Denies nothing: what Flask answers with an error or a redirect has no route to name.
        return ""
    return f"{environ.get('REQUEST_METHOD', '')} {rule.rule}".strip()


def _let_through(app: Flask, guard: Guard) -> None:
    """Let a violation that no error handler caught reach the answer of `PolicyguardWsgi`."""
    handle = app.handle_exception

    def handle_exception(*args: Any) -> Any:
        # The error is the last argument in all versions of Flask.
        if isinstance(args[-1], PolicyViolation) and guard.on_block == "respond":
            raise args[-1]
        return handle(*args)

    app.handle_exception = handle_exception  # type: ignore[method-assign, assignment]  # or Flask answers 500


class Plugin:
    """Nothing to hook: the application is named to `PolicyGuard`."""

    name = "flask"
    api = 1

    def install(self, guard: Guard) -> Callable[[], None]:
        """Remember nothing and hook nothing; `PolicyGuard` does the work."""
        del guard
        return lambda: None
