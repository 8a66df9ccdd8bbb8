"""A load of entities leaves out what may not be read; touching it is a read like any other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import ForeignKey, LargeBinary, create_engine, event, select
from sqlalchemy.engine import Engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    aliased,
    mapped_column,
    relationship,
    selectinload,
)

from policyguard import PolicyViolation
from policyguard.config import Guard
from tests.enforce.kit import ACCOUNT, SECURITY, guard


class Base(DeclarativeBase):
    """The application's tables."""


class User(Base):
    """A person, with one face."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    faces: Mapped[list[Face]] = relationship(back_populates="user")


class Face(Base):
    """A face, whose embedding must be named to be read."""

    __tablename__ = "faces"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    embedding: Mapped[bytes] = mapped_column(LargeBinary)
    user: Mapped[User] = relationship(back_populates="faces")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A database with one person and one face."""
    made = create_engine(f"sqlite:///{tmp_path / 'app.db'}")
    Base.metadata.create_all(made)
    with Session(made) as session:
        face = Face(id=7, embedding=b"x" * 64)
        session.add(User(id=1, email="ann@example.org", faces=[face]))
        session.commit()
    yield made
    made.dispose()


@pytest.fixture
def made() -> Iterator[Guard]:
    """A guard that is installed."""
    asked = guard()
    asked.install("sqlalchemy")
    yield asked
    asked.uninstall()


@pytest.fixture
def sent(engine: Engine) -> list[str]:
    """The statements that reach the database."""
    texts: list[str] = []

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        del connection, cursor, rest
        texts.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    return texts


def loads() -> dict[str, object]:
    """Ways to load a face, none of which asks for its embedding by name."""
    other = aliased(Face)
    return {
        "get": lambda session: session.get(Face, 7),
        "select": lambda session: session.scalars(select(Face)).one(),
        "aliased": lambda session: session.scalars(select(other)).one(),
        "joined": lambda session: session.scalars(select(Face).join(User)).one(),
        "lazily": lambda session: session.get(User, 1).faces[0],
        "select in": lambda session: (
            session.scalars(select(User).options(selectinload(User.faces))).one().faces[0]
        ),
        "query": lambda session: session.query(Face).one(),
    }


@pytest.mark.parametrize("name", loads())
def test_a_load_leaves_out_what_is_denied(
    engine: Engine, made: Guard, sent: list[str], name: str
) -> None:
    """The entity is there; its embedding was never read, and touching it is denied."""
    load = loads()[name]
    assert callable(load)
    with made.purpose(ACCOUNT), Session(engine) as session:
        face = load(session)
        assert face.user_id == 1
        assert not [text for text in sent if "embedding" in text]
        with pytest.raises(PolicyViolation) as caught:
            _ = face.embedding
    assert caught.value.decision.flow.data == "user.biometric.face_embedding"
    assert not [text for text in sent if "embedding" in text]


def test_where_it_is_allowed_it_is_loaded_at_once(
    engine: Engine, made: Guard, sent: list[str]
) -> None:
    """Nothing is left out, and there is one statement."""
    with made.purpose(SECURITY), Session(engine) as session:
        assert session.scalars(select(Face)).one().embedding == b"x" * 64
    assert len(sent) == 1


def test_a_column_by_name_is_judged_as_ever(engine: Engine, made: Guard) -> None:
    """Who asks for it gets an answer, not a gap."""
    with made.purpose(ACCOUNT), Session(engine) as session, pytest.raises(PolicyViolation):
        session.execute(select(Face.embedding)).all()


def test_a_refresh_is_judged_at_the_cursor(engine: Engine, made: Guard) -> None:
    """It names its columns itself."""
    with made.purpose(ACCOUNT), Session(engine) as session:
        face = session.get(Face, 7)
        with pytest.raises(PolicyViolation):
            session.refresh(face, ["embedding"])


def test_writing_a_left_out_column_works(engine: Engine, made: Guard) -> None:
    """What isn't read may be set."""
    with made.purpose(ACCOUNT), Session(engine) as session:
        face = session.get(Face, 7)
        assert face is not None
        face.embedding = b"y" * 64
        session.commit()
    with made.purpose(SECURITY), Session(engine) as session:
        assert session.scalars(select(Face)).one().embedding == b"y" * 64


def test_after_uninstalling_everything_is_loaded(engine: Engine, made: Guard) -> None:
    """The hook is gone with the guard."""
    made.uninstall()
    with Session(engine) as session:
        assert session.scalars(select(Face)).one().embedding == b"x" * 64
