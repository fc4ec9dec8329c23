"""What pods may have: asks in ``pipelines.yaml`` against ``pods.yaml`` and ``limits.yaml``."""

from __future__ import annotations

import json

import pytest
from policy_kit import SHIPPED, files, findings_of

from gateway.policy.catalogue import parse_data
from gateway.policy.data import Pipeline
from gateway.policy.pods import CPU, MAX_CPU, MAX_MEMORY, MEMORY, PodAllowances, PodAsk

IMAGE = "registry.example:5000/team/report@sha256:" + "ab" * 32
PODS = """\
secrets:
  token: {secret: api, key: token, env: API_TOKEN, pipelines: [report]}
  again: {secret: api, key: other, env: API_TOKEN, pipelines: [report]}
  alien: {secret: api, key: alien, env: ALIEN, pipelines: []}
volumes:
  past: {claim: past, mount: /data/past, pipelines: [report], classes: [secret, personal]}
  deep: {claim: deep, mount: /data/past/deep, pipelines: [report], classes: [public]}
  twin: {claim: twin, mount: /data/past, pipelines: [report], classes: [public]}
  next: {claim: next, mount: /data/next, pipelines: [report], classes: [public]}
"""
LAST = 14  # line of pipelines.yaml after the sample, where each test adds its own


def asking(more: str, **changes: str) -> dict[str, bytes]:
    """Return the sample, its pipeline with further lines and the pods file of this module."""
    text = files()["data/pipelines.yaml"].decode()
    assert text.count("\n") == LAST - 1
    for old, new in changes.items():
        assert old in text
        text = text.replace(f"{old}: ", f"{old}: {new} #")
    lines = "".join(f"  {line}\n" for line in more.splitlines())
    return files(data__pipelines__yaml=text + lines) | {"data/pods.yaml": PODS.encode()}


def report(content: dict[str, bytes]) -> Pipeline:
    """Return the sample's pipeline, as it was read."""
    return parse_data(content)[0].pipelines["report"]


def test_policy_pods_a_pipeline_that_says_nothing_gets_little() -> None:
    """Without an ask a pod has the defaults, no secret and no volume; the file may be missing."""
    pipeline = report(files())
    assert (pipeline.image, pipeline.in_image, pipeline.pod) == (None, False, PodAsk())
    assert pipeline.base_classes == ()
    assert parse_data(files())[0].pods == PodAllowances()
    for empty in ("", "secrets:\nvolumes: {}\n"):
        with_file = files() | {"data/pods.yaml": empty.encode()}
        assert parse_data(with_file)[0].pods == PodAllowances()


def test_policy_pods_an_ask_reads_as_rules_see_it() -> None:
    """Amounts are canonical and comparable; names are joined with what they stand for."""
    more = f"image: {IMAGE}\npod: {{cpu: 1000m, memory: 1.5Gi, secrets: [token], volumes: [past]}}"
    pipeline = report(asking(more, source="/opt/report"))
    assert pipeline.in_image
    assert pipeline.to_json()["image"] == IMAGE
    assert pipeline.to_json()["pod"] == {
        "cpu": "1",
        "millicores": 1000,
        "memory": "1536Mi",
        "memory_bytes": 1_610_612_736,
        "secrets": [{"name": "token", "secret": "api", "key": "token", "env": "API_TOKEN"}],
        "volumes": [
            {
                "name": "past",
                "claim": "past",
                "mount": "/data/past",
                "classes": ["personal", "secret"],
            }
        ],
    }


def test_policy_pods_a_number_of_cores_needs_no_quotes() -> None:
    """Whole numbers are quantities, too."""
    assert report(asking("pod: {cpu: 2, memory: 1Gi}")).pod.cpu == "2"


