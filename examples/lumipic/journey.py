"""Who visits Lumipic in the demo, what they do, and what is promised about each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from lumipic.running import Visitor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lumipic.outside import Arrival, Letter
    from lumipic.running import Reply, Stage

Promise = Literal["passes", "stopped"]
PIXELS: Final = ("graph.facebook.com", "ads-api.x.com")
_PAGE: Final = "https://lumipic.pro/pictures/3f9a1c0e57b2/oil-portrait"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a visitor does.

    Attributes:
        name: what it is, in a few words.
        content: the body; PHOTO stands for a photo of the visitor.
        promise: whether the policy lets it through.
        hosts: whom the service means to tell, in order.
    """

    name: str
    method: str
    path: str
    content: object
    promise: Promise
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a step."""

    visitor: Visitor
    step: Step
    reply: Reply
    meant: tuple[Letter, ...]
    arrived: tuple[Arrival, ...]


PHOTO: Final = object()
_CLOUD: Final = "storage.googleapis.com"
_FACEBOOK, _X = PIXELS

UPLOAD: Final = Step("upload a photo", "POST", "/photos", PHOTO, "passes", (_CLOUD,))
AGE_GATE: Final = Step("age gate", "POST", "/photos/{photo}/age-gate", None, "passes")
CREATE: Final = Step(
    "make a picture",
    "POST",
    "/images",
    {"photo_id": "{photo}", "prompt": "me, painted in oil"},
    "passes",
    (_CLOUD,),
)
SHOW: Final = Step("see the picture", "GET", "/images/{photo}", None, "passes")
VIEW: Final = Step(
    "page view",
    "POST",
    "/events",
    {"visitor": "1731283200.4711", "name": "page_view", "page": _PAGE},
    "passes",
    ("www.google-analytics.com",),
)
CONVERSION: Final = Step("conversion", "POST", "/conversions", None, "passes", (_FACEBOOK, _X))
AUDIENCE: Final = Step("ads audience", "POST", "/ads/audience", None, "passes", (_FACEBOOK,))
NO_AUDIENCE: Final = Step("ads audience", "POST", "/ads/audience", None, "stopped")
FUNNEL: Final = Step("new: funnel event", "POST", "/ads/funnel", {"image_id": "{photo}"}, "stopped")
HONEST: Final = (UPLOAD, AGE_GATE, CREATE, SHOW, VIEW, CONVERSION)


@dataclass(frozen=True, slots=True)
class Visit:
    """A visitor and their steps after signing up and filling in the settings page."""

    visitor: Visitor
    who: str
    steps: tuple[Step, ...]


def visits() -> tuple[Visit, ...]:
    """Everybody who visits in the demo."""

    def visit(who: str, visitor: Visitor, *steps: Step) -> Visit:
        return Visit(visitor, who, steps)

    def adult(**choices: bool) -> dict[str, bool | int]:
        return {"birth_year": 1990, **choices}

    amelie = Visitor("Amelie", "FR", face=7, profile=adult(ads_consent=True))
    bruno = Visitor("Bruno", "IT", face=8, profile=adult(ads_consent=False))
    clara = Visitor("Clara", "DE", face=9, profile=adult())
    dana = Visitor("Dana", "US-CA", face=10, profile=adult(ads_opt_out=True))
    eli = Visitor("Eli", "US-CA", face=11, profile=adult(ads_opt_out=False))
    finn = Visitor("Finn", "US-NY", face=12, profile=adult())
    gus = Visitor("Gus", "US-NY", face=13, looks=30, profile={"birth_year": 2007})
    young = Step("upload a photo", "POST", "/photos", PHOTO, "stopped")
    return (
        visit("EU, agreed to ads", amelie, *HONEST, AUDIENCE, FUNNEL),
        visit("EU, refused ads", bruno, *HONEST, NO_AUDIENCE),
        visit("EU, never asked", clara, *HONEST, NO_AUDIENCE),
        visit("California, opted out", dana, *HONEST, NO_AUDIENCE),
        visit("California, did not", eli, *HONEST, AUDIENCE, FUNNEL),
        visit("New York", finn, *HONEST, AUDIENCE),
        visit("19 years old", gus, young),
    )


def walk(stage: Stage, visit: Visit) -> Iterator[Outcome]:
    """Let a visitor do everything that they came for."""
    visitor, photo = visit.visitor, 0
    settings = Step("settings page", "PUT", "/account/profile", visitor.profile, "passes")
    for step in (SIGN_UP, settings, *visit.steps):
        outcome = take(stage, visitor, step, photo)
        if step.path == UPLOAD.path and outcome.reply.ok:
            photo = outcome.reply.json["photo_id"]
        yield outcome


SIGN_UP: Final = Step(
    "sign up", "POST", "/auth/signup", None, "passes", ("firestore.googleapis.com",)
)


def take(stage: Stage, visitor: Visitor, step: Step, photo: int) -> Outcome:
    """Do one step, and see what it sends out."""
    meant, arrived = len(stage.letterbox.letters), len(stage.world.arrivals)
    if step is SIGN_UP:
        reply = visitor.sign_up(stage)
    else:
        path = step.path.format(photo=photo)
        reply = visitor.ask(stage, step.method, path, _content(visitor, step, photo))
    return Outcome(
        visitor,
        step,
        reply,
        tuple(stage.letterbox.letters[meant:]),
        stage.world.arrivals[arrived:],
    )


def _content(visitor: Visitor, step: Step, photo: int) -> object:
    if step.content is PHOTO:
        return visitor.photo()
    if isinstance(step.content, dict):
        return {key: photo if value == "{photo}" else value for key, value in step.content.items()}
    return step.content
