"""Tables of names, written as plain text.

Layer: inspectors. Imports nothing of policyguard.
"""


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())
