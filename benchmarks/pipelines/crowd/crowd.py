"""A root over ``n - 1`` members that differ in what they reach: what the cluster's figures run."""

import luigi

DESTINATIONS = 8


class Reaching(luigi.Task):
    """``reach`` says by its bits which of the benchmarks' destinations this task may reach.

    ``play`` is read by the fake nodes alone (tests/cluster/bed/manifests/kwok-stages.yaml).
    """

    n = luigi.IntParameter()
    reach = luigi.IntParameter(default=0)
    play = luigi.Parameter(default="")

    @property
    def egress(self):
        return tuple(f"bench-{bit}" for bit in range(DESTINATIONS) if self.reach >> bit & 1)

    def output(self):
        return luigi.LocalTarget(f"{type(self).__name__.lower()}-{self.n}.txt")

    def run(self):
        with self.output().open("w") as file:
            file.write(str(self.n))


class Member(Reaching):
    pass


class Crowd(Reaching):
    """Itself one task of the ``n``; member ``i`` reaches ``reach + i % sets``."""

    sets = luigi.IntParameter(default=1)

    def requires(self):
        return [
            Member(n=i, reach=self.reach + i % self.sets, play=self.play) for i in range(self.n - 1)
        ]
