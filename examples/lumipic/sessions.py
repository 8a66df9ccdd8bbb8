"""Who is calling: passwords and session tokens."""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Sessions:
    """Issues signed tokens and reads them back.

    Attributes:
        secret: known to this service alone.
    """

    secret: bytes

    def token(self, user_id: int) -> str:
        """A token that says who signed in."""
        return f"{user_id}.{self._sign(str(user_id))}"

    def user_id(self, authorization: str) -> int | None:
        """The user of an Authorization header, or None for nobody."""
        who, _, signature = authorization.removeprefix("Bearer ").partition(".")
        if not who.isdecimal() or not hmac.compare_digest(signature, self._sign(who)):
            return None
        return int(who)

    def subject(self, scope: Mapping[str, Any]) -> int | None:
        """The user of an ASGI request, or None for nobody."""
        for name, value in scope["headers"]:
            if name == b"authorization":
                return self.user_id(value.decode("latin-1"))
        return None

    def _sign(self, who: str) -> str:
        return hmac.new(self.secret, who.encode(), "sha256").hexdigest()


def hash_password(password: str) -> str:
    """A salted scrypt hash, as it is stored."""
    salt = os.urandom(16)
    key = hashlib.scrypt(password.encode(), salt=salt, n=4096, r=8, p=1)
    return f"scrypt${salt.hex()}${key.hex()}"
