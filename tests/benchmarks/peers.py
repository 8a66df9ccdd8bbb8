"""The same policy in other engines, each prepared as its documentation advises for speed.

A peer that isn't installed is left out, and the report says so. Start reading at `PEERS`.
"""

from __future__ import annotations

import importlib
import io
import json
import logging
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

from tests.benchmarks.subjects import ADULT, CONDITIONS, Request, Subject

Ask = Callable[[Request], bool]
"""One decision; what can be prepared before is prepared before."""


def cedarpy(subject: Subject) -> Ask:
    """Cedar in Rust, policies and entities parsed once into handles."""
    cedar = importlib.import_module("cedarpy")
    when = {
        "none": "",
        "consent": " when { context.consent }",
        "consent and age": f" when {{ context.consent && context.age >= {ADULT} }}",
    }
    policies = cedar.PolicySet.from_str(
        "\n".join(
            f'permit(principal == Recipient::"{key[2]}", action == Action::"{key[1]}", '
            f'resource == Data::"{key[0]}"){when[condition]};'
            for key, condition in subject.rules.items()
        )
    )
    entities = cedar.Entities.from_json_str("[]")

    def ask(request: Request) -> bool:
        data, purpose, recipient = request.key
        question = {
            "principal": f'Recipient::"{recipient}"',
            "action": f'Action::"{purpose}"',
            "resource": f'Data::"{data}"',
            "context": {"consent": request.consent, "age": request.age},
        }
        return bool(cedar.is_authorized(question, policies, entities).allowed)

    return ask


_MODEL = """
[request_definition]
r = sub, obj, act, consent, age
[policy_definition]
p = sub, obj, act, consent, age
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub == p.sub && r.obj == p.obj && r.act == p.act && r.consent >= p.consent && r.age >= p.age
"""


def casbin(subject: Subject) -> Ask:
    """Casbin's FastEnforcer, indexed on all three fields of a rule."""
    library = importlib.import_module("casbin")
    logging.getLogger("casbin").setLevel(logging.ERROR)
    model = importlib.import_module("casbin.fast_enforcer").FastModel([0, 1, 2])
    model.load_model_from_text(_MODEL)
    enforcer = library.FastEnforcer(model, cache_key_order=[0, 1, 2])
    asks = {"none": (0, 0), "consent": (1, 0), "consent and age": (1, ADULT)}
    enforcer.add_policies(
        [[key[2], key[0], key[1], *asks[condition]] for key, condition in subject.rules.items()]
    )

    def ask(request: Request) -> bool:
        data, purpose, recipient = request.key
        return bool(enforcer.enforce(recipient, data, purpose, int(request.consent), request.age))

    return ask


def oso(subject: Subject) -> Ask:
    """oso, one Polar rule each; its index works on the constants."""
    engine = importlib.import_module("oso").Oso()
    rule = {
        "none": 'may("{}", "{}", "{}", _c, _a);',
        "consent": 'may("{}", "{}", "{}", c, _a) if c = 1;',
        "consent and age": f'may("{{}}", "{{}}", "{{}}", c, a) if c = 1 and a >= {ADULT};',
    }
    with redirect_stdout(io.StringIO()):  # it warns that no rule is called `allow`
        engine.load_str("\n".join(rule[what].format(*key) for key, what in subject.rules.items()))

    def ask(request: Request) -> bool:
        question = (*request.key, int(request.consent), request.age)
        return bool(engine.query_rule_once("may", *question))

    return ask


_REGO = """
package bench
import rego.v1
default allow := false
needs := data.rules[input.data][input.purpose][input.recipient]
allow if { needs == 0 }
allow if { needs == 1; input.consent == 1 }
allow if { needs == 2; input.consent == 1; input.age >= ADULT }
"""


def regorus(subject: Subject) -> Ask:
    """Rego in Rust, with an index made by hand: the rules are one nested object."""
    engine = importlib.import_module("regorus").Engine()
    engine.add_policy("bench.rego", _REGO.replace("ADULT", str(ADULT)))
    tree: dict[str, Any] = {}
    for (data, purpose, recipient), condition in subject.rules.items():
        below = tree.setdefault(data, {}).setdefault(purpose, {})
        below[recipient] = CONDITIONS.index(condition)
    engine.add_data_json(json.dumps({"rules": tree}))

    def ask(request: Request) -> bool:
        data, purpose, recipient = request.key
        engine.set_input(
            {
                "data": data,
                "purpose": purpose,
                "recipient": recipient,
                # The binding turns False into something true, so consent goes over as a number.
                "consent": int(request.consent),
                "age": request.age,
            }
        )
        return bool(engine.eval_rule("data.bench.allow"))

    return ask


PEERS: dict[str, tuple[Callable[[Subject], Ask], float]] = {
    "cedarpy, prepared handles": (cedarpy, 300),
    "casbin FastEnforcer": (casbin, 130),
    "oso": (oso, 70),
    "regorus, index made by hand": (regorus, 18),
}
"""Name to (how it is set up, how many times faster policyguard should be)."""
