"""DNS names and Kubernetes names and labels: stricter than Cilium, one spelling for each name.

Cilium takes names in either case, with a trailing dot or without, and patterns with ``*`` anywhere
(``pkg/policy/api/fqdn.go``, 1.20). Here a name is lower-case ASCII without a trailing dot, and a
pattern is ``*.`` in front of a name: the only form that means the same in all versions of Cilium.
"""

from __future__ import annotations

import re

from gateway.network.reading import Fault

MAX_NAME = 253  # RFC 1035 allows 255 octets on the wire, which leaves 253 characters
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_KUBERNETES_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LABEL_PART = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")

# Labels that Cilium leaves out of an identity unless a cluster is configured otherwise: a selector
# with one of them matches no pod (pkg/labelsfilter/filter.go, 1.20).
_NOT_IN_IDENTITY = re.compile(
    r"io\.kubernetes|kubernetes\.io|k8s\.io|.*beta\.kubernetes\.io|topology\.kubernetes\.io"
    r"|statefulset\.kubernetes\.io/pod-name|apps\.kubernetes\.io/pod-index"
    r"|batch\.kubernetes\.io/(job-completion-index|controller-uid)"
    r"|pod-template-(generation|hash)|controller-(revision-hash|uid)|annotation|etcd_node"
)


def check_name(name: str) -> None:
    """Raise ``Fault`` unless this is one DNS name of two labels or more."""
    if name != name.lower() or not name.isascii():
        raise Fault(f"has to be in lower case and in ASCII (A-labels, `xn--...`): {name!r}")
    if name.endswith("."):
        raise Fault(f"has to be written without the trailing dot: {name!r}")
    if len(name) > MAX_NAME:
        raise Fault(f"is longer than {MAX_NAME} characters")
    labels = name.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise Fault(f"is not a DNS name: {name!r}")
    if len(labels) == 1:
        raise Fault(f"needs a dot: what {name!r} means depends on the search list of the pod")
    if labels[-1].isdigit():
        raise Fault(f"is an address: use kind cidr for {name!r}")
    for label in labels:
        _check_alabel(label)


def check_pattern(pattern: str) -> None:
    """Raise ``Fault`` unless this is a name, or ``*.`` in front of one.

    ``*.com`` is refused: a wildcard needs a name of two labels below it.
    """
    check_name(pattern.removeprefix("*."))


def _check_alabel(label: str) -> None:
    """Refuse labels that pretend to be encoded Unicode, or are reserved (RFC 5890, 2.3.1)."""
    if label[2:4] != "--":
        return
    if not label.startswith("xn--"):
        raise Fault(f"has a reserved label: {label!r}")
    try:
        decoded = label[4:].encode().decode("punycode")
        again = decoded.encode("punycode").decode()
    except (UnicodeError, ValueError, OverflowError):
        decoded, again = "", ""
    if decoded.isascii() or again != label[4:]:
        raise Fault(f"has a label that is no encoded Unicode: {label!r}")


def check_kubernetes_name(name: str) -> None:
    """Raise ``Fault`` unless a namespace or a Service can be called this (RFC 1123 label)."""
    if not _KUBERNETES_NAME.fullmatch(name):
        raise Fault(f"is not a Kubernetes name: {name!r}")


def check_service_account(name: str) -> None:
    """Raise ``Fault`` unless a service account can be called this and be seen in a label."""
    if not _LABEL_PART.fullmatch(name) or name != name.lower() or "_" in name:
        raise Fault(f"is not the name of a service account: {name!r}")


def bare_label_key(key: str) -> str:
    """Return a pod label's key without its source. Raises ``Fault`` for all but ``k8s:`` keys.

    A key that starts ``reserved:`` would keep Cilium from adding the namespace to the selector.
    """
    source, colon, bare = key.rpartition(":")
    if colon and source != "k8s":
        raise Fault(f"has a key of source {source!r}: only pod labels may select")
    prefix, slash, last = bare.rpartition("/")
    dns = all(_KUBERNETES_NAME.fullmatch(part) for part in prefix.split("."))
    if not _LABEL_PART.fullmatch(last) or (slash and (len(prefix) > MAX_NAME or not dns)):
        raise Fault(f"is not a label key: {key!r}")
    if bare.startswith(("io.cilium.", "io.kubernetes.pod.")):
        raise Fault(f"has the key {bare!r}, by which Cilium knows namespaces and accounts")
    if _NOT_IN_IDENTITY.match(bare):
        raise Fault(f"has the key {bare!r}, which is in no identity of Cilium: it matches nothing")
    return bare


def check_label_value(value: str) -> None:
    """Raise ``Fault`` unless a label can have this value. It may be empty."""
    if value and not _LABEL_PART.fullmatch(value):
        raise Fault(f"is not a label value: {value!r}")
