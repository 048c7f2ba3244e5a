"""The tables of the votes. Nothing is deleted from them but a lease whose vote has come."""

from sqlalchemy import Boolean, Column, ColumnElement, Double, ForeignKey, Index, Integer, String, Table, Text

from llmtrain.rank.database import META

items = Table(
    "rank_items",
    META,
    Column("id", String(64), primary_key=True),
    Column("position", Integer, nullable=False, unique=True),
    Column("votes", Integer, nullable=False),  # how many stand; changes with rank_votes, in one transaction
    Column("content", Text, nullable=False),  # JSON in ASCII: PostgreSQL has no text with NUL or half a surrogate pair
)
Index("rank_items_by_votes", items.c.votes, items.c.position)
votes = Table(
    "rank_votes",
    META,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("key", String(36), nullable=False, unique=True),
    Column("rater", Text, nullable=False),
    Column("item", ForeignKey(items.c.id), nullable=False),
    Column("ballot", Text, nullable=False),
    Column("skipped", Boolean, nullable=False),
    Column("time", Double, nullable=False),
    Column("undone", Double),  # when it was taken back; NULL stands
    Column("undo_key", String(36), unique=True),
)
STANDS: ColumnElement[bool] = votes.c.undone.is_(None)
Index(
    "rank_votes_standing",
    *(votes.c.rater, votes.c.item, votes.c.skipped),
    sqlite_where=STANDS,
    postgresql_where=STANDS,
)
Index("rank_votes_once", votes.c.rater, votes.c.item, unique=True, sqlite_where=STANDS, postgresql_where=STANDS)
leases = Table(
    "rank_leases",
    META,
    Column("rater", Text, primary_key=True),
    Column("item", ForeignKey(items.c.id), primary_key=True),
    Column("expires", Double, nullable=False),  # a row stays behind: the item was handed to this rater
)
