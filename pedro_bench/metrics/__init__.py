"""Metrics: pure functions, each with the version that enters the keys of the runs it scores."""

from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result", covariant=True)


class Versioned(Generic[Arguments, Result]):
    """A metric with its version; called, it is the function.

    Attributes:
        version: Whole number, raised whenever the same answers get another score.
    """

    def __init__(self, function: Callable[Arguments, Result], version: int) -> None:
        self.version = version
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        """Score predictions."""
        return self.__wrapped__(*args, **kwargs)


def versioned(
    version: int,
) -> Callable[[Callable[Arguments, Result]], Versioned[Arguments, Result]]:
    """Give a metric its version."""
    return lambda function: Versioned(function, version)
