"""Rows of labelled columns are known from then on, however SQLAlchemy fetches them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy import event, orm
from sqlalchemy.pool import StaticPool

from policyguard import NoPurpose, PolicyViolation
from policyguard.config import Guard
from tests.enforce.kit import ACCOUNT, ADS, COUNTING, EMAIL, FACE, SECURITY, counts, guard

VECTOR = [((number * 7919) % 1009) / 1009 - 0.5 for number in range(128)]


class Base(orm.DeclarativeBase):
    """All tables."""


class User(Base):
    """A labelled table."""

    __tablename__ = "users"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    email: orm.Mapped[str]
    name: orm.Mapped[str] = orm.mapped_column(default="")
    likes: orm.Mapped[str] = orm.mapped_column(default="")


class Face(Base):
    """A table with data that must be named."""

    __tablename__ = "faces"
    user_id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    embedding: orm.Mapped[list[float]] = orm.mapped_column(sa.JSON)


class Note(Base):
    """A table whose text is about nobody."""

    __tablename__ = "settings"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    text: orm.Mapped[str]


class Audience(Base):
    """A table that belongs to the pixel."""

    __tablename__ = "audience"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    mail: orm.Mapped[str]


def address(number: int) -> str:
    """One person's address."""
    return f"person.{number:04}@mail.example.org"


@pytest.fixture
def engine() -> Iterator[sa.Engine]:
    """A real database with twenty people."""
    made = sa.create_engine("sqlite://", poolclass=StaticPool)
    Base.metadata.create_all(made)
    with orm.Session(made) as session:
        session.add_all(User(id=n, email=address(n), name=f"Person Number {n}") for n in range(20))
        session.add(Face(user_id=1, embedding=VECTOR))
        session.add(Note(id=1, text="midnight-blue-theme"))
        session.commit()
    yield made
    made.dispose()


@pytest.fixture
def made() -> Iterator[Guard]:
    """A guard that listens to SQLAlchemy."""
    installed = guard()
    installed.install("sqlalchemy")
    yield installed
    installed.uninstall()


def known(made: Guard, value: object) -> set[str]:
    """Which data a value is known to be."""
    return {label.data for label, _, _ in made.labels_in(value)}


Read = Callable[[sa.Engine], Any]
USERS = sa.select(User).order_by(User.id)
EMAILS = sa.select(User.email).order_by(User.id)


def _core(engine: sa.Engine, fetch: Callable[[Any], Any], statement: Any = EMAILS) -> Any:
    with engine.connect() as connection:
        return fetch(connection.execute(statement))


def _orm(engine: sa.Engine, fetch: Callable[[orm.Session], Any]) -> Any:
    with orm.Session(engine) as session:
        return fetch(session)


READS: dict[str, Read] = {
    "all": lambda e: _core(e, lambda r: r.all()),
    "first": lambda e: _core(e, lambda r: r.first()),
    "scalar": lambda e: _core(e, lambda r: r.scalar()),
    "fetchone": lambda e: _core(e, lambda r: r.fetchone()),
    "fetchmany": lambda e: _core(e, lambda r: r.fetchmany(3)),
    "iteration": lambda e: _core(e, list),
    "mappings": lambda e: _core(e, lambda r: r.mappings().all()),
    "partitions": lambda e: _core(e, lambda r: list(r.partitions(4))),
    "yield per": lambda e: _core(e, list, EMAILS.execution_options(yield_per=2)),
    "stream": lambda e: _core(e, list, EMAILS.execution_options(stream_results=True)),
    "text": lambda e: _core(e, list, sa.text("SELECT email FROM users ORDER BY id")),
    "renamed": lambda e: _core(e, list, sa.text("SELECT u.email AS x FROM users AS u ORDER BY id")),
    "in a query": lambda e: _core(e, list, sa.select(EMAILS.subquery())),
    "upper": lambda e: _core(e, list, sa.select(sa.func.upper(User.email)).order_by(User.id)),
    "driver": lambda e: _driver(e),  # noqa: PLW0108 - defined below
    "entities": lambda e: _orm(e, lambda s: [user.email for user in s.scalars(USERS)]),
    "get": lambda e: _orm(e, lambda s: s.get(User, 0)),
    "lazy column": lambda e: _orm(
        e, lambda s: [u.email for u in s.scalars(USERS.options(orm.defer(User.email)))]
    ),
    "refresh": lambda e: _orm(e, _refreshed),
}


def _driver(engine: sa.Engine) -> Any:
    with engine.connect() as connection:
        return connection.exec_driver_sql("SELECT email FROM users ORDER BY id").fetchall()


