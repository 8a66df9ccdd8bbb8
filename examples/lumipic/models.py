"""The tables of Lumipic."""

from datetime import datetime

from sqlalchemy import JSON, ForeignKey, LargeBinary, String, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    """Every table of the service."""


class User(Base):
    """An account. `country` is an ISO 3166 code, with the state where there is one (US-CA)."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    password_hash: Mapped[str]
    country: Mapped[str | None] = mapped_column(String(6))
    birth_year: Mapped[int | None]
    marketing_opt_in: Mapped[bool | None]
    ads_consent: Mapped[bool | None]
    ads_opt_out: Mapped[bool | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Image(Base):
    """A photo that a user uploaded, and the picture made from it."""

    __tablename__ = "images"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    prompt: Mapped[str | None]
    source_image: Mapped[bytes] = mapped_column(LargeBinary)
    result_image: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    faces: Mapped[list["Face"]] = relationship(back_populates="image")


class Face(Base):
    """What the face API found on a photo."""

    __tablename__ = "faces"

    id: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"), index=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    face_id: Mapped[str] = mapped_column(String(32))
    embedding: Mapped[list[float]] = mapped_column(JSON)
    estimated_age: Mapped[int]

    image: Mapped[Image] = relationship(back_populates="faces")


class Event(Base):
    """A step of a user on the site."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(String(40))
    page: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
