"""What is made of an instance once, and remembered as long as the instance lives."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


def remembered(make: Callable[[Any], T]) -> Callable[[Any], T]:
    """Remember what a function makes of an instance; that must not hold on to the instance itself.

    Examples
    --------
    >>> class Plant: ...
    >>> made = remembered(lambda plant: object())
    >>> plant = Plant()
    >>> made(plant) is made(plant)
    True
    """
    known: WeakKeyDictionary[Any, T] = WeakKeyDictionary()

    @wraps(make)
    def of(instance: Any) -> T:
        if instance not in known:
            known[instance] = make(instance)
        return known[instance]

    return of