def test_policy_pods_volumes_and_a_kept_workspace_give_classes_to_every_task() -> None:
    """What a task can read without a destination counts as read."""
    more = "pod: {volumes: [past, next]}\nworkspace: {keep: KEEP, classes: [internal]}"
    kept = report(asking(more.replace("KEEP", "true")))
    assert kept.base_classes == ("internal", "personal", "public", "secret")
    gone = report(asking(more.replace("KEEP", "false")))
    assert gone.base_classes == ("personal", "public", "secret")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("pod: {secrets: [tokn]}", "no secret is called 'tokn'; did you mean 'token'?"),
        ("pod: {volumes: [pst]}", "no volume is called 'pst'; did you mean 'past'?"),
        ("pod: {secrets: [alien]}", "secret alien is not for report: data/pods.yaml says"),
        ("pod: {secrets: [token, again]}", "again is in the place of token: API_TOKEN"),
        ("pod: {volumes: [past, twin]}", "twin is in the place of past: /data/past"),
        ("pod: {volumes: [past, deep]}", "deep is in the place of past: /data/past"),
        ("pod: {volumes: [deep, past]}", "past is in the place of deep: /data/past/deep"),
        ("pod: {cpu: 2001m}", "asks for 2001m of cpu, and tier low allows 2"),
        ("pod: {memory: 4097Mi}", "asks for 4097Mi of memory, and tier low allows 4Gi"),
        ("pod: {memory: 512m}", "'512m' is no whole number of bytes; did you mean 512Mi?"),
        ("pod: {memory: 512MB}", "'512MB' is no quantity"),
        ("pod: {memory: 0.1Gi}", "'0.1Gi' is finer than Kubernetes counts"),
        ('pod: {cpu: "0"}', "'0' is nothing"),
        ("pod: {cpu: 1e3}", "numbers are whole and decimal here"),
        ("pod: {cpus: 1}", "no field is called 'cpus' here; did you mean 'cpu'?"),
        ("image: report@sha256:abc", "names no image by its digest"),
        ("image: report:1.2", "names no image by its digest"),
        (f"image: {IMAGE.replace('@', ':1.2@')}", "names no image by its digest"),
        (f"image: {IMAGE.upper()}", "names no image by its digest"),
    ],
)
def test_policy_pods_an_ask_that_nothing_grants_is_found_at_its_line(
    more: str, reason: str
) -> None:
    """What security did not list for this pipeline, or bounds tighter, loads in no revision."""
    (finding,) = findings_of(asking(more))
    assert (finding.file, finding.line) == ("data/pipelines.yaml", LAST)
    assert reason in finding.reason


@pytest.mark.parametrize(
    ("source", "more", "reason"),
    [
        ("/opt/report", "", "is absolute, which is a folder inside an image: name the image"),
        ("/tmp/report", f"image: {IMAGE}", "/tmp of a pod is not the image's"),  # noqa: S108 -- a pod's
        ("/data/report", f"image: {IMAGE}", "/data of a pod is not the image's"),
        ("/proc", f"image: {IMAGE}", "/proc of a pod is not the image's"),
        ("/", f"image: {IMAGE}", "does not match"),
        ("/opt/../etc", f"image: {IMAGE}", "does not match"),
        ("opt/", "", "does not match"),
    ],
)
def test_policy_pods_code_in_an_image_is_where_the_image_has_it(
    source: str, more: str, reason: str
) -> None:
    """An absolute folder is never one of the gateway's machine, nor one that a pod mounts over."""
    (finding,) = findings_of(asking(more, source=source))
    assert (finding.file, finding.line) == ("data/pipelines.yaml", 4)
    assert reason in finding.reason


