"""The processes of a run, without torch until there are several: what needs no device asks for no more."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Group:
    """The processes of a run. With one process every method is the identity."""

    rank: int
    world: int

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process's part of `items`, every world-th one."""
        return items[self.rank :: self.world]

    def gather(self, mine: Sequence[Any]) -> list[Any]:
        """The inverse of `share`: everybody's items in their first order."""
        if self.world == 1:
            return list(mine)
        parts = self._all(list(mine))
        merged = [None] * sum(map(len, parts))
        for rank, part in enumerate(parts):
            merged[rank :: self.world] = part
        return merged

    def sums(self, values: dict[str, float]) -> dict[str, float]:
        """Sum named numbers over the processes; all must bring the same names."""
        if self.world == 1:
            return values
        parts = self._all(values)
        return {name: sum(part.get(name, 0.0) for part in parts) for name in sorted(set().union(*parts))}

    def any(self, flag: int | None) -> int | None:
        """The first process's flag that is set: all stop when one is told to."""
        if self.world == 1:
            return flag
        return next((part for part in self._all(flag) if part is not None), None)

    def _all(self, mine: Any) -> list[Any]:
        """What each process brings, in the order of their ranks."""
        import torch.distributed as dist

        parts: list[Any] = [None] * self.world
        dist.all_gather_object(parts, mine)
        return parts
