"""The hashes of a Merkle tree, and the verification of proofs about it: RFC 9162 section 2.1.

Hashes of proofs are hexadecimal text, as a saved proof has them. A proof that is malformed in any
way is a proof that fails: nothing here raises.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node above two others."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def split(low: int, high: int) -> int:
    """Return where a range of two or more leaves divides: the left part is the largest 2^k."""
    return low + (1 << (high - low - 1).bit_length() - 1)


def is_hash(text: object) -> bool:
    """Tell whether ``text`` is a SHA-256 in the one form used here: 64 lower-case hex digits."""
    return isinstance(text, str) and re.fullmatch("[0-9a-f]{64}", text) is not None


def verify_inclusion(leaf: str, seq: int, size: int, proof: Sequence[str], root: str) -> bool:
    """Tell whether ``proof`` leads from the leaf at ``seq`` to ``root`` (section 2.1.3.2)."""
    if not 0 <= seq < size or not all(map(is_hash, (leaf, root, *proof))):
        return False
    roots = _climb(seq, size - 1, bytes.fromhex(leaf), proof)
    return roots is not None and roots[1].hex() == root


def verify_consistency(
    size1: int, size2: int, root1: str, root2: str, proof: Sequence[str]
) -> bool:
    """Tell whether the tree of ``size2`` begins with that of ``size1`` (section 2.1.4.2)."""
    if not 0 <= size1 <= size2 or not all(map(is_hash, (root1, root2, *proof))):
        return False
    if size1 == size2:
        return not proof and root1 == root2
    if size1 == 0:
        return not proof and root1 == EMPTY_ROOT.hex()
    path = list(proof)
    if size1 & (size1 - 1) == 0:  # the smaller tree is complete: its root begins the path
        path.insert(0, root1)
    if not path:
        return False
    index, last = size1 - 1, size2 - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    roots = _climb(index, last, bytes.fromhex(path[0]), path[1:])
    return roots is not None and [value.hex() for value in roots] == [root1, root2]


def _climb(index: int, last: int, start: bytes, path: Sequence[str]) -> tuple[bytes, bytes] | None:
    """Follow a path up; return the roots of the tree that ends at ``index``, and of the whole."""
    old = new = start
    for item in map(bytes.fromhex, path):
        if last == 0:
            return None
        if index & 1 or index == last:
            old, new = node_hash(item, old), node_hash(item, new)
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            new = node_hash(new, item)
        index, last = index >> 1, last >> 1
    return (old, new) if last == 0 else None
