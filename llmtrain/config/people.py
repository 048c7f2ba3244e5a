"""Faults between the keys of what people open in a browser. No torch, no Hydra in here."""

import re
from typing import Any
from urllib.parse import urlsplit

from llmtrain.web.hosts import loopback

NAME = re.compile(r"[\w][\w .@-]{0,39}")
DATABASES = ("postgresql", "postgres")


def rank(config: Any) -> list[str]:
    """What is wrong with the sources, the raters or the database of `rank`."""
    faults = []
    if not config.sources:
        faults.append("sources: empty; name a sample run, a file of answers, or models")
    elif not all(source.strip() for source in config.sources):
        faults.append("sources: holds an empty entry; drop it")
    twice = sorted({source for source in config.sources if config.sources.count(source) > 1})
    faults += [f"sources: {source} is there twice; drop one" for source in twice]
    names = config.raters
    faults += [
        f"raters: {name!r} is no name; give 1 to 40 letters, digits, spaces, . @ _ -"
        for name in names
        if not NAME.fullmatch(name)
    ]
    faults += [f"raters: {name} is there twice; drop one" for name in sorted(set(names)) if names.count(name) > 1]
    if not names:
        faults.append("raters: empty; name at least one, such as raters=[me]")
    elif config.raters_per_prompt > len(names):
        faults.append(
            f"raters_per_prompt: {config.raters_per_prompt} with {len(names)} raters; name more in raters=[..]"
        )
    if config.database is not None:
        faults += _database(config.database)
    return faults


def _database(url: str) -> list[str]:
    try:
        parts = urlsplit(url)
        host, login = parts.hostname, parts.username or parts.password
        _ = parts.port
    except ValueError:
        return ["database: is no URL; write postgresql://host:5432/name"]
    if login:
        return ["database: holds a login, and a configuration is saved; give it by PGUSER and PGPASSWORD"]
    if parts.scheme.partition("+")[0] not in DATABASES or not host or not parts.path.strip("/"):
        return [f"database: {url!r} is not postgresql://host/name; null keeps votes in the run directory"]
    return []


def page(config: Any) -> list[str]:
    """A page that others can reach is asked for by name, and never by accident."""
    own, page = loopback(config.page.host), config.page
    if page.allow_remote and own:
        return [f"page.allow_remote: true does nothing with page.host={page.host}; set it to false"]
    if not own and not page.allow_remote:
        return [f"page.host: {page.host} lets other machines in; give page.allow_remote=true if they should"]
    return []
