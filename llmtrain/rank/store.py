"""The votes of people in a database: each acknowledged vote is on the disk exactly once, and none is ever deleted.

A vote comes with a key that the client drew (a UUID): sent again, it is the same vote. A vote taken back is marked, not
removed. One (item, rater) has at most one standing vote; one item at most `raters_per_prompt` votes and promises of a
vote: who gets an item gets a lease on it, and a place that is kept until the lease ends.
"""

import json
import time
from collections.abc import Callable, Sequence

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.engine import URL

from llmtrain.data.records import Message
from llmtrain.errors import LlmtrainError
from llmtrain.rank.database import Database
from llmtrain.rank.records import Ballot, Item, Progress, Vote, dense
from llmtrain.rank.tables import STANDS, items, leases, votes


class Refused(LlmtrainError):
    """A vote that cannot be stored as things are. Its message is a sentence for the rater."""


class Store:
    """Items, votes and leases in the database at `url`, which any number of processes may share.

    raters_per_prompt   votes wanted for an item, skips among them; another number at reopening is the rule from then on
    lease_seconds       how long an item that was handed out waits for its vote before somebody else may get it
    clock               seconds since 1970

    Raises ConfigError for a url of no use; every method raises StoreError when the database fails.
    """

    def __init__(
        self, url: str | URL, raters_per_prompt: int, lease_seconds: float, clock: Callable[[], float] = time.time
    ):
        self._database = Database(url)
        self._wanted, self._lease_seconds, self._clock = raters_per_prompt, lease_seconds, clock
        self._read: dict[str, Item] = {}  # an item never changes

    def close(self) -> None:
        self._database.close()

    def add(self, new: Sequence[Item]) -> int:
        """Add what is not yet there, in this order behind the others; how many were new. Nothing is ever removed."""

        def work(connection: Connection) -> int:
            known = set(connection.scalars(select(items.c.id)))
            missing = {item.id: item for item in new if item.id not in known}
            rows = [
                {"id": item.id, "position": position, "votes": 0, "content": _to_json(item)}
                for position, item in enumerate(missing.values(), start=len(known))
            ]
            if rows:
                connection.execute(insert(items), rows)
            return len(rows)

        return self._database.write(work)

    def next(self, rater: str) -> Item | None:
        """What this rater is to judge now: what they hold already, else the item with fewest votes and leases.

        None when no item has a place left for them. Handing out begins the lease, or begins it anew.
        """

        def work(connection: Connection) -> Item | None:
            now = self._clock()
            chosen = self._held(connection, rater, now) or self._free(connection, rater, now)
            if chosen is None:
                return None
            self._lease(connection, rater, chosen, now)
            return self._item(connection, chosen)

        return self._database.write(work)

    def vote(self, rater: str, key: str, item: str, ballot: Ballot) -> bool:
        """Store a ballot on the item of this id; True once it is on the disk, False when `key` had been stored before.

        Raises Refused when the key stands for another vote, or the item has no place for one of this rater;
        ValueError when the ballot does not fit the item.
        """

        def work(connection: Connection) -> bool:
            said = ballot.to_json()
            query = select(votes.c.rater, votes.c.item, votes.c.ballot).where(votes.c.key == key)
            earlier = connection.execute(query).one_or_none()
            if earlier is not None and tuple(earlier) != (rater, item, said):
                raise Refused("This key was used for another vote: reload the page.")
            if earlier is not None:
                return False
            now = self._clock()
            self._require_place(connection, rater, item, now)
            _fits(ballot, self._item(connection, item))
            row = dict(key=key, rater=rater, item=item, ballot=said, skipped=ballot.ranks is None, time=now)
            connection.execute(insert(votes), row)
            connection.execute(update(items).where(items.c.id == item).values(votes=items.c.votes + 1))
            connection.execute(delete(leases).where(leases.c.rater == rater, leases.c.item == item))
            return True

        return self._database.write(work)

    def undo(self, rater: str, key: str) -> tuple[Item, Ballot] | None:
        """Take back the newest standing vote of this rater, who gets the item again; None when there is none.

        A repeated `key` gives the same answer and takes nothing back. Raises Refused for a key of somebody else.
        """

        def work(connection: Connection) -> tuple[Item, Ballot] | None:
            seen = select(votes.c.number, votes.c.rater, votes.c.item, votes.c.ballot)
            earlier = connection.execute(seen.where(votes.c.undo_key == key)).one_or_none()
            if earlier is not None and earlier.rater != rater:
                raise Refused("This key was used by somebody else: reload the page.")
            if earlier is not None:
                return self._item(connection, earlier.item), Ballot.from_json(earlier.ballot)
            mine = seen.where(votes.c.rater == rater, STANDS).order_by(votes.c.number.desc()).limit(1)
            newest = connection.execute(mine).one_or_none()
            if newest is None:
                return None
            now = self._clock()
            marked = update(votes).where(votes.c.number == newest.number).values(undone=now, undo_key=key)
            connection.execute(marked)
            connection.execute(update(items).where(items.c.id == newest.item).values(votes=items.c.votes - 1))
            self._lease(connection, rater, newest.item, now)
            return self._item(connection, newest.item), Ballot.from_json(newest.ballot)

        return self._database.write(work)

    def progress(self, rater: str) -> Progress:
        def work(connection: Connection) -> Progress:
            counts = connection.execute(select(items.c.votes, func.count()).group_by(items.c.votes)).all()
            per_rater = select(votes.c.rater, func.count()).where(STANDS).group_by(votes.c.rater)
            raters: dict[str, int] = dict(connection.execute(per_rater.order_by(votes.c.rater)).tuples().all())
            mine = select(func.count()).select_from(votes).where(votes.c.rater == rater, STANDS)
            open_to_me = mine.join_from(votes, items).where(items.c.votes < self._wanted)
            return Progress(
                done=sum(min(number, self._wanted) * many for number, many in counts),
                total=self._wanted * sum(many for _, many in counts),
                mine=raters.get(rater, 0),
                skipped=connection.scalar(mine.where(votes.c.skipped)) or 0,
                left_for_me=sum(many for number, many in counts if number < self._wanted)
                - (connection.scalar(open_to_me) or 0),
                raters=raters,
            )

        return self._database.read(work)

    def complete(self) -> bool:
        """Whether no item wants another vote."""
        wanting = select(items.c.id).where(items.c.votes < self._wanted).limit(1)
        return self._database.read(lambda connection: connection.scalar(wanting)) is None

    def item(self, item: str) -> Item | None:
        """The item of this id, None when there is none."""
        query = select(items.c.content).where(items.c.id == item)
        if item not in self._read and (content := self._database.read(lambda c: c.scalar(query))) is not None:
            self._known(item, content)
        return self._read.get(item)

    def items(self) -> list[Item]:
        """All items, in the order in which they were added."""

        def work(connection: Connection) -> list[Item]:
            query = select(items.c.id, items.c.content).order_by(items.c.position)
            return [self._known(row.id, row.content) for row in connection.execute(query)]

        return self._database.read(work)

    def votes(self) -> list[Vote]:
        """The standing votes, oldest first."""

        def work(connection: Connection) -> list[Vote]:
            query = select(votes.c.item, votes.c.rater, votes.c.ballot, votes.c.time).where(STANDS)
            return [
                Vote(self._item(connection, row.item), row.rater, Ballot.from_json(row.ballot), row.time)
                for row in connection.execute(query.order_by(votes.c.number)).all()
            ]

        return self._database.read(work)

    def _held(self, connection: Connection, rater: str, now: float) -> str | None:
        """The item handed to the rater last whose lease lives."""
        query = (
            select(leases.c.item)
            .join(items)
            .where(leases.c.rater == rater, leases.c.expires > now, items.c.votes < self._wanted)
            .order_by(leases.c.expires.desc())
            .limit(1)
        )
        return connection.scalar(query)

    def _free(self, connection: Connection, rater: str, now: float) -> str | None:
        """The item with fewest votes and leases that has a place for one more and no vote of the rater."""
        promised = (
            select(leases.c.item, func.count().label("many"))
            .where(leases.c.rater != rater, leases.c.expires > now)
            .group_by(leases.c.item)
            .subquery()
        )
        load = items.c.votes + func.coalesce(promised.c.many, 0)
        judged = select(votes.c.item).where(votes.c.rater == rater, STANDS, votes.c.item == items.c.id).exists()
        query = (
            select(items.c.id)
            .outerjoin(promised, promised.c.item == items.c.id)
            .where(items.c.votes < self._wanted, load < self._wanted, ~judged)
            .order_by(load, items.c.position)
            .limit(1)
        )
        return connection.scalar(query)

    def _lease(self, connection: Connection, rater: str, item: str, now: float) -> None:
        which = (leases.c.rater == rater, leases.c.item == item)
        expires = now + self._lease_seconds
        if not connection.execute(update(leases).where(*which).values(expires=expires)).rowcount:
            connection.execute(insert(leases).values(rater=rater, item=item, expires=expires))

    def _require_place(self, connection: Connection, rater: str, item: str, now: float) -> None:
        """Raises Refused unless this rater was handed the item and it has a place for them."""
        judged = select(votes.c.number).where(votes.c.rater == rater, votes.c.item == item, STANDS)
        if connection.scalar(judged) is not None:
            raise Refused("You have judged this prompt already: undo that vote to change it.")
        lease = select(leases.c.expires).where(leases.c.rater == rater, leases.c.item == item)
        expires = connection.scalar(lease)
        if expires is None:
            raise Refused("This prompt was never handed to you: reload the page.")
        of_others = (leases.c.item == item, leases.c.rater != rater, leases.c.expires > now)
        promised = select(func.count()).select_from(leases).where(*of_others)
        taken = connection.scalar(select(items.c.votes).where(items.c.id == item)) or 0
        if expires <= now:  # whose lease ended has a place only where nobody else holds it
            taken += connection.scalar(promised) or 0
        if taken >= self._wanted:
            raise Refused("This prompt has got all its votes while you had it; yours was not stored. Reload the page.")

    def _item(self, connection: Connection, item: str) -> Item:
        known = self._read.get(item)
        if known is not None:
            return known
        return self._known(item, connection.scalars(select(items.c.content).where(items.c.id == item)).one())

    def _known(self, item: str, content: str) -> Item:
        if item not in self._read:
            row = json.loads(content)
            messages = tuple(Message(role, said) for role, said in row["messages"])
            self._read[item] = Item(item, messages, tuple(row["responses"]), tuple(row["sources"]))
        return self._read[item]


def _to_json(item: Item) -> str:
    messages = [[message.role, message.content] for message in item.messages]
    return json.dumps({"messages": messages, "responses": item.responses, "sources": item.sources}, ensure_ascii=True)


def _fits(ballot: Ballot, item: Item) -> None:
    """Raises ValueError unless the ballot ranks every response of the item, or skips it."""
    ranks = ballot.ranks
    if (ranks is None) == (ballot.skip is None):
        raise ValueError("a ballot holds either ranks or the reason of a skip")
    if ranks is not None and (len(ranks) != len(item.responses) or ranks != dense(ranks)):
        raise ValueError(f"{ranks} are no ranks from 1 on of {len(item.responses)} responses")
    if ballot.flags and len(ballot.flags) != len(item.responses):
        raise ValueError(f"{len(ballot.flags)} sets of flags for {len(item.responses)} responses")
