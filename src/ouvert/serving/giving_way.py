"""Threads for what takes long and is no answer: looking inside gives way to those who wait for words."""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from ouvert import inspection

P = ParamSpec("P")
T = TypeVar("T")

AT_ONCE = 4


def begin() -> None:
    """A thread's first act, when somebody looks: what computes is imported no earlier."""
    inspection.lower_priority()


LOOKING = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ouvert-look", initializer=begin)


async def giving_way(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`work(...)` in a thread of low priority, as are the threads that it starts. Raises what `work` raises."""
    inside = partial(contextvars.copy_context().run, work, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(LOOKING, inside)
