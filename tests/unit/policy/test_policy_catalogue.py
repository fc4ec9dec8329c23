"""``policies/data``: schemas, names across files, classes that would leak, and people."""

from __future__ import annotations

import pytest
from policy_kit import ISSUER, files, findings_of

from gateway.policy.catalogue import parse_data
from gateway.policy.data import PolicyData, PortRange

DESTINATION = (
    "  title: T\n  kind: {kind}\n  host: '{host}'\n  ports: {ports}\n  protocol: https\n"
    "  tenancy: {tenancy}\n  emits: {emits}\n  accepts: {accepts}\n"
)


def destination(
    name: str,
    host: str = "h.example",
    kind: str = "fqdn",
    ports: str = "[443]",
    tenancy: str = "internal",
    emits: str = "[public]",
    accepts: str = "[public]",
    more: str = "",
) -> str:
    """Return one entry of destinations.yaml, with a further line."""
    fields = {"host": host, "kind": kind, "ports": ports, "tenancy": tenancy}
    text = f"{name}:\n" + DESTINATION.format(**fields, emits=emits, accepts=accepts)
    text = text if host else text.replace("  host: ''\n", "")
    return text + (f"  {more}\n" if more else "")


def data(**overrides: str | None) -> PolicyData:
    """Return the typed view of the sample, changed."""
    return parse_data(files(**overrides))[0]


def only(**overrides: str | None) -> str:
    """Return the only finding of the sample, changed."""
    (finding,) = findings_of(files(**overrides))
    return str(finding)


def pipelines(old: str, new: str) -> str:
    """Return the sample's pipelines with one text replaced."""
    text = files()["data/pipelines.yaml"].decode()
    assert old in text
    return text.replace(old, new)


def test_policy_catalogue_the_sample_is_sound() -> None:
    """The sample that all tests bend has no findings, and reads into frozen types."""
    found = data()
    assert findings_of(files()) == ()
    assert found.pipelines["report"].destinations == ("lake",)
    assert found.pipelines["report"].shown == {"day"}
    assert found.destinations["lake"].ports == (PortRange(443, 443),)
    assert found.limits.tiers["high"].ask_people


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("tier: low", "tier: lwo", "data/pipelines.yaml:8: 'lwo' is none of: low, standard, high"),
        ("owner:", "ownr:", "data/pipelines.yaml:1: needs owner"),
        ("owner: analysts", "owner: analyst", "did you mean 'analysts'?"),
        ("launchers: [analysts]", "launchers: [analists]", "pipelines.yaml:9: no group is called"),
        ("[lake]", "[lake, leak]", "pipelines.yaml:10: no destination is called 'leak'; did you"),
        ("examples/report", "../report", "data/pipelines.yaml:4: '../report' does not match"),
        ("examples/report", "a//b", "data/pipelines.yaml:4: 'a//b' does not match"),
        ("shown: true", "shown: yes", "data/pipelines.yaml:12: 'yes' is not of type 'boolean'"),
        ("shown: true", "shown: true, choices: [a]", "type `choice` and `choices` go together"),
        ("report:\n", "Report:\n", "'Report' does not match"),
    ],
)
def test_policy_catalogue_says_what_is_wrong_and_where(old: str, new: str, expected: str) -> None:
    """A wrong field is named with file, line and the nearest name that exists."""
    found = [str(item) for item in findings_of(files(data__pipelines__yaml=pipelines(old, new)))]
    assert any(expected in item for item in found), found


def test_policy_catalogue_an_unknown_field_names_the_nearest() -> None:
    """A mistyped optional field is refused: it would silently be the default."""
    wrong = pipelines("  tier: low", "  tier: low\n  agents_alowed: true")
    assert only(data__pipelines__yaml=wrong) == (
        "data/pipelines.yaml:9: no field is called 'agents_alowed' here; "
        "did you mean 'agents_allowed'?"
    )


