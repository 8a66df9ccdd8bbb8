"""What the guard costs a small web application with SQLAlchemy and PostgreSQL, and bulk fetches.

Wall clock, since an application waits for its database; the candidates take turns, and the medians
of the rounds are compared. Start reading at `overhead`.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flask import Flask, Response, jsonify
from sqlalchemy import Engine, ForeignKey, create_engine, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from werkzeug.test import create_environ

from policyguard.config import Guard
from tests.benchmarks.measure import Report
from tests.enforce.kit import ACCOUNT, POLICY
from tests.postgres.kit import server

Scope = Callable[[], AbstractContextManager[Any]]

ROWS = 100_000
REQUESTS = 60
ROUNDS = 15
DDL = f"""
CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL, name text NOT NULL);
CREATE TABLE posts (id int PRIMARY KEY, user_id int NOT NULL, title text NOT NULL, score int);
CREATE INDEX ON posts (user_id);
INSERT INTO users SELECT i, 'person' || i || '@mail.example', 'Person ' || i
  FROM generate_series(1, {ROWS}) i;
INSERT INTO posts SELECT i, i % 1000 + 1, 'A title of some length ' || i, i
  FROM generate_series(1, {ROWS}) i;
ANALYZE;
"""
DATA_MAP = """
tables:
  users:
    columns:
      id: {subject: true}
      email: user.contact.email
      name: user.name
  posts:
    columns:
      user_id: {subject: true}
"""


class Base(DeclarativeBase):
    """Of the application's entities."""


class User(Base):
    """A person."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    name: Mapped[str]


class Post(Base):
    """What a person wrote."""

    __tablename__ = "posts"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    title: Mapped[str]
    score: Mapped[int]


def application(engine: Engine) -> Flask:
    """A page about a person with their twenty best posts, as JSON."""
    app = Flask(__name__)

    @app.get("/people/<int:who>")
    def show(who: int) -> Response:
        with Session(engine) as session:
            user = session.get_one(User, who)
            asked = select(Post).where(Post.user_id == who).order_by(Post.score.desc()).limit(20)
            posts = [{"id": post.id, "title": post.title} for post in session.scalars(asked)]
            return jsonify(name=user.name, email=user.email, posts=posts)

    return app


def overhead(report: Report) -> None:
    """With and without the guard, in turn."""
    with ExitStack() as stack:
        made = stack.enter_context(server().database(DDL))
        folder = Path(stack.enter_context(TemporaryDirectory()))
        (folder / "data-map.yaml").write_text(DATA_MAP)
        guard = Guard.load(POLICY, data_map=folder / "data-map.yaml", mode="block")
        engine = create_engine(made.url("postgresql+psycopg"))
        stack.callback(engine.dispose)
        _requests(report, guard, engine)
        _fetches(report, guard, engine)


def _requests(report: Report, guard: Guard, engine: Engine) -> None:
    app = application(engine)
    asked = [create_environ(f"/people/{number + 1}") for number in range(REQUESTS)]

    def all_requests(scope: Scope) -> None:
        for environ in asked:
            with scope():
                b"".join(app(dict(environ), _start))

    plain, guarded = _both(guard, all_requests)
    part = "SQL, databases"
    note = "Flask, SQLAlchemy ORM, psycopg, PostgreSQL 18; no HTTP server, one thread"
    report.add(part, "requests a second without the guard", REQUESTS / plain, "", note=note)
    lost = 100 * (1 - plain / guarded)
    note = f"{(guarded - plain) / REQUESTS * 1e6:.0f} us a request; two queries, one labelled"
    report.add(part, "requests a second lost with it", lost, "%", most=5, note=note)


def _start(*_: object) -> Callable[[bytes], object]:
    """What a server gives an application to begin its answer with."""
    return bytes


def _fetches(report: Report, guard: Guard, engine: Engine) -> None:
    part = "SQL, databases"
    for name, asked, most in (
        ("unlabelled", "SELECT id, user_id, title, score FROM posts", 3.0),
        ("labelled", "SELECT id, email, name FROM users", None),
    ):
        sent = text(asked)

        def fetch(scope: Scope, sent: Any = sent) -> None:
            with scope(), engine.connect() as connection:
                connection.execute(sent).fetchall()

        plain, guarded = _both(guard, fetch)
        note = f"{plain * 1000:.0f} ms without"
        shown = f"{name} fetch of {ROWS:,} rows, slower by"
        report.add(part, shown, 100 * (guarded / plain - 1), "%", most=most, note=note)


def _both(guard: Guard, run: Callable[[Scope], None]) -> tuple[float, float]:
    """Seconds of wall clock without and with the guard's hooks, from rounds in turn."""
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS + 1):
        for place, times in enumerate(taken):
            scope: Scope = nullcontext
            if place:
                guard.install("sqlalchemy")
                scope = partial(guard.purpose, ACCOUNT)
            run(scope)  # what is met for the first time isn't measured
            gc.collect()
            before = time.perf_counter()
            run(scope)
            if number:
                times.append(time.perf_counter() - before)
            if place:
                guard.uninstall("sqlalchemy")
    plain = statistics.median(taken[0])
    # Of the ratios within a round: a slow moment of the machine hits both.
    return plain, plain * statistics.median(b / a for a, b in zip(*taken, strict=True))
