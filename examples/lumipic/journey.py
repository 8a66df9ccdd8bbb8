"""Who visits Lumipic in the demo, what they do, and what is promised about each step."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

from lumipic.running import Visitor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lumipic.outside import Arrival, Letter
    from lumipic.running import Reply, Stage
    from lumipic.watching import Sighting, Watch

Promise = Literal["passes", "stopped"]
HOSTS: Final = {
    "firestore": "firestore.googleapis.com",
    "google_cloud": "storage.googleapis.com",
    "google_analytics": "www.google-analytics.com",
    "facebook_pixel": "graph.facebook.com",
    "x_pixel": "ads-api.x.com",
}
PIXELS: Final = (HOSTS["facebook_pixel"], HOSTS["x_pixel"])
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
    """What became of a step.

    Attributes:
        meant: what the service was about to send.
        arrived: what the outside world received.
        seen: what the guard decided meanwhile.
    """

    visitor: Visitor
    step: Step
    reply: Reply
    meant: tuple[Letter, ...]
    arrived: tuple[Arrival, ...]
    seen: tuple[Sighting, ...]

    @property
    def as_sent(self) -> bool:
        """Whether exactly what the service sent arrived."""
        sent = [letter.wire for letter in self.meant]
        return sent == [arrival.wire for arrival in self.arrived]


PHOTO: Final = object()
_CLOUD: Final = HOSTS["google_cloud"]
_FACEBOOK, _X = PIXELS

SIGN_UP: Final = Step(
    "sign up", "POST", "/auth/signup", None, "passes", ("firestore.googleapis.com",)
)
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
MATCHING: Final = Step("user matching (new)", "POST", "/ads/matching", None, "stopped")
FUNNEL: Final = Step(
    "funnel event (new)", "POST", "/ads/funnel", {"image_id": "{photo}"}, "stopped"
)
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
    hana = Visitor("Hana", "US-NY", face=13, profile=adult(ads_consent=True))
    gus = Visitor(
        "Gus", "US-NY", face=14, looks=30, profile={"birth_year": datetime.now(UTC).year - 19}
    )
    young = Step("upload a photo", "POST", "/photos", PHOTO, "stopped")
    return (
        visit("EU, agreed to ads", amelie, *HONEST, AUDIENCE, MATCHING, FUNNEL),
        visit("EU, refused ads", bruno, *HONEST, NO_AUDIENCE),
        visit("EU, never asked", clara, *HONEST, NO_AUDIENCE),
        visit("California, opted out", dana, *HONEST, NO_AUDIENCE),
        visit("California, did not", eli, *HONEST, AUDIENCE, FUNNEL),
        visit("New York, never asked", finn, *HONEST, NO_AUDIENCE),
        visit("New York, agreed", hana, *HONEST, AUDIENCE),
        visit("under 21", gus, young),
    )


def walk(stage: Stage, visit: Visit, watch: Watch) -> Iterator[Outcome]:
    """Let a visitor do everything that they came for."""
    visitor, photo = visit.visitor, 0
    settings = Step("settings page", "PUT", "/account/profile", visitor.profile, "passes")
    for step in (SIGN_UP, settings, *visit.steps):
        outcome = take(stage, visitor, step, photo, watch)
        if step.path == UPLOAD.path and outcome.reply.ok:
            photo = outcome.reply.json["photo_id"]
        yield outcome


def take(stage: Stage, visitor: Visitor, step: Step, photo: int, watch: Watch) -> Outcome:
    """Do one step, and see what it sends out."""
    meant, arrived = len(stage.letterbox.letters), len(stage.world.arrivals)
    seen = len(watch.sightings)
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
        watch.sightings[seen:],
    )


def _content(visitor: Visitor, step: Step, photo: int) -> object:
    if step.content is PHOTO:
        return visitor.photo()
    if isinstance(step.content, dict):
        return {key: photo if value == "{photo}" else value for key, value in step.content.items()}
    return step.content
