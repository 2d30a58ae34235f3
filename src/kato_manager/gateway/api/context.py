"""What every route needs of the control process; `context_of` gets it from a request."""

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request

from kato_manager.gateway.idle import Counted
from kato_manager.gateway.keeper import Keeper
from kato_manager.gateway.wake import Waker
from kato_manager.manager import Manager
from kato_manager.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    manager: Manager
    keeper: Keeper
    waker: Waker
    counted: Counted
    token: str
    settings: Callable[[], Settings]  # with the port that the gateway really has
    is_closing: Callable[[], bool] = lambda: False  # streams end then


def context_of(request: Request) -> Context:
    context: Context = request.app.state.context
    return context
