"""A small cluster of real Kubernetes parts on loopback, for tests.

etcd, kube-apiserver, kube-controller-manager, kube-scheduler, Cilium's CRDs, and KWOK in the place
of the kubelets. ``python -m tests.cluster.bed up`` brings it up, ``down`` takes it away; README.md
above this folder says what is real here and what is not.

Promises: every listener is on loopback and asks for a certificate; every process ends with the bed,
even when the bed is killed. Never touches a cluster that it did not start.
"""
