"""In mode redact SQLAlchemy's results are as ever, with None for what is denied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.pool import NullPool, StaticPool

from policyguard import PolicyViolation
from policyguard.config import Guard
from policyguard.enforce.modes import Enforcement, Match, Modes
from tests.enforce.kit import ADS, guard
from tests.postgres.kit import server


class Base(orm.DeclarativeBase):
    """All tables."""


class User(Base):
    """A table with a column that is denied."""

    __tablename__ = "users"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    email: orm.Mapped[str | None]
    shoe: orm.Mapped[int] = orm.mapped_column(default=40)
    faces: orm.Mapped[list[Face]] = orm.relationship(order_by="Face.id")


class Face(Base):
    """A table with a denied column of a type of the application's own."""

    __tablename__ = "faces"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    user_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("users.id"))
    embedding: orm.Mapped[list[float] | None] = orm.mapped_column(sa.JSON)


@pytest.fixture(params=["sqlite", "postgresql+psycopg"])
def engine(request: pytest.FixtureRequest) -> Iterator[sa.Engine]:
    """A real database with three people."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            made = sa.create_engine("sqlite://", poolclass=StaticPool)
        else:
            url = stack.enter_context(server().database()).url(request.param)
            made = sa.create_engine(url, poolclass=NullPool)
        Base.metadata.create_all(made)
        with orm.Session(made) as session:
            people = [User(email=f"p{n}@mail.example", shoe=40 + n) for n in range(3)]
            people[1].faces.append(Face(embedding=[0.5, 0.25]))
            session.add_all(people)
            session.commit()
        yield made
        made.dispose()


@pytest.fixture
def made() -> Iterator[Guard]:
    """A guard that listens to SQLAlchemy and redacts what statements read."""
    installed = guard()
    installed.modes = Modes(entries=[Enforcement(Match(at="sql"), "redact")])
    installed.install("sqlalchemy")
    yield installed
    installed.uninstall()


MAIL = User.__table__.c.email
MAILS = sa.select(User.id, User.email, User.shoe).order_by(User.id)
PLAIN = "SELECT id, email, shoe FROM users ORDER BY id"
WANT = [(1, None, 40), (2, None, 41), (3, None, 42)]
Read = Callable[[sa.Connection], Any]
READS: dict[str, Read] = {
    "core": lambda c: c.execute(MAILS).all(),
    "core again": lambda c: [c.execute(MAILS).all() for _ in range(3)][-1],
    "mappings": lambda c: [tuple(row.values()) for row in c.execute(MAILS).mappings()],
    "attributes": lambda c: [(r.id, r.email, r.shoe) for r in c.execute(MAILS)],
    "columns": lambda c: [
        (r[0], r._mapping[MAIL], r._mapping["shoe"])
        for r in c.execute(sa.select(User.__table__).order_by(User.id))
    ],
    "text": lambda c: c.execute(sa.text(PLAIN)).all(),
    "text by name": lambda c: [(r.id, r.email, r.shoe) for r in c.execute(sa.text(PLAIN))],
    "text with types": lambda c: c.execute(
        sa.text(PLAIN).columns(User.id, User.email, User.shoe)
    ).all(),
    "text with values": lambda c: c.execute(
        sa.text("SELECT id, email, shoe FROM users WHERE id IN (:a, :b, :c) ORDER BY id"),
        {"a": 1, "b": 2, "c": 3},
    ).all(),
    "in": lambda c: c.execute(MAILS.where(User.id.in_([3, 2, 1]), User.shoe > 1)).all(),
    "limit": lambda c: c.execute(MAILS.limit(5).offset(0)).all(),
    "subquery": lambda c: c.execute(sa.select(MAILS.subquery()).order_by("id")).all(),
    "CTE": lambda c: c.execute(sa.select(MAILS.limit(9).cte()).order_by("id")).all(),
    "driver": lambda c: [tuple(row) for row in c.exec_driver_sql(PLAIN)],
    "stream": lambda c: list(c.execution_options(yield_per=2).execute(MAILS)),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_results_hold_none_for_what_is_denied(made: Guard, engine: sa.Engine, read: Read) -> None:
    """By position, by name and by column; Core, text and driver."""
    with made.purpose(ADS), engine.connect() as connection:
        assert read(connection) == WANT


def test_entities_load_with_none(made: Guard, engine: sa.Engine) -> None:
    """Select, get, refresh and eager loading fill all other attributes."""
    with made.purpose(ADS), orm.Session(engine) as session:
        people = session.scalars(sa.select(User).order_by(User.id)).all()
        assert [(one.id, one.email, one.shoe) for one in people] == WANT
        one = session.get_one(User, 2)
        session.refresh(one)
        assert (one.email, one.shoe) == (None, 41)
        assert [(face.id, face.embedding) for face in one.faces] == [(1, None)]
    for way in (orm.joinedload, orm.selectinload, orm.subqueryload):
        with made.purpose(ADS), orm.Session(engine) as session:
            found = session.scalars(sa.select(User).options(way(User.faces)).order_by(User.id))
            people = found.unique().all()
            assert [[f.embedding for f in one.faces] for one in people] == [[], [None], []]


def test_what_is_written_comes_back_as_none(made: Guard, engine: sa.Engine) -> None:
    """RETURNING of one row, of many in batches, of UPDATE and DELETE; the keys are as ever."""
    insert = sa.insert(User).returning(User.id, User.email)
    with made.purpose(ADS), engine.connect() as connection:
        assert connection.execute(insert, {"email": "n@mail.example"}).all() == [(4, None)]
        batches = connection.execution_options(insertmanyvalues_page_size=2)
        many = batches.execute(insert, [{"email": f"m{n}@mail.example"} for n in range(5)]).all()
        assert sorted(many) == [(key, None) for key in range(5, 10)]
        ordered = sa.insert(User).returning(User.id, User.email, sort_by_parameter_order=True)
        assert batches.execute(ordered, [{"email": "o"}, {"email": "p"}, {"email": "q"}]).all() == [
            (10, None),
            (11, None),
            (12, None),
        ]
        update = sa.update(User).where(User.id == 1).values(shoe=9)
        changed = connection.execute(update.returning(User.shoe, User.email)).all()
        assert changed == [(9, None)]
        gone = sa.delete(User).where(User.id == 12).returning(User.email)
        assert connection.execute(gone).all() == [(None,)]
        connection.commit()
    with engine.connect() as connection, pytest.raises(PolicyViolation):
        connection.execute(sa.select(User.id).where(User.email == "o"))
    made.uninstall()
    with engine.connect() as connection:
        kept = connection.execute(sa.select(User.email).where(User.id.in_([4, 5, 10]))).scalars()
        assert sorted(map(str, kept)) == ["m0@mail.example", "n@mail.example", "o"]


def test_many_executions_go_on(made: Guard, engine: sa.Engine) -> None:
    """Executemany and the unit of work write what they are given."""
    with made.purpose(ADS), orm.Session(engine) as session:
        session.add_all(User(email=f"x{n}@mail.example") for n in range(4))
        session.commit()
        statement = sa.text("UPDATE users SET shoe = :shoe WHERE id = :id")
        session.execute(statement, [{"shoe": 7, "id": n} for n in (1, 2)])
        session.commit()
        assert session.execute(MAILS).all()[:2] == [(1, None, 7), (2, None, 7)]


@pytest.mark.parametrize(
    "statement",
    [
        sa.select(User.id).where(User.email.like("p%")),
        sa.select(sa.func.lower(User.email)),
        sa.select(User.id).order_by(User.email),
        sa.select(sa.func.count(sa.distinct(User.email))),
        sa.select(User.email).distinct(),
    ],
)
def test_other_uses_are_blocked(made: Guard, engine: sa.Engine, statement: Any) -> None:
    """Where a denied column decides something, nothing runs."""
    with made.purpose(ADS), engine.connect() as connection, pytest.raises(PolicyViolation):
        connection.execute(statement)
