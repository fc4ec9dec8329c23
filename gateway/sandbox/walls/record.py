"""Which walls stand, which could not be built, and which of those that ends everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class WallError(Exception):
    """A wall cannot be built. ``optional``: the caller may start again without ``layer``."""

    def __init__(self, layer: str | None, reason: str, *, optional: bool = False) -> None:
        """Name the layer, or None when it is nothing that could be left out."""
        super().__init__(reason)
        self.layer = layer
        self.optional = optional

    def to_json(self) -> dict[str, Any]:
        """Return the form that crosses a process boundary."""
        return {"error": str(self), "layer": self.layer, "optional": self.optional}

    @staticmethod
    def from_json(value: dict[str, Any]) -> WallError:
        """Read what ``to_json`` wrote."""
        return WallError(value["layer"], value["error"], optional=value["optional"])


class Walls:
    """The layers that are on, and why others are not."""

    def __init__(self, required: list[str], skip: list[str]) -> None:
        """``skip`` are layers that an earlier attempt failed to build."""
        self.on: dict[str, bool] = {}
        self.notes: dict[str, str] = {}
        self._required = required
        self._skip = skip

    def build(self, layer: str, action: Callable[[], object], *, clean: bool = True) -> None:
        """Try one layer; ``clean`` False: a failure leaves things half done.

        Raises ``WallError`` when the layer is required, or what is half done cannot be used.
        """
        if layer in self._skip:
            self.leave_out(layer, "it failed before")
            return
        try:
            action()
        except OSError as error:
            required = layer in self._required
            if required or not clean:
                raise WallError(layer, str(error), optional=not required) from error
            self.leave_out(layer, str(error))
        else:
            self.on[layer] = True

    def leave_out(self, layer: str, why: str) -> None:
        """Record that a layer cannot be there; raises ``WallError`` when it is required."""
        if layer in self._required:
            raise WallError(layer, why)
        self.on[layer] = False
        self.notes[layer] = why