def _refreshed(session: orm.Session) -> Any:
    user = User(id=0)
    user = session.merge(user, load=True)
    session.refresh(user)
    return user.email


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_rows_are_known_however_they_are_fetched(
    made: Guard, engine: sa.Engine, read: Read
) -> None:
    """Core, ORM, text and driver, whole or in parts: the first address is known afterwards."""
    with made.purpose(ACCOUNT):
        read(engine)
        assert known(made, {"to": address(0)}) == {EMAIL}
        assert known(made, {"to": address(77)}) == set()


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_results_are_those_without_a_guard(engine: sa.Engine, read: Read) -> None:
    """What the application gets is what it would have got."""

    def plain(value: Any) -> Any:
        return (
            {k: v for k, v in vars(value).items() if k[0] != "_"}
            if isinstance(value, User)
            else value
        )

    bare = plain(read(engine))
    installed = guard()
    installed.install("sqlalchemy")
    with installed.purpose(ACCOUNT):
        assert plain(read(engine)) == bare
    installed.uninstall()


INSERT = sa.insert(User)
RETURNS: dict[str, Callable[[sa.Connection], Any]] = {
    "one": lambda c: c.execute(INSERT.returning(User.email), {"email": address(100)}).all(),
    "many": lambda c: c.execute(
        INSERT.returning(User.email), [{"email": address(n)} for n in range(100, 104)]
    ).all(),
    "many in batches": lambda c: (
        c.execution_options(insertmanyvalues_page_size=2)
        .execute(INSERT.returning(User.email), [{"email": address(n)} for n in range(100, 105)])
        .all()
    ),
    "update": lambda c: c.execute(
        sa.update(User).where(User.id == 1).values(email=address(100)).returning(User.email)
    ).all(),
    "delete": lambda c: c.execute(sa.delete(User).where(User.id == 0).returning(User.email)).all(),
}


@pytest.mark.parametrize("write", RETURNS.values(), ids=RETURNS)
def test_returned_rows_are_known(
    made: Guard, engine: sa.Engine, write: Callable[[sa.Connection], Any]
) -> None:
    """INSERT, UPDATE and DELETE with RETURNING give rows like any other."""
    with made.purpose(ACCOUNT), engine.connect() as connection:
        rows = write(connection)
        assert rows
        for (mail,) in rows:
            assert known(made, mail) == {EMAIL}


def test_a_json_column_is_known_as_what_it_holds(made: Guard, engine: sa.Engine) -> None:
    """The driver gives text, the application a list, the payload numbers: all are the embedding."""
    with made.purpose(SECURITY), orm.Session(engine) as session:
        face = session.get_one(Face, 1)
        for dressed in (face.embedding, np.array(VECTOR), {"f": tuple(VECTOR)}, str(VECTOR)):
            assert known(made, dressed) == {FACE}


def test_a_vector_in_bytes_is_known_as_its_numbers(made: Guard, engine: sa.Engine) -> None:
    """Numbers stored by `tobytes` are found again as numbers; a picture is no vector."""
    for kind in ("float32", "float64"):
        packed = np.array(VECTOR, dtype=kind).tobytes()
        picture = bytes(number * 73 % 256 for number in range(4096))
        with engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM faces")
            for number, held in enumerate((packed, picture)):
                connection.exec_driver_sql("INSERT INTO faces VALUES (?, ?)", (number, held))
        with made.context(purpose=SECURITY), engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT embedding FROM faces").all()
            assert rows[0][0] == packed
            assert known(made, np.frombuffer(packed, dtype=kind).tolist()) == {FACE}
            assert known(made, packed) == known(made, picture) == {FACE}
            assert len(made.registry) == 3


def test_a_star_that_cannot_be_resolved_makes_every_value_suspect(
    made: Guard, engine: sa.Engine
) -> None:
    """The data map needn't list all columns: what `*` gives is then known as something."""
    with made.purpose(ACCOUNT), engine.connect() as connection:
        connection.execute(sa.text("SELECT * FROM users ORDER BY id")).all()
        with pytest.raises(PolicyViolation) as caught:
            made.check(address(0), to="pixel")
    assert caught.value.decision.reason in {"cannot_tell", "unlabelled"}


def test_unlabelled_columns_are_left_alone(engine: sa.Engine, made: Guard) -> None:
    """No label, no purpose needed, no wrapper around the cursor, nothing counted."""
    with engine.connect() as connection:
        result = connection.execute(sa.select(User.id))
        assert type(result.context.cursor).__module__ == "sqlite3"
        assert len(result.all()) == 20
        connection.execute(sa.select(sa.func.count()).select_from(User)).scalar_one()
    assert counts(made) == {}
    assert len(made.registry) == 0
    with made.purpose(ACCOUNT), engine.connect() as connection:
        connection.execute(sa.select(User.id, User.email)).all()
        assert known(made, "midnight-blue-theme") == set()


