"""Places that a policy can name: ISO 3166 codes and the groups EU and EEA.

Layer: policy. Imports nothing of policyguard. Start reading at `place_in`.

Source: ISO 3166-1 (249 assigned alpha-2 codes), ISO 3166-2 (shape, and the subdivisions that have
an alpha-2 code of their own), Treaty on European Union article 52 with TFEU article 355 (where the
Union's law applies), EEA Agreement article 126 with its Protocol 40 (Svalbard stands outside).
Subdivision codes are checked by shape only: the list changes several times a year.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

GROUPS: Final = frozenset({"EU", "EEA"})

_ASSIGNED: Final = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS
BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE
EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM
HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC
LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA
NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW
SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO
TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
COUNTRIES: Final = frozenset(_ASSIGNED.split())

# The 27 members, then the parts of members that have a code of their own and are in the Union.
_UNION: Final = """
AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK
AX GF GP MF MQ RE YT
"""
_EU: Final = frozenset(_UNION.split())
_EEA: Final = _EU | {"IS", "LI", "NO"}

# Subdivisions that also have an alpha-2 code: one place, two spellings.
_OF_FRANCE: Final = ("BL", "GF", "GP", "MF", "MQ", "NC", "PF", "PM", "RE", "TF", "WF", "YT")
_SAME: Final = {
    **{f"CN-{code}": code for code in ("HK", "MO", "TW")},
    **{f"DK-{code}": code for code in ("FO", "GL")},
    **{f"FR-{code}": code for code in _OF_FRANCE},
    **{f"NL-{code}": code for code in ("AW", "BQ", "CW", "SX")},
    **{f"US-{code}": code for code in ("AS", "GU", "MP", "PR", "UM", "VI")},
    "FI-01": "AX",
    "FR-971": "GP",
    "FR-972": "MQ",
    "FR-973": "GF",
    "FR-974": "RE",
    "FR-976": "YT",
    "NL-BQ1": "BQ-BO",
    "NL-BQ2": "BQ-SA",
    "NL-BQ3": "BQ-SE",
    "NO-21": "SJ",
    "NO-22": "SJ",
}
_STATE: Final = {code[:2]: subdivision[:2] for subdivision, code in _SAME.items()}
_OUTSIDE_UNION: Final = frozenset({"FR-CP"})  # Clipperton has no code of its own

_SUBDIVISION: Final = re.compile(r"([A-Z]{2})-[A-Z0-9]{1,3}")
_OTHER_NAMES: Final = {"UK": "GB", "EL": "GR", "USA": "US", "XI": "GB-NIR"}
_LONGEST_CODE: Final = 6


def is_region(code: str) -> bool:
    """Whether this is a code that a policy or a fact can name.

    Args:
        code: `DE`, `US-CA`, `EU`, `EEA`; upper case only. `UK` and `EL` are no ISO codes.

    Cost: two set look-ups; for a subdivision one regular expression on at most six characters.
    """
    if code in COUNTRIES or code in GROUPS:
        return True
    if len(code) > _LONGEST_CODE:
        return False
    found = _SUBDIVISION.fullmatch(code)
    return found is not None and found[1] in COUNTRIES


def suggest_region(code: str) -> str | None:
    """The code that was probably meant by one that `is_region` refuses, or None.

    Knows other spellings (`us_ca`, `de`) and the names in everyday use (`UK`, `EL`, `USA`).
    """
    spelled = code.strip().upper().replace("_", "-")
    country, dash, subdivision = spelled.partition("-")
    meant = _OTHER_NAMES.get(country, country) + dash + subdivision
    return meant if meant != code and is_region(meant) else None


def place_in(place: str, group: str) -> bool | None:
    """Whether a place lies inside a group; a group is any code, a country as well as `EU`.

    A territory with an alpha-2 code of its own (`PR`, `PF`, `HK`) neither surely lies in the state
    that ISO 3166-2 also lists it under, nor surely outside: sources differ, so the answer is None.

    Args:
        place: where somebody or something is.
        group: what a rule asks for.

    Returns:
        True when the place is the group or lies inside it; None when the place only contains the
        group, when the relation is in doubt, or when a code is unknown; else False.

    Cost: set look-ups; the codes that hold a place are kept for the last 4,096 places.
    """
    if not is_region(place) or not is_region(group):
        return None
    if _SAME.get(group, group) in _holders(place) or group in _holders(place):
        return True
    if not _holders(group).isdisjoint((place, _SAME.get(place, place))):
        return None
    return None if _own_code_of_territory(place, group) else False


@lru_cache(maxsize=4_096)
def _holders(code: str) -> frozenset[str]:
    """Every code that surely holds a place, itself included."""
    same = _SAME.get(code, code)
    holders = {code, same}
    if code not in GROUPS:
        holders |= {code[:2], same[:2]}
    if code == "EU":
        holders.add("EEA")
    elif code not in _OUTSIDE_UNION and code not in GROUPS:
        holders.update(("EU", "EEA") if same[:2] in _EU else ())
        holders.update(("EEA",) if same[:2] in _EEA else ())
    return frozenset(holders)


def _own_code_of_territory(place: str, group: str) -> bool:
    """One code is a territory's own, the other the whole state that it may be counted under."""
    ours, theirs = _SAME.get(place, place)[:2], _SAME.get(group, group)[:2]
    return _STATE.get(ours) == group or _STATE.get(theirs) == place
