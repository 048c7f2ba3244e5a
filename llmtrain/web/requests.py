"""What the guard found out about a request, for the handlers behind it."""

from typing import Any

from starlette.requests import Request
from starlette.types import Scope


def sender(request: Request) -> str:
    """The name of the person whose request this is."""
    name: str = request.state.name
    return name


def fields(request: Request) -> dict[str, Any]:
    """The JSON object that a POST holds."""
    found: dict[str, Any] = request.state.fields
    return found


def cookie(scope: Scope) -> str:
    """Cookies know no ports, so the name does: two pages on one machine do not throw each other's people out."""
    return f"llmtrain-{scope['server'][1]}"
