"""How Lumipic is guarded: the wiring, apart from the application.

`protected` installs the guard from the configuration file; `Protection.around` is the middleware.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastapi.responses import JSONResponse
from policyguard_asgi import PolicyguardMiddleware

import policyguard
from lumipic.watching import Traced, start_telemetry
from policyguard import PolicyViolation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fastapi import FastAPI, Request
    from starlette.types import ASGIApp

    from lumipic.app import Service
    from lumipic.watching import Watch
    from policyguard import Guard

CONFIGURATION: Final = Path(__file__).with_name("policyguard.toml")
_ADS: Final = "marketing.advertising.third_party.targeted"
_MAIL: Final = "marketing.communications.email"
_WHAT_IS_KNOWN: Final = (
    "SELECT country, birth_year, marketing_opt_in, ads_consent, ads_opt_out FROM users WHERE id = ?"
)


@dataclass(frozen=True, slots=True)
class Protection:
    """A guard in front of one application."""

    guard: Guard

    def around(self, app: FastAPI, service: Service) -> ASGIApp:
        """Put the guard's middleware around the application."""
        app.add_exception_handler(PolicyViolation, refuse)
        people = People(str(service.engine.url.database))
        inner = PolicyguardMiddleware(
            app,
            guard=self.guard,
            subject=service.sessions.subject,
            facts=lambda scope: asyncio.to_thread(people.facts, service.sessions.subject(scope)),
        )
        return Traced(inner)


@dataclass(frozen=True, slots=True)
class People:
    """What is known about a person, for the conditions of the policy.

    Asked on every request, so a choice on the settings page counts from the next request on. It has
    a connection of its own: what the guard wants to know is no flow of the application.
    """

    database: str

    def facts(self, user_id: int | None) -> Mapping[str, Any]:
        """Region, age and choices; what nobody has said is left out, so it is unknown."""
        if user_id is None:
            return {}
        with closing(sqlite3.connect(self.database)) as connection:
            row = connection.execute(_WHAT_IS_KNOWN, (user_id,)).fetchone()
        if row is None:
            return {}
        country, birth_year, mail, consent, opt_out = row
        consents = {_MAIL: mail, _ADS: consent}
        return {
            "region": country,
            "age": None if birth_year is None else full_years(birth_year),
            "consent": {use: bool(given) for use, given in consents.items() if given is not None},
            "opt_out": {} if opt_out is None else {_ADS: bool(opt_out)},
        }


def full_years(birth_year: int) -> int:
    """The age that somebody of this year has for certain: the birthday may still come."""
    return datetime.now(UTC).year - birth_year - 1


async def refuse(_request: Request, _violation: Exception) -> JSONResponse:
    """What the visitor sees of a stopped flow."""
    return JSONResponse({"detail": "our privacy policy does not allow this"}, status_code=451)


@contextmanager
def protected(configuration: Path, watch: Watch) -> Iterator[Protection]:
    """Install the guard from a configuration file; afterwards nothing of it is left.

    Args:
        configuration: policyguard.toml.
        watch: is shown every decision.
    """
    start_telemetry()
    guard = policyguard.install(configuration, reporters=[watch])
    try:
        watch.attach(guard)
        yield Protection(guard)
    finally:
        policyguard.uninstall()
