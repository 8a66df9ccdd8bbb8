"""Lumipic under its policy: every route, the careless feature, and what would happen without."""

from __future__ import annotations

import io
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from lumipic import demo
from lumipic.app import list_routes
from lumipic.evidence import holds_email, holds_vector
from lumipic.journey import AUDIENCE, FUNNEL, HOSTS, SIGN_UP, VIEW, visits, walk
from lumipic.pictures import draw_portrait, to_png
from lumipic.printing import WIDTH
from lumipic.promises import embedding_of
from lumipic.protection import CONFIGURATION, People, full_years, protected
from lumipic.running import Visitor, running
from lumipic.watching import Watch, violations
from policyguard.enforce.modes import Modes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lumipic.journey import Outcome, Step, Visit
    from lumipic.running import Stage

POLICIES: Final = Path(__file__).resolve().parents[2] / "policies" / "lumipic"
AMELIE, BRUNO, CLARA, DANA, ELI, FINN, HANA, GUS = visits()
FACEBOOK: Final = HOSTS["facebook_pixel"]
X: Final = HOSTS["x_pixel"]
CLOUD: Final = HOSTS["google_cloud"]
ANALYTICS: Final = HOSTS["google_analytics"]
_CREATED, _REFUSED, _FORBIDDEN, _CONFLICT, _UNREADABLE, _UNKNOWN = 201, 451, 403, 409, 422, 401


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration decides here, not the environment of whoever runs the tests."""
    for name in ("POLICYGUARD_MODE", "POLICYGUARD_PURPOSE", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def lumipic(
    configuration: Path = CONFIGURATION, *, mode: str = ""
) -> Iterator[tuple[Stage, Watch]]:
    """The guarded service with its outside world."""
    watch = Watch()
    with protected(configuration, watch) as protection:
        if mode == "off":
            protection.guard.modes = Modes(default="off")
        with running(protection.guard, protection.around) as stage:
            yield stage, watch


@pytest.fixture(scope="module")
def walked() -> dict[str, Outcome]:
    """Every visit of the demo, once, by visitor and step."""
    with lumipic() as (stage, watch):
        return {
            f"{visit.visitor.name}: {outcome.step.name}": outcome
            for visit in visits()
            for outcome in walk(stage, visit, watch)
        }


def changed(folder: Path, *, remove: str = "", add: str = "") -> Path:
    """A configuration whose policy has one rule less or more."""
    text = (POLICIES / "policy.yaml").read_text(encoding="utf-8")
    head, rest = text.split("\nrules:\n", 1)
    if remove:
        before, after = rest.split(f"  - id: {remove}\n", 1)
        rest = before + "  - id:" + after.split("\n  - id:", 1)[1]
    (folder / "policy.yaml").write_text(f"{head}\nrules:\n{add}{rest}", encoding="utf-8")
    own = CONFIGURATION.read_text(encoding="utf-8")
    own = own.replace("../../policies/lumipic/policy.yaml", "policy.yaml")
    own = own.replace("../../policies/lumipic", POLICIES.as_posix())
    (folder / "policyguard.toml").write_text(own, encoding="utf-8")
    return folder / "policyguard.toml"


# fmt: off
ANSWERS = {
    "who agreed in the EU joins the audience":          ("Amelie: ads audience", [FACEBOOK]),
    "who refused in the EU does not":                   ("Bruno: ads audience", []),
    "who was never asked in the EU does not":           ("Clara: ads audience", []),
    "who opted out in California does not":             ("Dana: ads audience", []),
    "who did not opt out in California does":           ("Eli: ads audience", [FACEBOOK]),
    "who was never asked in New York does not":         ("Finn: ads audience", []),
    "who agreed in New York does":                      ("Hana: ads audience", [FACEBOOK]),
    "a sign-up tells Firestore the address":            ("Bruno: sign up", [HOSTS["firestore"]]),
    "the settings page tells nobody":                   ("Bruno: settings page", []),
    "a photo is kept in the bucket":                    ("Bruno: upload a photo", [CLOUD]),
    "the age gate asks nobody outside":                 ("Bruno: age gate", []),
    "a finished picture is kept in the bucket":         ("Bruno: make a picture", [CLOUD]),
    "the owner sees the picture, nobody else does":     ("Bruno: see the picture", []),
    "a page view goes to the analytics service":        ("Bruno: page view", [ANALYTICS]),
    "a conversion goes to both pixels, consent or not": ("Bruno: conversion", [FACEBOOK, X]),
    "nothing of somebody under 21 is kept":             ("Gus: upload a photo", []),
    "not even a hash of the address goes to a pixel":   ("Amelie: user matching (new)", []),
    "the embedding does not leave with a consent":      ("Amelie: funnel event (new)", []),
    "the embedding does not leave in California":       ("Eli: funnel event (new)", []),
}
# fmt: on


@pytest.mark.parametrize(("which", "hosts"), ANSWERS.values(), ids=ANSWERS)
def test_what_leaves_is_what_the_policy_says(
    walked: dict[str, Outcome], which: str, hosts: list[str]
) -> None:
    """Each route reaches whom the policy allows, untouched, and nobody else."""
    outcome = walked[which]
    passes = outcome.step.promise == "passes"
    assert [arrival.host for arrival in outcome.arrived] == hosts
    assert outcome.reply.ok is passes
    assert outcome.as_sent is passes or not outcome.meant


def test_every_route_of_the_service_is_visited_and_has_a_purpose() -> None:
    """The table above leaves out no route, and no route runs without a purpose."""
    with protected(CONFIGURATION, Watch()) as protection:
        purposes = [protection.guard.route_purpose(method, path) for method, path in list_routes()]
    steps = {(s.method, len(s.path.split("/"))) for visit in visits() for s in visit.steps}
    steps |= {(SIGN_UP.method, 3), ("PUT", 3)}
    assert None not in purposes
    assert {(method, len(path.split("/"))) for method, path in list_routes()} == steps


def test_the_careless_feature_is_stopped_and_the_error_says_where_and_why(
    walked: dict[str, Outcome],
) -> None:
    """Nobody marked the code between the row and the request; the message names both ends."""
    outcome = walked["Amelie: funnel event (new)"]
    (sighting,) = [one for one in outcome.seen if one.flow.recipient != "self" and one.stopped]
    assert outcome.reply.status == _REFUSED
    assert sighting.flow.data == "user.biometric.face_embedding"
    assert "2.3" in sighting.clauses
    assert "face embedding (faces.embedding) to Facebook Pixel" in sighting.message
    for part in ("app.py:", "vendors.py:", "custom_data.style", "clause 2.3"):
        assert part in sighting.message


def test_no_secret_is_in_what_the_guard_says(walked: dict[str, Outcome]) -> None:
    """Messages and telemetry name columns and terms, never what stood in them."""
    words = [sighting.message for outcome in walked.values() for sighting in outcome.seen]
    words += [str(dict(record.log_record.attributes or {})) for record in violations()]
    said = "\n".join(words).encode()
    assert said
    for visit in visits():
        assert not holds_vector(said, embedding_of(visit.visitor))
        assert not holds_email(said, visit.visitor.email)


def test_a_refused_photo_of_a_minor_is_not_even_stored() -> None:
    """The violation rolls the transaction back: no row is left of the upload."""
    with lumipic() as (stage, watch):
        *_, refused = walk(stage, GUS, watch)
        with stage.engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT count(*) FROM images").scalar()
    assert refused.reply.status == _REFUSED
    assert rows == 0


def test_without_the_guard_embedding_and_address_reach_the_pixel() -> None:
    """The outside world does record a leak when nobody stops it."""
    with lumipic(mode="off") as (stage, watch):
        *_, matching, funnel = walk(stage, AMELIE, watch)
    (address,), (embedding,) = matching.arrived, funnel.arrived
    assert funnel.step is FUNNEL
    assert address.host == embedding.host == FACEBOOK
    assert holds_email(address.wire, AMELIE.visitor.email)
    assert holds_vector(embedding.wire, embedding_of(AMELIE.visitor))


def test_a_permit_for_the_embedding_lets_it_through(tmp_path: Path) -> None:
    """The policy decides, not the code: one rule more, and the same request passes."""
    rule = (
        "  - id: faces-for-ads\n    permit:\n      data: [user.biometric.face_embedding]\n"
        "      purposes: [marketing.advertising.third_party.targeted]\n"
        '      to: [facebook_pixel]\n    cites: ["2.3"]\n'
    )
    with lumipic(changed(tmp_path, add=rule)) as (stage, watch):
        *_, outcome = walk(stage, AMELIE, watch)
    (arrival,) = outcome.arrived
    assert holds_vector(arrival.wire, embedding_of(AMELIE.visitor))


def test_a_permit_taken_away_stops_an_honest_request(tmp_path: Path) -> None:
    """One rule less, and the page view no longer reaches the analytics service."""
    with lumipic(changed(tmp_path, remove="google-analytics")) as (stage, watch):
        sign_up, _, view = walk(stage, only(BRUNO, VIEW), watch)
    assert sign_up.reply.status == _CREATED
    assert view.reply.status == _REFUSED
    assert not view.arrived


def test_a_choice_counts_from_the_next_request_on() -> None:
    """Consent can be taken back at any time; the audience is closed from then on."""
    with lumipic() as (stage, watch):
        *_, before = walk(stage, only(HANA, VIEW, AUDIENCE), watch)
        HANA.visitor.ask(stage, "PUT", "/account/profile", {"ads_consent": False})
        after = HANA.visitor.ask(stage, "POST", "/ads/audience")
        arrived = stage.world.at(FACEBOOK)
    assert before.reply.ok
    assert after.status == _REFUSED
    assert len(arrived) == 1


def test_the_service_has_an_age_gate_and_face_restriction_of_its_own() -> None:
    """A young face gets no picture, nor does a face of another account or a broken file."""
    young = Visitor("Ivo", "FR", face=20, looks=16)
    owner, thief = Visitor("Jo", "FR", face=21), Visitor("Kim", "FR", face=21)
    with lumipic() as (stage, _):
        made = {}
        for visitor in (young, owner, thief):
            visitor.sign_up(stage)
            photo = visitor.ask(stage, "POST", "/photos", visitor.photo()).json["photo_id"]
            visitor.ask(stage, "POST", f"/photos/{photo}/age-gate")
            order = {"photo_id": photo, "prompt": "in oil"}
            made[visitor.name] = visitor.ask(stage, "POST", "/images", order).status
        broken = owner.ask(stage, "POST", "/photos", b"no picture").status
        small = owner.ask(stage, "POST", "/photos", to_png(draw_portrait(1, 30)[:8, :8]))
        tiny = owner.ask(stage, "POST", f"/photos/{small.json['photo_id']}/age-gate").status
        nobody = Visitor("Lea", "FR", face=22).ask(stage, "POST", "/photos", b"").status
    assert made == {"Ivo": _FORBIDDEN, "Jo": _CREATED, "Kim": _CONFLICT}
    assert (broken, tiny, nobody) == (_UNREADABLE, _UNREADABLE, _UNKNOWN)


def test_what_nobody_said_about_a_person_is_unknown() -> None:
    """Facts hold answers only: a missing one is left out, not guessed."""
    with lumipic() as (stage, _):
        CLARA.visitor.sign_up(stage)
        people = People(str(stage.engine.url.database))
        facts, stranger, anonymous = people.facts(1), people.facts(99), people.facts(None)
    assert facts["region"] == "DE"
    assert (facts["age"], facts["consent"], facts["opt_out"]) == (None, {}, {})
    assert stranger == anonymous == {}
    assert full_years(1990) >= full_years(1991) + 1


@pytest.mark.slow
def test_the_demo_keeps_its_promises_and_fits_the_page() -> None:
    """`policyguard demo` ends with 0, in lines of at most 100 columns."""
    page = io.StringIO()
    assert demo.main(page) == 0, page.getvalue()
    lines = page.getvalue().splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert "BROKEN" not in page.getvalue()
    assert any("PG201 blocked: face embedding" in line for line in lines)


@pytest.mark.slow
def test_the_demo_fails_when_a_promise_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the guard switched off the demo says what leaked, and ends with 1."""
    monkeypatch.setenv("POLICYGUARD_MODE", "off")
    page = io.StringIO()
    assert demo.main(page, changed(tmp_path)) == 1
    assert "graph.facebook.com: the face embedding of Amelie" in page.getvalue()


def only(visit: Visit, *steps: Step) -> Visit:
    """The visit with these steps alone."""
    return replace(visit, steps=steps)
