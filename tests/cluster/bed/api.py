"""As much of a Kubernetes client as the bed and its tests need: JSON, one connection per call.

Not for the product. It always checks the server's certificate; it knows client certificates and
bearer tokens, and refuses kubeconfigs that want a plug-in to log in.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import ssl
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from .places import BedError

Object = dict[str, Any]


class ApiError(Exception):
    """The API server said no: ``status`` is HTTP's, ``reason`` is Kubernetes' word for it."""

    def __init__(self, status: int, answer: Object) -> None:
        self.status = status
        self.reason = str(answer.get("reason", ""))
        self.message = str(answer.get("message", answer))
        super().__init__(f"{status} {self.reason}: {self.message}")


class Api:
    """The API server, as one user."""

    def __init__(self, server: str, tls: ssl.SSLContext, token: str | None = None) -> None:
        address = urllib.parse.urlsplit(server)
        self._host, self._port = address.hostname or "", address.port or 443
        self._prefix = address.path.rstrip("/")
        self._tls = tls
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.server = server

    @classmethod
    def from_kubeconfig(cls, path: Path) -> Api:
        """Read the current context of a kubeconfig.

        Raises BedError when its user logs in by other means than a certificate or a token.
        """
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        named = {
            kind: {entry["name"]: entry[kind] for entry in config[f"{kind}s"]}
            for kind in ("cluster", "user", "context")
        }
        context = named["context"][config["current-context"]]
        cluster, user = named["cluster"][context["cluster"]], named["user"][context["user"]]
        if not user.keys() & {"client-certificate", "client-certificate-data", "token"}:
            raise BedError(f"{path}: user {context['user']} has neither certificate nor token")
        with tempfile.TemporaryDirectory() as scratch:

            def file(entry: Object, key: str) -> str | None:
                if data := entry.get(f"{key}-data"):
                    copy = Path(scratch) / key
                    copy.write_bytes(base64.b64decode(data))
                    return str(copy)
                return str(path.parent / entry[key]) if key in entry else None

            tls = ssl.create_default_context(cafile=file(cluster, "certificate-authority"))
            if certificate := file(user, "client-certificate"):
                tls.load_cert_chain(certificate, file(user, "client-key"))
        return cls(cluster["server"], tls, user.get("token"))

    def with_token(self, token: str) -> Api:
        """Return the same server as the owner of a bearer token, and only as that."""
        tls = ssl.create_default_context()
        for certificate in self._tls.get_ca_certs(binary_form=True):
            tls.load_verify_locations(cadata=certificate)
        return Api(self.server, tls, token)

    def text(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        query: Mapping[str, str] | None = None,
        content: str = "application/json",
    ) -> str:
        """Make one call and return the answer as it came.

        Raises ApiError for an answer of 400 or above, OSError when nobody answers.
        """
        url = self._prefix + path + ("?" + urllib.parse.urlencode(query) if query else "")
        connection = http.client.HTTPSConnection(
            self._host, self._port, context=self._tls, timeout=30
        )
        with contextlib.closing(connection):
            headers = {**self._headers, "Content-Type": content}
            connection.request(method, url, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            answer = response.read().decode()
        if response.status >= http.HTTPStatus.BAD_REQUEST:
            try:
                raise ApiError(response.status, json.loads(answer))
            except json.JSONDecodeError:
                raise ApiError(response.status, {"message": answer}) from None
        return answer

    def _object(self, method: str, path: str, *arguments: Any) -> Object:
        answer: Object = json.loads(self.text(method, path, *arguments))
        return answer

    def get(self, path: str, **query: str) -> Object:
        """Read one object or a list."""
        return self._object("GET", path, None, query)

    def create(self, path: str, body: Object, **query: str) -> Object:
        """Create an object under a collection; a field that its schema does not have is refused."""
        return self._object("POST", path, body, {"fieldValidation": "Strict", **query})

    def merge(self, path: str, body: Object) -> Object:
        """Change an object by a merge patch (RFC 7396)."""
        return self._object("PATCH", path, body, None, "application/merge-patch+json")

    def delete(self, path: str, **query: str) -> Object:
        """Delete an object."""
        return self._object("DELETE", path, None, query)

    def when(self, path: str, true: Callable[[Object], bool], *, seconds: float = 30) -> Object:
        """Read an object until something is true of it, and return it then.

        Raises TimeoutError with the object as it last was.
        """
        deadline = time.monotonic() + seconds
        while not true(found := self.get(path)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} after {seconds:.0f} s: {json.dumps(found)}")
            time.sleep(0.1)
        return found
