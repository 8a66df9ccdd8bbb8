"""What a guard holds code to right now: one policy and everything derived from it.

Layer: enforce. A reload, or a change of any setting, makes a new one and swaps it in whole: whoever
took one works with parts that fit each other to the end. Start reading at `InForce`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from policyguard.enforce.modes import Modes
from policyguard.enforce.named import Named
from policyguard.enforce.routes import Jobs, Routes
from policyguard.enforce.waivers import NO_WAIVERS, Waivers
from policyguard.engine.compile import Snapshot
from policyguard.policy.datamap import DataMap
from policyguard.policy.hosts import HostTable, parse_host_pattern
from policyguard.policy.schemas import Schema

if TYPE_CHECKING:
    from policyguard.inspectors.sql.catalog import Catalog

Undescribed = Literal["cannot_tell", "clean"]

NO_ROUTES: Final = Routes(())
NO_JOBS: Final = Jobs(())


@dataclass(frozen=True, slots=True, eq=False)
class InForce:
    """One policy with its surroundings. Never changes.

    Attributes:
        snapshot: the compiled policy.
        data_map: what tables, columns and fields hold; None if there is none.
        modes: what is done about denied flows.
        waivers: denied flows that pass for a while.
        routes: purposes by route.
        jobs: purposes by job.
        schema: tables, columns and views that are known beside the labels; None if there are none.
        undescribed: what a table of the schema is about which nobody says anything.
        functions: reviewed own functions of SQL: name to what they do to a value.
        shadow: a second policy that is only compared; None if there is none.
        hosts: which hosts belong to which recipient.
        named: checks words that code names.
        planner: plans of statements, made when the first one is checked.
    """

    snapshot: Snapshot
    data_map: DataMap | None = None
    modes: Modes = field(default_factory=Modes)
    waivers: Waivers = NO_WAIVERS
    routes: Routes = NO_ROUTES
    jobs: Jobs = NO_JOBS
    schema: Schema | None = None
    undescribed: Undescribed = "cannot_tell"
    functions: Mapping[str, str] = field(default_factory=dict)
    shadow: Snapshot | None = None
    hosts: HostTable = field(default_factory=lambda: HostTable(()))
    named: Named = field(init=False)
    planner: list[Any] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "named", Named(self.snapshot))

    @property
    def fields(self) -> DataMap | None:
        """The data map, if it labels keys of payloads."""
        found = self.data_map
        return found if found is not None and found.model.fields else None

    def catalog(self) -> Catalog | None:
        """What is known about tables, for the inspector of SQL; None without a data map.

        Cost: O(tables); loads the inspector.
        """
        from policyguard.inspectors.sql.catalog import catalog_of  # noqa: PLC0415 - SQL is loaded when first used

        if self.data_map is None:
            return None
        return catalog_of(
            self.data_map, self.schema, undescribed=self.undescribed, functions=self.functions
        )

    def but(self, **changes: Any) -> InForce:
        """The same with some parts exchanged."""
        made = replace(self, **changes)
        if made.data_map is self.data_map and made.schema is self.schema:
            object.__setattr__(made, "planner", self.planner)
        return made


def hosts_of(snapshot: Snapshot) -> HostTable:
    """The table of all declared recipients' hosts."""
    return HostTable(
        (name, [parse_host_pattern(host) for host in who.hosts])
        for name, who in snapshot.context.recipients.items()
    )
