"""The command line of each part of the cluster, and why it is what it is.

Everything binds to 127.0.0.1 and knows its clients by certificate. Leader election and metrics
ports are off: there is one of each, and nobody scrapes them.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from .certificates import Authority, KeyPair, signing_key
from .places import State

MANIFESTS = Path(__file__).parent / "manifests"

# What pods need from the controller manager: their namespace's `default` service account (the API
# server refuses a pod without one), its CA bundle, namespaces that really go away, owners' garbage
# collected, a node that went silent noticed, and a claim bound to the volume that was made for it.
_CONTROLLERS = (
    "serviceaccount-controller",
    "root-ca-certificate-publisher-controller",
    "namespace-controller",
    "garbage-collector-controller",
    "pod-garbage-collector-controller",
    "node-lifecycle-controller",
    "taint-eviction-controller",
    "persistentvolume-binder-controller",
    "persistentvolume-protection-controller",
    "persistentvolumeclaim-protection-controller",
)
_LEASE_SECONDS = 8  # a node that renews no lease for twice as long is not ready


def free_port() -> int:
    """Return a port on loopback that nobody uses now; none of these servers can choose its own."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _options(**options: str | int | Path) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]


@dataclass(frozen=True)
class Layout:
    """Keys, ports and files of one bed, made once before anything starts."""

    state: State
    authority: Authority
    tokens: KeyPair
    server: KeyPair
    api_port: int
    etcd_port: int
    etcd_peer_port: int
    kubelet_port: int

    @classmethod
    def make(cls, state: State) -> Layout:
        """Make keys and choose ports."""
        authority = Authority(state.folder / "pki")
        return cls(
            state=state,
            authority=authority,
            tokens=signing_key(state.folder / "pki"),
            server=authority.server("server", "127.0.0.1"),
            api_port=free_port(),
            etcd_port=free_port(),
            etcd_peer_port=free_port(),
            kubelet_port=free_port(),
        )

    @property
    def api(self) -> str:
        """The API server's address."""
        return f"https://127.0.0.1:{self.api_port}"

    def kubeconfig(self, user: str, group: str | None = None) -> Path:
        """Write a kubeconfig of its own for one part."""
        name = user.rpartition(":")[2]
        path = self.state.folder / "pki" / f"{name}.kubeconfig"
        return self.authority.kubeconfig(path, self.api, user, group)

    def etcd(self, program: Path) -> list[str]:
        """Etcd, for the API server's certificate only; nothing in it needs to survive."""
        client = f"https://127.0.0.1:{self.etcd_port}"
        peer = f"https://127.0.0.1:{self.etcd_peer_port}"
        ca = self.authority.certificate
        return [
            str(program),
            "--client-cert-auth",
            "--peer-client-cert-auth",
            "--unsafe-no-fsync",
            *_options(
                name="bed",
                data_dir=self.state.folder / "etcd",
                listen_client_urls=client,
                advertise_client_urls=client,
                trusted_ca_file=ca,
                cert_file=self.server.certificate,
                key_file=self.server.key,
                listen_peer_urls=peer,
                initial_advertise_peer_urls=peer,
                initial_cluster=f"bed={peer}",
                peer_trusted_ca_file=ca,
                peer_cert_file=self.server.certificate,
                peer_key_file=self.server.key,
            ),
        ]

    def kube_apiserver(self, program: Path) -> list[str]:
        """The API server: RBAC and node authorisation, audit log, no anonymous requests.

        It publishes no endpoint of its own (reconciler `none`): a loopback address cannot be one.
        """
        ca = self.authority.certificate
        etcd = self.authority.client("kube-apiserver-etcd-client")
        kubelet = self.authority.client("kube-apiserver-kubelet-client", "system:masters")
        return [
            str(program),
            *_options(
                bind_address="127.0.0.1",
                advertise_address="127.0.0.1",  # else it wants a default route
                secure_port=self.api_port,
                tls_cert_file=self.server.certificate,
                tls_private_key_file=self.server.key,
                client_ca_file=ca,
                anonymous_auth="false",
                authorization_mode="Node,RBAC",
                enable_admission_plugins="NodeRestriction",
                etcd_servers=f"https://127.0.0.1:{self.etcd_port}",
                etcd_cafile=ca,
                etcd_certfile=etcd.certificate,
                etcd_keyfile=etcd.key,
                kubelet_client_certificate=kubelet.certificate,
                kubelet_client_key=kubelet.key,
                kubelet_certificate_authority=ca,
                kubelet_preferred_address_types="InternalIP",
                service_account_issuer=self.api,
                service_account_key_file=self.tokens.certificate,
                service_account_signing_key_file=self.tokens.key,
                service_cluster_ip_range="10.96.0.0/24",
                endpoint_reconciler_type="none",
                audit_policy_file=MANIFESTS / "audit-policy.yaml",
                audit_log_path=self.state.audit_log,
            ),
        ]

    def kube_controller_manager(self, program: Path) -> list[str]:
        """Only the controllers that pods need, each under a service account of its own."""
        return [
            str(program),
            *_options(
                kubeconfig=self.kubeconfig("system:kube-controller-manager"),
                controllers=",".join(_CONTROLLERS),
                use_service_account_credentials="true",
                service_account_private_key_file=self.tokens.key,
                root_ca_file=self.authority.certificate,
                node_monitor_period="2s",
                pvclaimbinder_sync_period="1s",
                node_monitor_grace_period=f"{2 * _LEASE_SECONDS}s",
                leader_elect="false",
                secure_port=0,
            ),
        ]

    def kube_scheduler(self, program: Path) -> list[str]:
        """The scheduler, as it comes."""
        return [
            str(program),
            *_options(
                kubeconfig=self.kubeconfig("system:kube-scheduler"),
                leader_elect="false",
                secure_port=0,
            ),
        ]

    def kwok(self, program: Path) -> list[str]:
        """KWOK, for the nodes labelled as its own; it serves the kubelets' port for all of them."""
        return [
            str(program),
            *_options(
                kubeconfig=self.kubeconfig("kwok", "system:masters"),
                config=MANIFESTS / "kwok-stages.yaml",
                manage_nodes_with_label_selector="type=kwok",
                node_lease_duration_seconds=_LEASE_SECONDS,
                node_ip="127.0.0.1",
                node_port=self.kubelet_port,
                enable_crds="Logs",
                server_address=f"127.0.0.1:{self.kubelet_port}",
                tls_cert_file=self.server.certificate,
                tls_private_key_file=self.server.key,
            ),
        ]


def fake_node(number: int) -> dict[str, object]:
    """One node for KWOK to play. When its label `type` goes, it goes silent."""
    name = f"fake-{number}"
    capacity = {"cpu": "32", "memory": "256Gi", "pods": "1000"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "type": "kwok"},
        },
        "status": {"capacity": capacity, "allocatable": capacity},
    }
