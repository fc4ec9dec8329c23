"""A real node: kubelet, containerd and runc, in the machine that ``private`` made for them.

What is special here and why:
- ``failCgroupV1: false``: since 1.35 a kubelet refuses to start on cgroup v1 unless it is told.
- ``oomScoreAdj: 0`` and ``restrict_oom_score_adj``: lowering it needs CAP_SYS_RESOURCE, which a
  container or a small virtual machine often lacks, and then runc says no more than "can't get final
  child's PID from pipe: EOF".
- No iptables: pods get a point-to-point link, and no route further than the node's addresses.
- ``clusterDNS`` names a server that nobody runs, so that pods have a cluster's resolv.conf.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

from .builds import debian_program, program
from .image import PAUSE_IMAGE, write_images
from .parts import Layout, free_port
from .places import BedError
from .private import NODE_ADDRESS, POD_RANGE, SILENT_ADDRESS


@dataclass(frozen=True)
class RealNode:
    """The files and command lines of one node."""

    NAME = "real-0"

    layout: Layout
    folder: Path

    @property
    def _socket(self) -> Path:
        return self.folder / "containerd.sock"

    @staticmethod
    def prepare() -> None:
        """Have the programs at hand, building and fetching what is missing.

        Raises BedError when one cannot be had.
        """
        program("kubelet")
        for name in ("containerd", "runc", "ptp"):
            debian_program(name)

    def containerd(self) -> list[str]:
        """Write containerd's configuration and return its command line."""
        link = {"type": "ptp", "ipMasq": False, "ipam": self._addresses()}
        networks = self.folder / "cni"
        networks.mkdir(parents=True)
        (networks / "10-bed.conflist").write_text(
            json.dumps({"cniVersion": "0.4.0", "name": "bed", "plugins": [link]}),
            encoding="utf-8",
        )
        configuration = self.folder / "containerd.toml"
        configuration.write_text(
            f"""\
version = 2
root = "{self.folder}/containerd"
state = "/run/containerd"
[grpc]
address = "{self._socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "{self.folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{debian_program("ptp").parent}"
conf_dir = "{networks}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{debian_program("runc")}"
""",
            encoding="utf-8",
        )
        return [str(debian_program("containerd")), "--config", str(configuration)]

    def _addresses(self) -> dict[str, object]:
        return {
            "type": "host-local",
            "dataDir": str(self.folder / "addresses"),
            "ranges": [[{"subnet": POD_RANGE}]],
            "routes": [{"dst": f"{address}/32"} for address in (NODE_ADDRESS, SILENT_ADDRESS)],
        }

    def listens(self) -> bool:
        """Whether containerd takes requests."""
        return self._socket.exists()

    def load_images(self) -> dict[str, str]:
        """Make the images and hand them to containerd; return their names by digest.

        The keys are the names with a tag. Raises BedError when it does not take them.
        """
        archive = self.folder / "images.tar"
        names = write_images(archive)
        ctr = debian_program("containerd").with_name("ctr")
        done = subprocess.run(
            [ctr, f"--address={self._socket}", "--namespace=k8s.io", "images", "import", archive],
            capture_output=True,
            text=True,
            check=False,
        )
        archive.unlink()
        if done.returncode != 0:
            raise BedError(f"containerd did not take the images: {done.stderr}")
        return names

    def kubelet(self) -> list[str]:
        """Write the kubelet's configuration and return its command line."""
        authority = self.layout.authority
        server = authority.server("kubelet-server", NODE_ADDRESS)
        configuration = self.folder / "kubelet.yaml"
        settings = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": NODE_ADDRESS,
            "port": free_port(),
            "readOnlyPort": 0,
            "healthzPort": 0,
            "tlsCertFile": str(server.certificate),
            "tlsPrivateKeyFile": str(server.key),
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": False},
                "x509": {"clientCAFile": str(authority.certificate)},
            },
            "authorization": {"mode": "AlwaysAllow"},
            "containerRuntimeEndpoint": f"unix://{self._socket}",
            "cgroupDriver": "cgroupfs",
            "failCgroupV1": False,
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "makeIPTablesUtilChains": False,
            "clusterDomain": "cluster.local",
            "clusterDNS": ["10.96.0.10"],
            "resolvConf": "",
            "podLogsDir": str(self.folder / "pod-logs"),
            "volumePluginDir": str(self.folder / "volume-plugins"),
            "evictionHard": {"memory.available": "100Mi"},
        }
        configuration.write_text(yaml.safe_dump(settings), encoding="utf-8")
        kubeconfig = self.layout.kubeconfig(f"system:node:{self.NAME}", "system:nodes")
        return [
            str(program("kubelet")),
            f"--config={configuration}",
            f"--kubeconfig={kubeconfig}",
            f"--root-dir={self.folder}/kubelet",
            f"--hostname-override={self.NAME}",
            f"--node-ip={NODE_ADDRESS}",
            "--node-labels=type=kubelet",
        ]
