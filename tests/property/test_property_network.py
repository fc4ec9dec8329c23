"""Network profiles: names are functions of content, and of nothing else."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gateway.canonical import Json
from gateway.network.profiles import profile

Catalogue = dict[str, dict[str, Json]]
DESTINATION = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["fqdn", "cidr", "service"]),
        "host": st.text("abc.", min_size=1, max_size=8),
        "ports": st.lists(st.integers(1, 65535), min_size=1, max_size=3),
        "protocol": st.sampled_from(["TCP", "UDP"]),
        "title": st.text(max_size=5),
    }
)
CATALOGUE = st.dictionaries(st.text("xyz", min_size=1, max_size=4), DESTINATION, min_size=1)


@given(CATALOGUE, st.randoms())
def test_order_and_repetition_do_not_matter(catalogue: Catalogue, random: Random) -> None:
    """One set of destinations is one profile, however it is written down."""
    names = list(catalogue)
    again = names + names[:1]
    random.shuffle(again)
    assert profile(names, catalogue) == profile(again, catalogue)


@given(CATALOGUE)
def test_titles_do_not_matter_and_addresses_do(catalogue: Catalogue) -> None:
    """What no packet filter can see is not in the name; what it can see is."""
    names = list(catalogue)
    renamed = {name: {**item, "title": "other"} for name, item in catalogue.items()}
    assert profile(names, catalogue).name == profile(names, renamed).name
    moved = {name: {**item, "host": item["host"] + "d"} for name, item in catalogue.items()}
    assert profile(names, catalogue).name != profile(names, moved).name


@given(CATALOGUE)
def test_names_fit_a_label(catalogue: Catalogue) -> None:
    """A Kubernetes label value holds 63 characters of a small alphabet."""
    name = profile(list(catalogue), catalogue).name
    assert len(name) <= 63
    assert name.startswith("p-")
    assert set(name[2:]) <= set("0123456789abcdef")