def test_counts_and_hashes_carry_their_form(made: Guard, engine: sa.Engine) -> None:
    """An aggregate is not the address."""
    with made.purpose(ACCOUNT), engine.connect() as connection:
        total = connection.execute(sa.select(sa.func.count(User.email))).scalar_one()
        assert total == 20
        assert all(label.form for label, _, _ in made.labels_in({"n": total}))


def test_a_denied_read_does_not_run(made: Guard, engine: sa.Engine) -> None:
    """Faces for ads: the database never sees the statement, the connection stays usable."""
    ran: list[str] = []
    event.listen(engine, "after_cursor_execute", lambda *all_: ran.append(all_[2]))
    with made.purpose(ADS), engine.connect() as connection:
        with pytest.raises(PolicyViolation) as caught:
            connection.execute(sa.select(Face.embedding))
        assert ran == []
        assert connection.execute(sa.select(User.id)).first() is not None
    assert caught.value.decision.flow.data == FACE
    with pytest.raises(NoPurpose), engine.connect() as connection:
        connection.execute(sa.select(Face.embedding))


def test_values_bound_for_a_recipients_table_are_judged(made: Guard, engine: sa.Engine) -> None:
    """What was read and is now inserted into the pixel's table leaves to the pixel."""
    with made.purpose(COUNTING), orm.Session(engine) as session:
        mails = session.scalars(EMAILS).all()
        session.add(Audience(mail=mails[0]))
        with pytest.raises(PolicyViolation) as caught:
            session.flush()
        assert caught.value.decision.flow.recipient == "pixel"
        session.rollback()
        with pytest.raises(PolicyViolation):
            session.execute(sa.insert(Audience), [{"mail": mail} for mail in mails])
    with engine.connect() as connection:
        assert connection.execute(sa.select(Audience.id)).all() == []


def test_existing_engines_are_heard_and_uninstall_restores(engine: sa.Engine) -> None:
    """Engines from before count, and after uninstall nothing of ours listens."""
    installed = guard()
    installed.install("sqlalchemy")
    installed.install("sqlalchemy")
    with installed.purpose(ACCOUNT), engine.connect() as connection:
        connection.execute(EMAILS).all()
        assert len(installed.registry) > 0
    installed.uninstall()
    with installed.context(purpose=ACCOUNT), engine.connect() as connection:
        result = connection.execute(EMAILS)
        assert type(result.context.cursor).__module__ == "sqlite3"
        result.all()
        assert len(installed.registry) == 0


def test_a_pickled_result_is_plain(made: Guard, engine: sa.Engine) -> None:
    """Frozen results hold rows, not our cursor."""
    with made.purpose(ACCOUNT), engine.connect() as connection:
        frozen = connection.execute(EMAILS).freeze()
        rows = pickle.loads(pickle.dumps([tuple(row) for row in frozen()]))
    assert rows[0] == (address(0),)


class Sealed(sa.types.TypeDecorator[str]):
    """A column that the application keeps backwards, as others keep it encrypted."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """To the database."""
        del dialect
        return value[::-1] if value else value

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """To the application."""
        return self.process_bind_param(value, dialect)


def test_what_a_column_type_makes_of_a_value_is_known(made: Guard, engine: sa.Engine) -> None:
    """The application sees what the type gives, decrypted for example: that is remembered too."""
    users = sa.table("users", sa.column("id"), sa.column("email", Sealed()))
    with made.purpose(ACCOUNT), engine.connect() as connection:
        given = connection.execute(sa.select(users.c.email)).scalars().first()
        raw = connection.exec_driver_sql("SELECT email FROM users").scalars().first()
        assert given is not None
        assert given[::-1] == raw
        assert known(made, given) == {EMAIL}


def test_two_guards_each_label_by_their_own_map(made: Guard, engine: sa.Engine) -> None:
    """A second guard takes nothing from the first."""
    second = guard()
    second.install("sqlalchemy")
    try:
        with made.purpose(ACCOUNT), second.purpose(ACCOUNT), engine.connect() as connection:
            given = connection.execute(EMAILS).scalars().first()
            assert known(made, given) == known(second, given) == {EMAIL}
    finally:
        second.uninstall()


def test_rows_and_entities_are_looked_into_at_a_sink(made: Guard, engine: sa.Engine) -> None:
    """What a query gives is data wherever it is handed, not an object of nobody's."""
    sent: list[object] = []

    @made.sink("pixel")
    def track(value: object) -> None:
        sent.append(value)

    with made.context(purpose=ACCOUNT), orm.Session(engine) as session:
        row = session.execute(EMAILS).first()
        entity = session.scalars(USERS).first()
        assert row is not None
        for value in (row, [row], row._mapping, entity):
            with made.purpose(ADS), pytest.raises(PolicyViolation):
                track(value)
    assert sent == []