def test_policy_catalogue_a_pattern_is_matched_to_the_end() -> None:
    """A line end after an allowed text is not overlooked."""
    assert "does not match" in only(
        data__pipelines__yaml=pipelines("module: report", 'module: "report\\n"')
    )


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (destination("d", accepts="[personal, public]"), "accepts personal and does not emit it"),
        (
            destination("d", tenancy="internet", emits="[personal]", accepts="[personal]"),
            "tenancy internet is open to strangers and accepts personal",
        ),
        (
            destination("d", tenancy="shared", emits="[personal]", accepts="[personal]"),
            "tenancy shared is open to strangers",
        ),
        (destination("d", kind="cidr", host="10.0.0.300"), "neither an address nor a range"),
        (destination("d", kind="service", host="name"), "has to be namespace/name"),
        (destination("d", host="*a.example"), "not a DNS name"),
        (destination("d", ports="[0]"), "less than the minimum"),
        (destination("d", ports="[443, 443]"), "non-unique"),
        (destination("d", ports="[web]"), "'web' is none of the allowed forms"),
        (destination("d", ports="[{port: 1}]"), "needs endPort"),
        (destination("d", ports="[{port: 1, endport: 2}]"), "did you mean 'endPort'?"),
        (destination("d", ports="[{port: x, endPort: 2}]"), "'x' is not of type 'integer'"),
        (destination("d", ports="[{port: 2, endPort: 1}]"), "endPort is below port"),
        (destination("d", host=""), "needs host, as kind is fqdn"),
        (destination("d", kind="kube-apiserver"), "kind kube-apiserver has no host"),
        (destination("d", more="except: [10.0.0.1]"), "goes with kind cidr alone"),
        (
            destination("d", "10.0.0.0/8", "cidr", more="except: [10.0.0.300]"),
            "neither an address nor a range",
        ),
        (destination("d", more="exept: [10.0.0.1]"), "did you mean 'except'?"),
        (destination("d", more="server_names: []"), "non-empty"),
        (destination("d", more="service_account: web"), "goes with kind service alone"),
        (destination("d", "a/b", "service", more="service_account: Web"), "does not match"),
        (destination("d", emits="[]", accepts="[]"), "non-empty"),
    ],
)
def test_policy_catalogue_destinations_cannot_launder_data(entry: str, expected: str) -> None:
    """What a place accepts it emits; what strangers may use accepts what is public alone."""
    base = files()["data/destinations.yaml"].decode()
    found = [str(item) for item in findings_of(files(data__destinations__yaml=base + entry))]
    assert any(expected in item for item in found), found
    assert all(item.startswith("data/destinations.yaml:") for item in found)


def cidr(host: str, *holes: str, ports: str = "[443]") -> str:
    """Return a range without holes."""
    more = f"except: [{', '.join(holes)}]" if holes else ""
    return destination("NAME", host, "cidr", ports, more=more)


def fqdn(host: str, *server_names: str, ports: str = "[443]") -> str:
    """Return a host, of which TLS connections may have to ask for a name."""
    more = f"server_names: [{', '.join(server_names)}]" if server_names else ""
    return destination("NAME", host, ports=ports, more=more)


def service(host: str, ports: str = "[443]") -> str:
    """Return a Service."""
    return destination("NAME", host, "service", ports)


