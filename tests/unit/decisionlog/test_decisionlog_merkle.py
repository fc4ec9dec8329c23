"""The tree, against vectors that other implementations publish (Certificate Transparency)."""

from __future__ import annotations

from gateway.decisionlog import merkle
from gateway.decisionlog.merkle import Frontier
from gateway.decisionlog.verifier.proofs import leaf_hash, verify_consistency, verify_inclusion

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def tree() -> tuple[list[Frontier], merkle.ReadNode]:
    """Return the frontier at each size, and what reads the nodes."""
    frontiers, nodes = [Frontier()], {}
    for leaf in LEAVES:
        grown, complete = frontiers[-1].append(leaf_hash(leaf))
        frontiers.append(grown)
        nodes.update({(level, index): value for level, index, value in complete})
    return frontiers, lambda level, index: nodes[level, index]


def test_roots_are_those_of_certificate_transparency() -> None:
    """At every size, from the frontier and from the stored nodes."""
    frontiers, read = tree()
    assert [frontier.root().hex() for frontier in frontiers] == ROOTS
    assert [merkle.root(read, size).hex() for size in range(9)] == ROOTS


def test_a_frontier_is_read_back_as_it_was() -> None:
    """After a restart the tree goes on from the stored nodes."""
    frontiers, read = tree()
    assert [Frontier.read(read, size) for size in range(9)] == frontiers


def test_known_inclusion_and_consistency_proofs() -> None:
    """Their lengths and hashes, as published."""
    _, read = tree()
    path = [value.hex() for value in merkle.inclusion_proof(read, 5, 8)]
    assert path == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    assert verify_inclusion(leaf_hash(LEAVES[5]).hex(), 5, 8, path, ROOTS[8])
    path = [value.hex() for value in merkle.consistency_proof(read, 6, 8)]
    assert path == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    assert verify_consistency(6, 8, ROOTS[6], ROOTS[8], path)


def test_proofs_out_of_range_or_malformed_fail() -> None:
    """Nothing raises, nothing passes."""
    leaf = leaf_hash(LEAVES[0]).hex()
    assert verify_inclusion(leaf, 0, 1, [], ROOTS[1])
    assert not verify_inclusion(leaf, 1, 1, [], ROOTS[1])
    assert not verify_inclusion(leaf, -1, 1, [], ROOTS[1])
    assert not verify_inclusion(leaf, 0, 0, [], ROOTS[0])
    assert not verify_inclusion(leaf.upper(), 0, 1, [], ROOTS[1])
    assert not verify_inclusion(leaf, 0, 1, ["zz"], ROOTS[1])
    assert verify_consistency(0, 8, ROOTS[0], ROOTS[8], [])
    assert not verify_consistency(0, 8, ROOTS[1], ROOTS[8], [])
    assert verify_consistency(8, 8, ROOTS[8], ROOTS[8], [])
    assert not verify_consistency(8, 8, ROOTS[8], ROOTS[7], [])
    assert not verify_consistency(8, 7, ROOTS[8], ROOTS[7], [])
    assert not verify_consistency(3, 8, ROOTS[3], ROOTS[8], [])
    assert not verify_consistency(-1, 8, ROOTS[0], ROOTS[8], [])
    assert not verify_consistency(3, 8, ROOTS[3], "?", [])
