"""Customer digest: a week's new customers in figures, published on the web.

An ordinary Luigi pipeline, and each step looks harmless: read the customers, tidy them, count them,
publish the counts. But personal records come in at one end and the public web is at the other.
`LoadCustomers` and `PublishDigest` say with `egress` where they connect to. Run it with:

    luigi --local-scheduler --module customer_digest CustomerDigest --week 2026-W47
"""

import datetime as dt
import hashlib
import json
import re
import urllib.parse
import urllib.request
from collections import Counter

import luigi
from luigi.date_interval import Week
from luigi.parameter import ParameterVisibility

FEW = 5  # a group of fewer customers is counted under "other"
LARGEST_ANSWER = 16 * 1024 * 1024  # bytes


class OfWeek:
    """The parameters of every task that stands on the customer records."""

    week = luigi.DateIntervalParameter(
        default=Week(2026, 47), description="the week, as in 2026-W47; any interval of dates works"
    )
    crm_url = luigi.Parameter(
        default="https://crm.internal.example/v2",
        significant=False,
        description="base address of the customer system",
    )
    crm_token = luigi.Parameter(
        default="",
        significant=False,
        visibility=ParameterVisibility.PRIVATE,
        description="bearer token for the customer system",
    )


class ToWeb:
    """The parameter of the tasks that know where the digest is published."""

    publish_url = luigi.Parameter(
        default="https://www.example.com/digests",
        description="address that publishes the digest, by POST",
    )


class LoadCustomers(OfWeek, luigi.Task):
    """The records of the customers who joined in the week: names, addresses and all."""

    egress = ("crm",)
    retry_count = 3

    def output(self):
        return luigi.LocalTarget(f"customers/{self.week}-raw.json")

    def run(self):
        first, end = self.week.date_a, self.week.date_b
        query = urllib.parse.urlencode({"joined_from": first, "joined_before": end})
        headers = {"Authorization": f"Bearer {self.crm_token}"} if self.crm_token else {}
        customers = json.loads(call(f"{self.crm_url}/customers?{query}", None, headers))
        with self.output().open("w") as out:
            json.dump(customers, out)


class TidyRecords(OfWeek, luigi.Task):
    """The records without doubles and without spelling variants, one for each e-mail address."""

    def requires(self):
        return self.clone(LoadCustomers)

    def output(self):
        return luigi.LocalTarget(f"customers/{self.week}-tidy.json")

    def run(self):
        with self.input().open() as raw:
            customers = json.load(raw)
        tidy = {}
        for customer in customers:
            email = customer["email"].strip().lower()
            tidy[email] = {
                "email": email,
                "name": re.sub(r"\s+", " ", customer["name"]).strip(),
                "country": customer["country"].strip().upper(),
                "plan": customer["plan"].strip().lower(),
                "joined": dt.date.fromisoformat(customer["joined"]).isoformat(),
            }
        with self.output().open("w") as out:
            json.dump([tidy[email] for email in sorted(tidy)], out, indent=1)


class WeeklyNumbers(OfWeek, luigi.Task):
    """The week in figures: new customers by country, plan and day, small groups put together."""

    def requires(self):
        return self.clone(TidyRecords)

    def output(self):
        return luigi.LocalTarget(f"digest/{self.week}-numbers.json")

    def run(self):
        with self.input().open() as records:
            customers = json.load(records)
        numbers = {"week": str(self.week), "customers": len(customers)}
        for column in ("country", "plan", "joined"):
            numbers[column] = group(customer[column] for customer in customers)
        with self.output().open("w") as out:
            json.dump(numbers, out, indent=1)


class DigestText(OfWeek, luigi.Task):
    """The digest as people read it."""

    def requires(self):
        return self.clone(WeeklyNumbers)

    def output(self):
        return luigi.LocalTarget(f"digest/{self.week}.txt")

    def run(self):
        with self.input().open() as file:
            numbers = json.load(file)
        lines = [f"Week {numbers['week']}: {numbers['customers']} new customers"]
        for column, heading in (("country", "Countries"), ("plan", "Plans"), ("joined", "Days")):
            counts = ", ".join(f"{name} {count}" for name, count in numbers[column].items())
            lines.append(f"{heading}: {counts or 'none'}")
        with self.output().open("w") as out:
            out.write("\n".join(lines) + "\n")


class PublishDigest(OfWeek, ToWeb, luigi.Task):
    """The digest is on the web. The address that the site answered with is kept."""

    egress = ("public-web",)

    def requires(self):
        return {"numbers": self.clone(WeeklyNumbers), "text": self.clone(DigestText)}

    def output(self):
        site = hashlib.sha256(self.publish_url.encode()).hexdigest()[:8]
        return luigi.LocalTarget(f"digest/{self.week}-published-{site}.json")

    def run(self):
        with self.input()["numbers"].open() as numbers, self.input()["text"].open() as text:
            digest = {"numbers": json.load(numbers), "text": text.read()}
        headers = {"Content-Type": "application/json"}
        answer = json.loads(call(self.publish_url, json.dumps(digest).encode(), headers))
        with self.output().open("w") as out:
            json.dump({"published": answer["url"]}, out)


class CustomerDigest(OfWeek, ToWeb, luigi.WrapperTask):
    """The digest of one week, made and published."""

    def requires(self):
        return self.clone(PublishDigest)


def group(values):
    """Count values, the most frequent first, those below `FEW` together as "other"."""
    counts = Counter(values).most_common()
    large = {value: count for value, count in counts if count >= FEW}
    rest = sum(count for _, count in counts if count < FEW)
    return {**large, **({"other": rest} if rest else {})}


def call(url, body, headers):
    """Return what an address answers: to GET, or to POST where there is a body."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is not an http address")
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - scheme checked above
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - same
        answer = response.read(LARGEST_ANSWER + 1)
    if len(answer) > LARGEST_ANSWER:
        raise ValueError(f"{url} answered with more than {LARGEST_ANSWER} bytes")
    return answer
