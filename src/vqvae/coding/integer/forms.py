"""Which classes have an integer form: one table for layers, one for priors and one for likelihoods."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from vqvae.errors import UserError

Form = TypeVar("Form")
Make = TypeVar("Make", bound=Callable[..., Any])


class Forms(Generic[Form]):
    """The integer forms of one sort of component, by the class of the component.

    A subclass does not inherit the form of its base class, because the subclass may compute something else.

    Args:
        sort: the sort of component, for errors.
    """

    def __init__(self, sort: str) -> None:
        self.sort = sort
        self._makers: dict[type, Callable[[Any], Form]] = {}

    def of(self, *classes: type) -> Callable[[Make], Make]:
        """Return a decorator for a class or function that makes the integer form of objects of these classes."""

        def add(maker: Make) -> Make:
            self._makers |= dict.fromkeys(classes, maker)
            return maker

        return add

    def __contains__(self, component: object) -> bool:
        """Say whether the component has an integer form."""
        return type(component) in self._makers

    def make(self, component: object) -> Form:
        """Return the integer form of a component.

        Raises:
            UserError: when the component's class has no integer form.
        """
        if component not in self:
            known = ", ".join(sorted(each.__name__ for each in self._makers))
            raise UserError(f"the {self.sort} {type(component).__name__} has no integer form; {known} have one")
        return self._makers[type(component)](component)
