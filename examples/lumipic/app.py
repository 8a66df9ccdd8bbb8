"""Lumipic: upload a photo, pass the age gate, get a picture made from it.

`create_app` puts the service together; the routes are below it, in the order of a visit.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from lumipic.faces import likeness, read_face
from lumipic.models import Base, Event, Face, Image, User
from lumipic.pictures import PictureError, from_png, paint, to_png
from lumipic.sessions import Sessions, hash_password
from lumipic.vendors import Vendors

if TYPE_CHECKING:
    from policyguard import Guard

MINIMUM_AGE: Final = 21
SAME_FACE: Final = 0.999

routes = APIRouter()


@dataclass(frozen=True, slots=True)
class Service:
    """What the routes work with."""

    engine: Engine
    vendors: Vendors
    sessions: Sessions
    guard: "Guard"


def create_app(service: Service) -> FastAPI:
    """Build the service; creates the tables that are missing."""
    Base.metadata.create_all(service.engine)
    app = FastAPI(title="Lumipic")
    app.state.service = service
    app.include_router(routes)
    return app


def list_routes() -> list[tuple[str, str]]:
    """Method and path of every route, in the order of a visit."""
    return [
        (method, route.path)
        for route in routes.routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
    ]


# --- what every route may ask for -----------------------------------------------------------------


def get_service(request: Request) -> Service:
    """The parts of the running service."""
    service: Service = request.app.state.service
    return service


def get_db(service: Annotated[Service, Depends(get_service)]) -> Iterator[Session]:
    """A database session; what isn't committed is gone."""
    with Session(service.engine) as db:
        yield db


def get_user_id(request: Request, service: Annotated[Service, Depends(get_service)]) -> int:
    """The account that is signed in."""
    user_id = service.sessions.user_id(request.headers.get("authorization", ""))
    if user_id is None:
        raise HTTPException(401, "please sign in")
    return user_id


async def get_upload(request: Request) -> bytes:
    """The body of an upload."""
    return await request.body()


App = Annotated[Service, Depends(get_service)]
Database = Annotated[Session, Depends(get_db)]
UserId = Annotated[int, Depends(get_user_id)]
Upload = Annotated[bytes, Depends(get_upload)]


# --- account --------------------------------------------------------------------------------------


class SignUp(BaseModel):
    """What a new user fills in."""

    email: str
    password: str
    country: str | None = None


class Profile(BaseModel):
    """What a user may tell about themselves later; what is missing stays as it was."""

    birth_year: int | None = None
    marketing_opt_in: bool | None = None
    ads_consent: bool | None = None
    ads_opt_out: bool | None = None


@routes.post("/auth/signup", status_code=201)
def sign_up(form: SignUp, app: App, db: Database) -> dict[str, str]:
    """Create an account and sign in."""
    user = User(
        email=form.email,
        password_hash=hash_password(form.password),
        country=form.country,
    )
    db.add(user)
    db.flush()
    user_id = user.id
    email = db.scalars(select(User.email).where(User.id == user_id)).one()
    app.vendors.register_account(user_id, email)
    db.commit()
    return {"token": app.sessions.token(user_id)}


@routes.put("/account/profile", status_code=204)
def change_profile(form: Profile, me: UserId, db: Database) -> None:
    """Keep what the user told us on the settings page."""
    db.execute(update(User).where(User.id == me).values(**form.model_dump(exclude_unset=True)))
    db.commit()


# --- photos and pictures --------------------------------------------------------------------------


class Order(BaseModel):
    """A picture to make."""

    photo_id: int
    prompt: str


@routes.post("/photos", status_code=201)
def upload_photo(png: Upload, me: UserId, app: App, db: Database) -> dict[str, int]:
    """Take a photo, and keep a copy in the bucket."""
    try:
        from_png(png)
    except PictureError as problem:
        raise HTTPException(422, str(problem)) from problem
    image = Image(user_id=me, source_image=png)
    db.add(image)
    db.flush()
    photo = db.scalars(select(Image.source_image).where(Image.id == image.id)).one()
    app.vendors.store_object(f"photos/{image.id}.png", photo)
    db.commit()
    return {"photo_id": image.id}


@routes.post("/photos/{photo_id}/age-gate")
def pass_age_gate(photo_id: int, me: UserId, db: Database) -> dict[str, bool]:
    """Look at the face on a photo; pictures are made for adults only."""
    photo = db.scalars(
        select(Image.source_image).where(Image.id == photo_id, Image.user_id == me)
    ).one_or_none()
    if photo is None:
        raise HTTPException(404, "no such photo")
    try:
        reading = read_face(from_png(photo))
    except PictureError as problem:
        raise HTTPException(422, str(problem)) from problem
    db.add(
        Face(
            image_id=photo_id,
            user_id=me,
            face_id=reading.face_id,
            embedding=reading.embedding,
            estimated_age=reading.estimated_age,
        )
    )
    db.commit()
    return {"admitted": reading.estimated_age >= MINIMUM_AGE}


