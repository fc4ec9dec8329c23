"""The tree against RFC 9162's own recursive definitions, and proofs against every small change."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.decisionlog import merkle
from gateway.decisionlog.merkle import Frontier
from gateway.decisionlog.verifier import verify_consistency, verify_inclusion
from gateway.decisionlog.verifier.proofs import leaf_hash

LARGEST = 300


def mth(leaves: Sequence[bytes]) -> bytes:
    """Compute the Merkle tree hash: section 2.1.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = largest_power_below(len(leaves))
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Compute the inclusion path: section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = largest_power_below(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: Sequence[bytes], *, complete: bool) -> list[bytes]:
    """Compute the consistency proof: section 2.1.4.1."""
    if m == len(leaves):
        return [] if complete else [mth(leaves)]
    k = largest_power_below(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], complete=complete), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], complete=False), mth(leaves[:k])]


def largest_power_below(size: int) -> int:
    """Return the largest power of two that is smaller than ``size``."""
    k = 1
    while 2 * k < size:
        k *= 2
    return k


LEAVES = [f"entry {number}".encode() for number in range(LARGEST)]


def grown() -> tuple[list[Frontier], dict[tuple[int, int], bytes]]:
    """Return the frontier at each size, and all stored nodes."""
    frontiers, nodes = [Frontier()], {}
    for leaf in LEAVES:
        frontier, complete = frontiers[-1].append(leaf_hash(leaf))
        frontiers.append(frontier)
        nodes.update({(level, index): value for level, index, value in complete})
    return frontiers, nodes


FRONTIERS, NODES = grown()
ROOTS = [frontier.root().hex() for frontier in FRONTIERS]


def read(level: int, index: int) -> bytes:
    """Read a stored node; one that is not complete is not there."""
    return NODES[level, index]


def test_roots_equal_the_definition_at_every_size() -> None:
    """Grown one by one, read back from the nodes, and defined by recursion."""
    for size in range(LARGEST + 1):
        assert ROOTS[size] == mth(LEAVES[:size]).hex()
        assert Frontier.read(read, size) == FRONTIERS[size]


def test_a_node_is_never_written_twice() -> None:
    """Only complete subtrees are stored, so a stored node is final."""
    written: list[tuple[int, int]] = []
    frontier = Frontier()
    for leaf in LEAVES:
        frontier, complete = frontier.append(leaf_hash(leaf))
        written += [(level, index) for level, index, _ in complete]
    assert len(written) == len(set(written))
    assert set(written) == {
        (level, index) for level in range(9) for index in range(LARGEST >> level)
    }


SIZES = st.integers(1, LARGEST)


@given(SIZES, st.data())
def test_inclusion_proofs_equal_the_definition_and_verify(size: int, data: st.DataObject) -> None:
    """For any leaf of a tree of any size; and they prove no other leaf, place or size."""
    seq = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(read, seq, size)
    assert proof == path(seq, LEAVES[:size])
    hexed, leaf = [value.hex() for value in proof], leaf_hash(LEAVES[seq]).hex()
    assert verify_inclusion(leaf, seq, size, hexed, ROOTS[size])
    other = data.draw(st.integers(0, LARGEST - 1).filter(lambda number: number != seq))
    assert not verify_inclusion(leaf_hash(LEAVES[other]).hex(), seq, size, hexed, ROOTS[size])
    assert not verify_inclusion(leaf, other, size, hexed, ROOTS[size])
    assert not verify_inclusion(leaf, seq, size, [*hexed, leaf], ROOTS[size])
    assert not verify_inclusion(leaf, seq, size, hexed[:-1], ROOTS[size]) or not hexed


@given(SIZES, st.data())
def test_consistency_proofs_equal_the_definition_and_verify(size: int, data: st.DataObject) -> None:
    """From any size to any later one; and from no other."""
    first = data.draw(st.integers(0, size))
    proof = merkle.consistency_proof(read, first, size)
    assert proof == (subproof(first, LEAVES[:size], complete=True) if first else [])
    hexed = [value.hex() for value in proof]
    assert verify_consistency(first, size, ROOTS[first], ROOTS[size], hexed)
    if first:
        other = data.draw(st.integers(0, LARGEST).filter(lambda number: number != first))
        assert not verify_consistency(first, size, ROOTS[other], ROOTS[size], hexed)
        assert not verify_consistency(other, size, ROOTS[first], ROOTS[size], hexed)
        assert not verify_consistency(first, size, ROOTS[first], ROOTS[other], hexed) or (
            other == size
        )
        assert not verify_consistency(first, size, ROOTS[first], ROOTS[size], [*hexed, ROOTS[0]])


def flipped(text: str, bit: int) -> str:
    """Return a hash with one bit changed."""
    data = bytearray.fromhex(text)
    data[bit // 8] ^= 1 << bit % 8
    return data.hex()


@settings(max_examples=25)
@given(SIZES, st.data())
def test_a_flipped_bit_anywhere_fails_an_inclusion_proof(size: int, data: st.DataObject) -> None:
    """In each hash of the path, in the leaf, in the root."""
    seq, bit = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, 255))
    proof = [value.hex() for value in merkle.inclusion_proof(read, seq, size)]
    parts = [leaf_hash(LEAVES[seq]).hex(), ROOTS[size], *proof]
    for at, part in enumerate(parts):
        leaf, root, *rest = [*parts[:at], flipped(part, bit), *parts[at + 1 :]]
        assert not verify_inclusion(leaf, seq, size, rest, root)


@settings(max_examples=25)
@given(SIZES, st.data())
def test_a_flipped_bit_anywhere_fails_a_consistency_proof(size: int, data: st.DataObject) -> None:
    """In each hash of the path, in either root."""
    first, bit = data.draw(st.integers(1, size)), data.draw(st.integers(0, 255))
    proof = [value.hex() for value in merkle.consistency_proof(read, first, size)]
    parts = [ROOTS[first], ROOTS[size], *proof]
    for at, part in enumerate(parts):
        old, new, *rest = [*parts[:at], flipped(part, bit), *parts[at + 1 :]]
        assert not verify_consistency(first, size, old, new, rest)


def test_each_bit_of_one_proof_matters() -> None:
    """All of them, once, where the tree is uneven."""
    proof = [value.hex() for value in merkle.inclusion_proof(read, 260, 299)]
    leaf = leaf_hash(LEAVES[260]).hex()
    for at, part in enumerate(proof):
        for bit in range(256):
            changed = [*proof[:at], flipped(part, bit), *proof[at + 1 :]]
            assert not verify_inclusion(leaf, 260, 299, changed, ROOTS[299])