def api_server(ports: str = "[443]") -> str:
    """Return the cluster's API server."""
    return destination("NAME", "", "kube-apiserver", ports)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (fqdn("a.test"), fqdn("A.test.", ports="[443, 80]"), True),
        (fqdn("a.test"), fqdn("*.test"), True),
        (fqdn("*.b.test"), fqdn("*.test"), True),
        (fqdn("a.test"), fqdn("a.test", ports="[80]"), False),
        (fqdn("a.test"), fqdn("ba.test"), False),
        (fqdn("test"), fqdn("*.test"), False),
        (fqdn("a.test"), fqdn("a.test", ports="[{port: 80, endPort: 443}]"), True),
        (fqdn("a.test"), fqdn("a.test", ports="[{port: 444, endPort: 65535}]"), False),
        (fqdn("a.test", "b.test"), fqdn("b.test"), True),
        (fqdn("a.test", "c.test"), fqdn("b.test", "c.test"), True),
        (fqdn("a.test", "b.test"), fqdn("a.test", "c.test"), True),
        (fqdn("a.test", "b.test"), fqdn("c.test"), False),
        (cidr("10.0.0.0/8"), cidr("10.1.2.3"), True),
        (cidr("10.0.0.0/8"), cidr("11.0.0.1"), False),
        (cidr("10.0.0.0/8", "10.1.0.0/16"), cidr("10.1.2.3"), False),
        (cidr("10.0.0.0/8", "10.1.2.0/24"), cidr("10.1.0.0/16"), True),
        (cidr("10.0.0.0/8", "10.1.0.0/17"), cidr("10.1.0.0/16", "10.1.128.0/17"), False),
        (cidr("10.0.0.0/8", "10.1.0.0/17"), cidr("10.1.0.0/16", "10.1.128.0/18"), True),
        (cidr("fd00::/8"), cidr("10.0.0.0/8"), False),
        (service("a/b"), service("a/b", ports="[80]"), True),
        (service("a/b"), service("c/b"), False),
        (service("a/b"), fqdn("b.a.svc.cluster.local"), True),
        (service("a/b"), fqdn("*.svc.cluster.local"), True),
        (service("a/b"), fqdn("a.b.svc.cluster.local"), False),
        (service("a/b"), fqdn("b.a.svc.cluster.local", ports="[80]"), False),
        (api_server(), fqdn("kubernetes.default.svc.cluster.local"), True),
        (api_server(), api_server("[{port: 1, endPort: 500}]"), True),
        (api_server(), api_server("[6443]"), False),
        (api_server(), cidr("10.0.0.0/8"), False),
    ],
)
def test_policy_catalogue_one_address_emits_one_set_of_classes(
    first: str, second: str, *, same: bool
) -> None:
    """Two names for one place are no way around its classes."""
    base = files()["data/destinations.yaml"].decode()
    secret = first.replace("emits: [public]\n  accepts: [public]", "emits: [secret]\n  accepts: []")
    text = base + secret.replace("NAME", "one") + second.replace("NAME", "two")
    found = data(data__destinations__yaml=text).destinations
    assert found["two"].emits == (("public", "secret") if same else ("public",))
    assert found["one"].emits == (("public", "secret") if same else ("secret",))


def test_policy_catalogue_rules_see_every_field_of_a_destination() -> None:
    """What the packet filter is given is what policy was asked about, in one form."""
    text = files()["data/destinations.yaml"].decode()
    ports = "[443, {port: 8000, endPort: 8080}]"
    text += cidr("10.0.0.0/8", "10.1.0.0/16", ports=ports).replace("NAME", "d")
    text += "  server_names: [b.test, a.test]\n" + api_server().replace("NAME", "e")
    text += destination("f", "data/web", "service", more="service_account: loader")
    found = data(data__destinations__yaml=text).destinations
    assert found["d"].to_json() == {
        "name": "d",
        "known": True,
        "title": "T",
        "kind": "cidr",
        "host": "10.0.0.0/8",
        "service_account": None,
        "except": ["10.1.0.0/16"],
        "ports": [{"port": 443, "endPort": 443}, {"port": 8000, "endPort": 8080}],
        "protocol": "https",
        "server_names": ["b.test", "a.test"],
        "tenancy": "internal",
        "emits": ["public"],
        "accepts": ["public"],
        "agents": False,
    }
    assert found["e"].to_json()["host"] is None
    assert found["f"].to_json()["service_account"] == "loader"


