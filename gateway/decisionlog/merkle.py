"""The Merkle tree of RFC 9162 section 2.1, as pure functions over stored nodes.

A node ``(level, index)`` is the root of the complete subtree over the leaves
``index * 2**level`` up to, without it, ``(index + 1) * 2**level``. Only complete subtrees are
stored, so a node never changes once written, and any root or proof reads O(log n) of them.

Proofs are verified in ``verifier``, which stands alone; this module borrows its hashes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.decisionlog.verifier.proofs import EMPTY_ROOT, node_hash, split

ReadNode = Callable[[int, int], bytes]
Node = tuple[int, int, bytes]


@dataclass(frozen=True, slots=True)
class Frontier:
    """All that a tree of ``size`` leaves needs to grow: its complete subtrees, largest first."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    @classmethod
    def read(cls, read: ReadNode, size: int) -> Frontier:
        """Rebuild the frontier of the tree as it was at ``size`` leaves."""
        hashes, start = [], 0
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                hashes.append(read(level, start >> level))
                start += 1 << level
        return cls(size, tuple(hashes))

    def append(self, leaf: bytes) -> tuple[Frontier, list[Node]]:
        """Return the tree with one leaf more, and the nodes that became complete by it."""
        hashes, value, level, index = list(self.hashes), leaf, 0, self.size
        nodes = [(level, index, value)]
        while index & 1:
            value, level, index = node_hash(hashes.pop(), value), level + 1, index >> 1
            nodes.append((level, index, value))
        hashes.append(value)
        return Frontier(self.size + 1, tuple(hashes)), nodes

    def root(self) -> bytes:
        """Return the tree's root; that of no leaves is the hash of nothing."""
        if not self.hashes:
            return EMPTY_ROOT
        *larger, value = self.hashes
        for left in reversed(larger):
            value = node_hash(left, value)
        return value


def root(read: ReadNode, size: int) -> bytes:
    """Return the root of the tree as it was at ``size`` leaves."""
    return Frontier.read(read, size).root()


def inclusion_proof(read: ReadNode, index: int, size: int) -> list[bytes]:
    """Return PATH(index, D[size]): what leads from a leaf to the root. 0 <= index < size."""
    proof, low, high = [], 0, size
    while high - low > 1:
        middle = split(low, high)
        if index < middle:
            proof.append(_range_root(read, middle, high))
            high = middle
        else:
            proof.append(_range_root(read, low, middle))
            low = middle
    return proof[::-1]


def consistency_proof(read: ReadNode, first: int, second: int) -> list[bytes]:
    """Return PROOF(first, D[second]): that the larger tree begins with the smaller.

    0 <= first <= second; nothing needs proving where first is 0 or both are equal.
    """
    if first in (0, second):
        return []
    proof, low, high = [], 0, second
    while high != first:
        middle = split(low, high)
        if first <= middle:
            proof.append(_range_root(read, middle, high))
            high = middle
        else:
            proof.append(_range_root(read, low, middle))
            low = middle
    if low:  # the smaller tree's root is not among what the verifier has already
        proof.append(_range_root(read, low, high))
    return proof[::-1]


def _range_root(read: ReadNode, low: int, high: int) -> bytes:
    width = high - low
    if width & (width - 1) == 0:  # complete, and aligned because ``split`` made it
        return read(width.bit_length() - 1, low // width)
    middle = split(low, high)
    return node_hash(_range_root(read, low, middle), _range_root(read, middle, high))
