"""Partner export: the airports of one state, sent to a partner over HTTP.

An ordinary Luigi pipeline with two destinations: `FetchAirports` reads open data, `SendToPartner`
posts to the partner, and each says so with `egress`. Run it in any writable folder:

    luigi --local-scheduler --module partner_export PartnerExport --state WA
"""

import csv
import gzip
import hashlib
import json
import urllib.parse
import urllib.request

import luigi
from luigi.format import Nop
from luigi.parameter import ParameterVisibility

LARGEST_DOWNLOAD = 8 * 1024 * 1024  # bytes
LARGEST_ANSWER = 64 * 1024  # bytes


class OfState:
    """The parameters of every task that works on one state's airports."""

    state = luigi.Parameter(default="WA", description="two letters of the state to export")
    source = luigi.Parameter(
        default="http://127.0.0.1:8731",
        significant=False,
        description="base address of the open-data server",
    )


class ToPartner:
    """The parameters of the tasks that know the partner."""

    partner_url = luigi.Parameter(
        default="https://api.partner.example/v1/airports",
        description="address that takes the export, by POST",
    )
    partner_token = luigi.Parameter(
        default="",
        significant=False,
        visibility=ParameterVisibility.PRIVATE,
        description="bearer token for the partner",
    )


class FetchAirports(luigi.Task):
    """The table of airports, as the open-data server has it."""

    egress = ("open-data",)
    retry_count = 3

    source = OfState.source

    def output(self):
        return luigi.LocalTarget("raw/airports.csv", format=Nop)

    def run(self):
        body = call(f"{self.source}/data/airports.csv", LARGEST_DOWNLOAD)
        with self.output().open("w") as out:
            out.write(body)


class StateAirports(OfState, luigi.Task):
    """The airports of the state, sorted by code, with the columns that the partner agreed to."""

    def requires(self):
        return self.clone(FetchAirports)

    def output(self):
        return luigi.LocalTarget(f"export/airports-{file_name(self.state)}.json")

    def run(self):
        with self.input().open() as raw:
            rows = csv.DictReader(raw.read().decode().splitlines())
            airports = [
                {
                    "code": row["iata"],
                    "name": row["name"],
                    "city": row["city"],
                    "position": [round(float(row[axis]), 4) for axis in ("latitude", "longitude")],
                }
                for row in rows
                if row["state"] == self.state and row["country"] == "USA"
            ]
        if not airports:
            raise ValueError(f"the table has no airports of the state {self.state!r}")
        airports.sort(key=lambda airport: airport["code"])
        with self.output().open("w") as out:
            json.dump({"state": self.state, "airports": airports}, out)


class ExportBundle(OfState, luigi.Task):
    """The export as it goes over the wire: compressed, the same bytes for the same airports."""

    def requires(self):
        return self.clone(StateAirports)

    def output(self):
        return luigi.LocalTarget(f"export/airports-{file_name(self.state)}.json.gz", format=Nop)

    def run(self):
        with self.input().open() as airports:
            body = airports.read().encode()
        with self.output().open("w") as out:
            out.write(gzip.compress(body, mtime=0))


class SendToPartner(OfState, ToPartner, luigi.Task):
    """The partner has the export. Its answer is kept as the receipt."""

    egress = ("partner-api",)

    def requires(self):
        return self.clone(ExportBundle)

    def output(self):
        partner = hashlib.sha256(self.partner_url.encode()).hexdigest()[:8]
        return luigi.LocalTarget(f"export/receipt-{file_name(self.state)}-{partner}.json")

    def run(self):
        with self.input().open() as bundle:
            body = bundle.read()
        digest = hashlib.sha256(body).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "Content-Encoding": "gzip",
            "Idempotency-Key": digest,  # a retry after a lost answer is no second export
        }
        if self.partner_token:
            headers["Authorization"] = f"Bearer {self.partner_token}"
        answer = call(self.partner_url, LARGEST_ANSWER, body, headers)
        receipt = {
            "sha256": digest,
            "bytes": len(body),
            "answer": answer.decode("utf-8", "replace"),
        }
        with self.output().open("w") as out:
            json.dump(receipt, out, indent=1)


class PartnerExport(OfState, ToPartner, luigi.WrapperTask):
    """The export of one state, made and sent."""

    def requires(self):
        return self.clone(SendToPartner)


def call(url, largest, body=None, headers=None):
    """Return what an address answers: to GET, or to POST where there is a body."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is not an http address")
    request = urllib.request.Request(url, body, headers or {})  # noqa: S310 - scheme checked above
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - same
        answer = response.read(largest + 1)
    if len(answer) > largest:
        raise ValueError(f"{url} answered with more than {largest} bytes")
    return answer


def file_name(text):
    """Return a text as a part of a file name, whatever it holds."""
    return urllib.parse.quote(text, safe="")