def test_policy_catalogue_one_account_belongs_to_one_person() -> None:
    """Otherwise somebody could approve what they asked for; agents count too."""
    ada = f'ada: {{accounts: ["{ISSUER}#ada"]}}\n'
    assert "belongs to ada already" in only(
        data__persons__yaml=ada + f'ben: {{accounts: ["{ISSUER}#ada"]}}\n'
    )
    two = ada + f'ben: {{accounts: ["{ISSUER}#ben"], owns_agents: ["{ISSUER}#ada"]}}\n'
    assert "belongs to ada already" in only(data__persons__yaml=two)


def test_policy_catalogue_groups_list_people_and_accounts() -> None:
    """Membership of a person holds for each account; a mistyped person is refused."""
    persons = (
        f'ada: {{accounts: ["{ISSUER}#ada", "{ISSUER}#root"], owns_agents: ["{ISSUER}#bot"]}}\n'
    )
    groups = (
        f'analysts: {{title: A, members: [ada]}}\nrobots: {{title: R, members: ["{ISSUER}#bot"]}}\n'
    )
    found = data(data__persons__yaml=persons, data__groups__yaml=groups)
    assert found.groups_of(f"{ISSUER}#root") == ("analysts",)
    assert found.groups_of(f"{ISSUER}#bot") == ("robots",)
    assert found.groups_of("https://elsewhere#ada") == ()
    assert found.person_of(f"{ISSUER}#root") == "ada"
    assert found.owner_of(f"{ISSUER}#bot") == "ada"
    assert found.owner_of(f"{ISSUER}#ada") is None
    wrong = "analysts: {title: A, members: [adda]}\n"
    assert "no person is called 'adda'; did you mean 'ada'?" in only(data__groups__yaml=wrong)


def standing(until: str) -> str:
    """Return the sample's pipelines, with a standing approval."""
    fields = f"code_digest: '{'0' * 64}', until: '{until}', by: ada, reason: R"
    return files()["data/pipelines.yaml"].decode() + f"  standing_approval: {{{fields}}}\n"


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        ("2027-06-30", "2027-06-30T00:00:00.000Z"),
        ("2027-06-30T12:00:00Z", "2027-06-30T12:00:00.000Z"),
        ("2027-06-30T12:00:00.5Z", "2027-06-30T12:00:00.500Z"),
    ],
)
def test_policy_catalogue_moments_have_one_form(until: str, expected: str) -> None:
    """Rules compare moments as texts, so all of them are written alike."""
    pipeline = data(data__pipelines__yaml=standing(until)).pipelines["report"]
    assert pipeline.standing_approval is not None
    assert pipeline.standing_approval.until == expected


def test_policy_catalogue_a_day_that_does_not_exist_is_refused() -> None:
    """A standing approval until 31 June is a typo, not a consent."""
    found = only(data__pipelines__yaml=standing("2027-06-31"))
    assert found.endswith("no such day or moment: 2027-06-31")


def test_policy_catalogue_files_have_to_be_there_with_their_schemas() -> None:
    """A missing file is no empty catalogue, and no data goes unchecked."""
    assert only(data__groups__yaml=None) == "data/groups.yaml: is missing"
    more = {**files(), "data/budgets.yaml": b"a: 1\n"}
    assert "has no schema" in str(findings_of(more)[0])
    schema = {**more, "data/schemas/budgets.schema.json": b'{"type": "object"}'}
    assert parse_data(schema)[1]["budgets"] == {"a": 1}
    assert "named like" in str(findings_of({**files(), "data/groups.yml": b""})[0])


def test_policy_catalogue_a_schema_cannot_let_nonsense_through() -> None:
    """Whoever loosens a schema gets a finding, and never a half-read catalogue."""
    loose = files(data__persons__yaml="ada: {}\n")
    loose["data/schemas/persons.schema.json"] = b'{"type": "object"}'
    assert findings_of(loose) != ()
    broken = files()
    broken["data/schemas/persons.schema.json"] = b"{"
    assert "not JSON" in str(findings_of(broken)[0])
    remote = files()
    remote["data/schemas/persons.schema.json"] = b'{"$ref": "https://schemas.example/x"}'
    assert findings_of(remote) != ()
