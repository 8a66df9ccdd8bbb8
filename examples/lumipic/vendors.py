"""The other companies' services that Lumipic calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

FIRESTORE: Final = "https://firestore.googleapis.com"
STORAGE: Final = "https://storage.googleapis.com"
ANALYTICS: Final = "https://www.google-analytics.com"
FACEBOOK: Final = "https://graph.facebook.com"
X: Final = "https://ads-api.x.com"


@dataclass(frozen=True, slots=True)
class Vendors:
    """One method for each thing that we ask of somebody else.

    Attributes:
        client: shared by all requests.
        clock: seconds since 1970, for the time of an event.
    """

    client: httpx.Client
    clock: Callable[[], float]

    def register_account(self, user_id: int, email: str) -> None:
        """Tell Firestore who may sign in."""
        self._post(
            f"{FIRESTORE}/v1/projects/lumipic/databases/(default)/documents/accounts",
            params={"documentId": str(user_id)},
            json={"fields": {"email": {"stringValue": email}}},
        )

    def store_object(self, name: str, png: bytes) -> None:
        """Keep a picture in the bucket."""
        self._post(
            f"{STORAGE}/upload/storage/v1/b/lumipic-pictures/o",
            params={"uploadType": "media", "name": name},
            content=png,
            headers={"Content-Type": "image/png"},
        )

    def send_measurement(self, client_id: str, name: str, params: dict[str, Any]) -> None:
        """Report an event to Google Analytics (measurement protocol)."""
        self._post(
            f"{ANALYTICS}/mp/collect",
            params={"measurement_id": "G-LUMIPIC01"},
            json={"client_id": client_id, "events": [{"name": name, "params": params}]},
        )

    def send_event(
        self, name: str, properties: dict[str, Any], user: dict[str, Any] | None = None
    ) -> None:
        """Send an event to the Facebook pixel (conversions API)."""
        event = {
            "event_name": name,
            "event_time": int(self.clock()),
            "action_source": "website",
            "custom_data": properties,
        }
        if user:
            event["user_data"] = user
        self._post(f"{FACEBOOK}/v21.0/700100200300/events", json={"data": [event]})

    def send_interaction(self, event_id: str, page: str) -> None:
        """Send an event to the X pixel (conversion API)."""
        self._post(
            f"{X}/12/measurement/conversions/o8z6j",
            json={"conversions": [{"event_id": event_id, "conversion_page": page}]},
        )

    def _post(self, url: str, **request: Any) -> None:
        self.client.post(url, **request).raise_for_status()