@routes.post("/images", status_code=201)
def create_image(order: Order, me: UserId, app: App, db: Database) -> dict[str, int]:
    """Make a picture from a photo and a prompt."""
    admitted_face(app, db, me, order.photo_id)
    image = db.scalars(select(Image).where(Image.id == order.photo_id, Image.user_id == me)).one()
    image.prompt = order.prompt
    image.result_image = to_png(paint(from_png(image.source_image), order.prompt))
    db.flush()
    result = db.scalars(select(Image.result_image).where(Image.id == image.id)).one()
    app.vendors.store_object(f"results/{image.id}.png", result or b"")
    db.commit()
    return {"image_id": order.photo_id}


@routes.get("/images/{image_id}")
def show_image(image_id: int, me: UserId, db: Database) -> Response:
    """Hand a finished picture to its owner."""
    png = db.scalars(
        select(Image.result_image).where(Image.id == image_id, Image.user_id == me)
    ).one_or_none()
    if png is None:
        raise HTTPException(404, "no such picture")
    return Response(png, media_type="image/png")


def admitted_face(app: Service, db: Session, me: int, photo_id: int) -> Face:
    """The face on a photo, when it passed the age gate and belongs to no other account."""
    with app.guard.purpose("essential.service.face_restriction"):
        face = db.scalars(select(Face).where(Face.image_id == photo_id, Face.user_id == me)).first()
        if face is None or face.estimated_age < MINIMUM_AGE:
            raise HTTPException(403, "please pass the age gate first")
        others = select(Face).where(Face.face_id == face.face_id, Face.user_id != me)
        if any(
            likeness(face.embedding, other.embedding) > SAME_FACE for other in db.scalars(others)
        ):
            raise HTTPException(409, "this face belongs to another account")
    return face


# --- analytics and advertising --------------------------------------------------------------------


class Step(BaseModel):
    """Something that a user did on the site."""

    visitor: str
    name: str
    page: str


class Finished(BaseModel):
    """A user reached the end of the funnel."""

    image_id: int


@routes.post("/events", status_code=202)
def record_event(step: Step, me: UserId, app: App, db: Database) -> dict[str, int]:
    """Count a step on the site."""
    event = Event(user_id=me, name=step.name, page=step.page)
    db.add(event)
    db.commit()
    app.vendors.send_measurement(step.visitor, event.name, {"page_location": event.page})
    return {"event_id": event.id}


@routes.post("/conversions", status_code=202)
def record_conversion(me: UserId, app: App, db: Database) -> dict[str, int]:
    """Tell the pixels that an advertisement led somewhere."""
    event = last_steps(db, me, 1)[0]
    app.vendors.send_event("Purchase", {"page": event.page})
    app.vendors.send_interaction("tw-o8z6j-purchase", event.page)
    return {"sent": 2}


@routes.post("/ads/audience", status_code=202)
def join_audience(me: UserId, app: App, db: Database) -> dict[str, int]:
    """Show our advertisements to this user elsewhere."""
    pages = [event.page for event in last_steps(db, me, 3)]
    app.vendors.send_event("AudienceJoined", {"pages": pages})
    return {"sent": 1}


@routes.post("/ads/matching", status_code=202)
def match_user(me: UserId, app: App, db: Database) -> dict[str, int]:
    """New: let the pixel recognise this user, the way its guide for developers proposes."""
    email = db.scalars(select(User.email).where(User.id == me)).one()
    user = {"em": [hashlib.sha256(email.strip().lower().encode()).hexdigest()]}
    app.vendors.send_event("UserMatched", {}, user)
    return {"sent": 1}


@routes.post("/ads/funnel", status_code=202)
def finish_funnel(step: Finished, me: UserId, app: App, db: Database) -> dict[str, int]:
    """New: let the pixel find people who look for pictures like this one."""
    row = admitted_face(app, db, me, step.image_id)
    properties = {"page": last_steps(db, me, 1)[0].page, "style": row.embedding}
    app.vendors.send_event("FunnelFinished", properties)
    return {"sent": 1}


def last_steps(db: Session, user_id: int, count: int) -> list[Event]:
    """The user's last steps, newest first."""
    newest = select(Event).where(Event.user_id == user_id).order_by(Event.id.desc())
    steps = list(db.scalars(newest.limit(count)))
    if not steps:
        raise HTTPException(409, "nothing happened yet")
    return steps