def test_policy_pods_the_gateways_code_may_run_in_an_image() -> None:
    """A relative folder with an image: the gateway's code, the image's interpreter."""
    pipeline = report(asking(f"image: {IMAGE}"))
    assert (pipeline.image, pipeline.in_image) == (IMAGE, False)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("env: ALIEN", "env: PATH", "data/pods.yaml:4: PATH decides what runs"),
        ("env: ALIEN", "env: home", "data/pods.yaml:4: home decides what runs"),
        ("env: ALIEN", "env: SLUICE_TASK", "data/pods.yaml:4: SLUICE_TASK decides what runs"),
        ("env: ALIEN", "env: PYTHONPATH", "data/pods.yaml:4: PYTHONPATH decides what runs"),
        ("env: ALIEN", "env: LD_PRELOAD", "data/pods.yaml:4: LD_PRELOAD decides what runs"),
        ("env: ALIEN", "env: LUIGI_CONFIG_PATH", "data/pods.yaml:4: LUIGI_CONFIG_PATH decides"),
        ("env: ALIEN", "env: 1A", "data/pods.yaml:4: '1A' does not match"),
        (
            "pipelines: []",
            "pipelines: [reprot]",
            "data/pods.yaml:4: no pipeline is called 'reprot'",
        ),
        ("key: alien", "key: ..", "data/pods.yaml:4: '..' does not match"),
        ("secret: api, key: alien", "secret: A_, key: a", "data/pods.yaml:4: 'A_' does not match"),
        ("/data/next", "/next", "data/pods.yaml:9: '/next' is no folder below /data, as in"),
        ("/data/next", "/data", "data/pods.yaml:9: '/data' is no folder below /data"),
        ("/data/next", "/data/../etc", "data/pods.yaml:9: '/data/../etc' is no folder below"),
        ("/data/next", "/data/next/", "data/pods.yaml:9: '/data/next/' is no folder below"),
        (
            "claim: next",
            "claim: past",
            "data/pods.yaml:9: past is the same claim and holds personal",
        ),
        ("classes: [secret, personal]", "classes: []", "data/pods.yaml:6: [] should be non-empty"),
    ],
)
def test_policy_pods_a_grant_that_makes_no_sense_is_found_at_its_line(
    old: str, new: str, expected: str
) -> None:
    """Whether or not a pipeline asks for it."""
    assert old in PODS
    content = asking("") | {"data/pods.yaml": PODS.replace(old, new).encode()}
    found = [str(finding) for finding in findings_of(content)]
    assert [text for text in found if text.startswith(expected)] == found != []


def test_policy_pods_one_claim_has_one_set_of_classes() -> None:
    """Under two names it may stand, with the same classes: else the second name would launder."""
    same = "claim: past, mount: /data/next, pipelines: [report], classes: [personal, secret]"
    old = "claim: next, mount: /data/next, pipelines: [report], classes: [public]"
    content = asking("") | {"data/pods.yaml": PODS.replace(old, same).encode()}
    assert findings_of(content) == ()


def test_policy_pods_limits_bound_the_defaults_too() -> None:
    """A tier below the default ask is a finding at each pipeline that says nothing."""
    limits = files()["data/limits.yaml"].decode()
    low = limits.replace("  low: {", "  low: {max_memory: 512Mi, ")
    (finding,) = findings_of(files(data__limits__yaml=low))
    assert str(finding) == (
        "data/pipelines.yaml:1: asks for 1Gi of memory, and tier low allows 512Mi"
    )
    bad = limits.replace("  high: {", "  high: {max_cpu: two, ")
    (finding,) = findings_of(files(data__limits__yaml=bad))
    assert str(finding).startswith("data/limits.yaml:5: 'two' is no quantity")
    assert parse_data(files())[0].limits.tiers["low"].max_memory == "4Gi"


def test_policy_pods_the_schemas_name_the_defaults() -> None:
    """What the schemas promise to whoever leaves a field out is what the gateway does."""
    folder = SHIPPED / "data" / "schemas"
    tier = json.loads((folder / "limits.schema.json").read_bytes())["$defs"]["tier"]["properties"]
    assert (tier["max_cpu"]["default"], tier["max_memory"]["default"]) == (MAX_CPU, MAX_MEMORY)
    schema = json.loads((folder / "pipelines.schema.json").read_bytes())
    pod = schema["additionalProperties"]["properties"]["pod"]["properties"]
    assert (pod["cpu"]["default"], pod["memory"]["default"]) == (CPU, MEMORY)
