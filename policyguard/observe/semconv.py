"""The names of everything that is observed: events, instruments and their attributes.

Layer: observe. These names are part of the interface (docs/reference/telemetry.md); they follow the
OpenTelemetry naming rules, and take over its own names where it has one. Start reading anywhere.
"""

from __future__ import annotations

from typing import Final

SCOPE: Final = "policyguard"
# An identifier of this set of names; nothing is served there.
SCHEMA_URL: Final = "https://policyguard.example/schemas/1.0.0"

VIOLATION: Final = "policyguard.violation"
EVALUATIONS: Final = "policyguard.policy.evaluations"
VIOLATIONS: Final = "policyguard.violations"
DURATION: Final = "policyguard.evaluation.duration"
DURATION_BUCKETS: Final = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1)

POLICY_ID: Final = "policyguard.policy.id"
POLICY_VERSION: Final = "policyguard.policy.version"
RULE_ID: Final = "policyguard.rule.id"
CLAUSE_IDS: Final = "policyguard.clause.ids"
OUTCOME: Final = "policyguard.decision.outcome"
VERDICT: Final = "policyguard.decision.verdict"
REASON: Final = "policyguard.decision.reason"
MODE: Final = "policyguard.enforcement.mode"
APPLIED: Final = "policyguard.enforcement.applied"
PURPOSE: Final = "policyguard.purpose"
DATA_CATEGORIES: Final = "policyguard.data.categories"
DATA_FORMS: Final = "policyguard.data.forms"
DATA_FIELDS: Final = "policyguard.data.fields"
RECIPIENT_ID: Final = "policyguard.recipient.id"
RECIPIENT_CATEGORY: Final = "policyguard.recipient.category"
CHOKE_POINT: Final = "policyguard.choke_point"
FINGERPRINT: Final = "policyguard.fingerprint"
VIOLATION_COUNT: Final = "policyguard.violation.count"

# OpenTelemetry's own names.
SERVER_ADDRESS: Final = "server.address"
CODE_FILE: Final = "code.file.path"
CODE_LINE: Final = "code.line.number"
SECURITY_RULE_NAME: Final = "security_rule.name"
SECURITY_RULESET: Final = "security_rule.ruleset.name"

ALLOW: Final = "allow"
DENY: Final = "deny"
WARN: Final = "warn"
"""Outcomes: the flow was allowed; was denied and stopped; was denied and passed."""
