"""What the steps need of a Kubernetes cluster: a client, names, pods, and one watch on them.

Knows nothing of launches, policies or destinations; it obeys whoever calls it.
"""
