"""The statements of the store, built once.

who: a rater; what: an item's id; now, until: seconds; wanted: votes an item; sent_as: the client's key.
"""

from sqlalchemy import Double, Integer, Text, bindparam, case, delete, func, insert, literal, select, union_all, update

from llmtrain.rank.tables import STANDS, items, leases, votes

who, what = bindparam("who", type_=Text), bindparam("what", type_=Text)
now, wanted = bindparam("now", type_=Double), bindparam("wanted", type_=Integer)
_by_others = (leases.c.rater != who, leases.c.expires > now)  # living promises to other people
_judged = select(votes.c.number).where(votes.c.rater == who, votes.c.item == items.c.id, STANDS).exists()

ITEM_IDS = select(items.c.id)
ITEMS = select(items.c.id, items.c.content).order_by(items.c.position)
CONTENT = select(items.c.content).where(items.c.id == what)
ADD_ITEMS = insert(items)

# NEXT: the item that is handed out. First what the rater holds already, the newest lease of all. Else the better of the
# best that nobody holds and the best that somebody does: the index on (votes, position) finds the one at once, and the
# other is among as few as there are leases.
_promised = select(leases.c.item, func.count().label("many")).where(*_by_others).group_by(leases.c.item).subquery()
_load = items.c.votes + _promised.c.many
_held = (
    select(items.c.id, literal(0).label("turn"), literal(0).label("load"), items.c.position)
    .join_from(leases, items)
    .where(leases.c.rater == who, leases.c.expires > now, items.c.votes < wanted)
    .order_by(leases.c.expires.desc())
    .limit(1)
)
_free = (
    select(items.c.id, literal(1).label("turn"), items.c.votes.label("load"), items.c.position)
    .where(items.c.votes < wanted, items.c.id.not_in(select(leases.c.item).where(*_by_others)), ~_judged)
    .order_by(items.c.votes, items.c.position)
    .limit(1)
)
_shared = (
    select(items.c.id, literal(1).label("turn"), _load.label("load"), items.c.position)
    .join_from(_promised, items, items.c.id == _promised.c.item)
    .where(_load < wanted, ~_judged)
    .order_by(_load, items.c.position)
    .limit(1)
)
_each = union_all(*(select(found.subquery()) for found in (_held, _free, _shared))).subquery()
NEXT = select(_each.c.id).order_by(_each.c.turn, _each.c.load, _each.c.position).limit(1)

_lease = (leases.c.rater == who, leases.c.item == what)
RENEW = update(leases).where(*_lease).values(expires=bindparam("until"))
GRANT = insert(leases).values(rater=who, item=what, expires=bindparam("until"))
RELEASE = delete(leases).where(*_lease)

# What a vote needs to know, asked at once: a vote of this key; one of this rater on this item; the rater's lease; votes
# of the item; living leases of others on it
PLACE = select(
    select(votes.c.number).where(votes.c.key == bindparam("sent_as")).scalar_subquery().label("earlier"),
    select(votes.c.number).where(votes.c.rater == who, votes.c.item == what, STANDS).scalar_subquery().label("own"),
    select(leases.c.expires).where(*_lease).scalar_subquery().label("expires"),
    select(items.c.votes).where(items.c.id == what).scalar_subquery().label("taken"),
    select(func.count())
    .select_from(leases)
    .where(leases.c.item == what, *_by_others)
    .scalar_subquery()
    .label("promised"),
)
MORE = update(items).where(items.c.id == what).values(votes=items.c.votes + 1)
LESS = update(items).where(items.c.id == what).values(votes=items.c.votes - 1)

ADD_VOTE = insert(votes)
_seen = select(votes.c.number, votes.c.rater, votes.c.item, votes.c.ballot)
BY_NUMBER = _seen.where(votes.c.number == bindparam("which"))
BY_UNDO_KEY = _seen.where(votes.c.undo_key == bindparam("sent_as"))
NEWEST = _seen.where(votes.c.rater == who, STANDS).order_by(votes.c.number.desc()).limit(1)
MARK = update(votes).where(votes.c.number == bindparam("which")).values(undone=now, undo_key=bindparam("sent_as"))
STANDING = select(votes.c.item, votes.c.rater, votes.c.ballot, votes.c.time).where(STANDS).order_by(votes.c.number)

BY_RATER = (
    select(votes.c.rater, func.count().label("votes"), func.count(case((votes.c.skipped, 1))).label("skips"))
    .where(STANDS)
    .group_by(votes.c.rater)
    .order_by(votes.c.rater)
)
_mine_of_open = (
    select(func.count()).select_from(votes).join(items).where(votes.c.rater == who, STANDS, items.c.votes < wanted)
)
_open = func.count(case((items.c.votes < wanted, 1)))
COUNTS = select(
    func.count().label("items"),
    func.coalesce(func.sum(case((items.c.votes < wanted, items.c.votes), else_=wanted)), 0).label("done"),
    (_open - _mine_of_open.scalar_subquery()).label("left_for_me"),
).select_from(items)
WANTING = select(items.c.id).where(items.c.votes < wanted).limit(1)
