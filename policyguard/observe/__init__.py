"""Tells what happened: OpenTelemetry in `otel`. Never changes a verdict.

Layer: observe. Nothing is imported here: `policyguard.observe.otel` loads OpenTelemetry's API when
a guard is observed, and not before.
"""
