"""Lumipic as a running service, with visitors in front of it and the outside world behind it."""

from __future__ import annotations

import http.client
import json
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from sqlalchemy import Engine, create_engine

from lumipic.app import Service, create_app
from lumipic.outside import Letterbox, OutsideWorld
from lumipic.pictures import draw_portrait, to_png
from lumipic.sessions import Sessions
from lumipic.vendors import Vendors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi import FastAPI
    from starlette.types import ASGIApp

    from policyguard import Guard

_START_WITHIN = 10.0  # seconds
_MIDNIGHT = 1_731_283_200.0  # 2024-11-11, the day of the policy: event times don't change


@dataclass(frozen=True, slots=True)
class Stage:
    """The service and both of its sides.

    Attributes:
        port: where the service listens on 127.0.0.1.
        world: records what arrives outside.
        letters: what the service meant to send.
    """

    port: int
    world: OutsideWorld
    letterbox: Letterbox
    engine: Engine


@dataclass(frozen=True, slots=True)
class Reply:
    """What a visitor got back."""

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the service did what was asked."""
        return self.status < http.client.BAD_REQUEST

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


@dataclass
class Visitor:
    """A person with a browser.

    Attributes:
        country: ISO 3166, as the service learns it at sign-up.
        face: who is on their photos.
        looks: how old they look on them.
        profile: what they fill in on the settings page.
    """

    name: str
    country: str
    face: int
    looks: int = 34
    profile: dict[str, bool | int] = field(default_factory=dict)
    token: str = ""

    @property
    def email(self) -> str:
        """An address that can't exist."""
        return f"{self.name.lower()}.{self.face}@visitors.example"

    def photo(self) -> bytes:
        """A photo of this person."""
        return to_png(draw_portrait(self.face, self.looks))

    def ask(self, stage: Stage, method: str, path: str, content: object = None) -> Reply:
        """Send one request to the service; JSON unless `content` is bytes."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = {
            "Content-Type": "image/png" if isinstance(content, bytes) else "application/json",
            "Authorization": f"Bearer {self.token}",
        }
        connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=30)
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            return Reply(response.status, response.read())
        finally:
            connection.close()

    def sign_up(self, stage: Stage) -> Reply:
        """Create an account, and keep the token."""
        form = {
            "email": self.email,
            "password": f"open-{self.name}-sesame",
            "country": self.country,
        }
        reply = self.ask(stage, "POST", "/auth/signup", form)
        if reply.status == http.client.CREATED:
            self.token = reply.json["token"]
        return reply


@contextmanager
def running(guard: Guard, protect: Callable[[FastAPI, Service], ASGIApp]) -> Iterator[Stage]:
    """Run the service on a free port, on an empty database of its own.

    Args:
        guard: what the service asks for purposes in its code.
        protect: puts middleware around the application.
    """
    with (
        tempfile.TemporaryDirectory(prefix="lumipic-") as folder,
        OutsideWorld() as world,
        Letterbox(world.port) as letterbox,
    ):
        engine = create_engine(f"sqlite:///{Path(folder) / 'lumipic.db'}")
        vendors = Vendors(letterbox, clock=lambda: _MIDNIGHT)
        service = Service(engine, vendors, Sessions(b"a secret of this demo"), guard)
        try:
            with _served(protect(create_app(service), service)) as port:
                yield Stage(port, world, letterbox, engine)
        finally:
            engine.dispose()


@contextmanager
def _served(app: ASGIApp) -> Iterator[int]:
    """Serve an application with uvicorn in a thread; yields the port."""
    server = uvicorn.Server(
        uvicorn.Config(
            app, port=0, log_level="critical", lifespan="off", timeout_graceful_shutdown=2
        )
    )
    thread = threading.Thread(target=server.run, name="lumipic")
    thread.start()
    try:
        deadline = time.monotonic() + _START_WITHIN
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the service did not start")
            time.sleep(0.01)
        yield int(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
