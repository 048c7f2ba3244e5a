"""The statements of the store, built once.

who: a rater; what: an item's id; now, until: seconds; wanted: votes an item; sent_as: the client's key.
"""

from sqlalchemy import Double, Integer, Text, bindparam, delete, func, insert, select, update

from llmtrain.rank.tables import STANDS, items, leases, votes

who, what = bindparam("who", type_=Text), bindparam("what", type_=Text)
now, wanted = bindparam("now", type_=Double), bindparam("wanted", type_=Integer)
_by_others = (leases.c.rater != who, leases.c.expires > now)  # living promises to other people
_judged = select(votes.c.number).where(votes.c.rater == who, votes.c.item == items.c.id, STANDS).exists()

ITEM_IDS = select(items.c.id)
ITEMS = select(items.c.id, items.c.content).order_by(items.c.position)
CONTENT = select(items.c.content).where(items.c.id == what)
ADD_ITEMS = insert(items)

# An item is handed out: what the rater holds already; else the better of the best that nobody holds and the best that
# somebody does. The first is found by the index on (votes, position), the second among as few as there are leases.
HELD = (
    select(leases.c.item)
    .join(items)
    .where(leases.c.rater == who, leases.c.expires > now, items.c.votes < wanted)
    .order_by(leases.c.expires.desc())
    .limit(1)
)
FREE = (
    select(items.c.id, items.c.votes.label("load"), items.c.position)
    .where(items.c.votes < wanted, items.c.id.not_in(select(leases.c.item).where(*_by_others)), ~_judged)
    .order_by(items.c.votes, items.c.position)
    .limit(1)
)
_promised = select(leases.c.item, func.count().label("many")).where(*_by_others).group_by(leases.c.item).subquery()
_load = (items.c.votes + _promised.c.many).label("load")
SHARED = (
    select(items.c.id, _load, items.c.position)
    .join_from(_promised, items, items.c.id == _promised.c.item)
    .where(_load < wanted, ~_judged)
    .order_by(_load, items.c.position)
    .limit(1)
)
_lease = (leases.c.rater == who, leases.c.item == what)
RENEW = update(leases).where(*_lease).values(expires=bindparam("until"))
GRANT = insert(leases).values(rater=who, item=what, expires=bindparam("until"))
EXPIRES = select(leases.c.expires).where(*_lease)
RELEASE = delete(leases).where(*_lease)
PROMISED = select(func.count()).select_from(leases).where(leases.c.item == what, *_by_others)

TAKEN = select(items.c.votes).where(items.c.id == what)
MORE = update(items).where(items.c.id == what).values(votes=items.c.votes + 1)
LESS = update(items).where(items.c.id == what).values(votes=items.c.votes - 1)

OWN = select(votes.c.number).where(votes.c.rater == who, votes.c.item == what, STANDS)
ADD_VOTE = insert(votes)
_seen = select(votes.c.number, votes.c.rater, votes.c.item, votes.c.ballot)
BY_KEY = _seen.where(votes.c.key == bindparam("sent_as"))
BY_UNDO_KEY = _seen.where(votes.c.undo_key == bindparam("sent_as"))
NEWEST = _seen.where(votes.c.rater == who, STANDS).order_by(votes.c.number.desc()).limit(1)
MARK = update(votes).where(votes.c.number == bindparam("which")).values(undone=now, undo_key=bindparam("sent_as"))
STANDING = select(votes.c.item, votes.c.rater, votes.c.ballot, votes.c.time).where(STANDS).order_by(votes.c.number)

BY_COUNT = select(items.c.votes, func.count()).group_by(items.c.votes)
BY_RATER = select(votes.c.rater, func.count()).where(STANDS).group_by(votes.c.rater).order_by(votes.c.rater)
_mine = select(func.count()).select_from(votes).where(votes.c.rater == who, STANDS)
MY_SKIPS = _mine.where(votes.c.skipped)
MINE_OF_OPEN = (
    select(func.count()).select_from(votes).join(items).where(votes.c.rater == who, STANDS, items.c.votes < wanted)
)
WANTING = select(items.c.id).where(items.c.votes < wanted).limit(1)
